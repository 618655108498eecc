"""An author's published weights under our names."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import ArgumentError

from experiments.checkpoints import build_landmarker, own_error, shipped_spec
from experiments.errors import UsageError, option_error
from experiments.run.folder import output_file
from lightning_modules.landmarkers.backbone_landmarker import NORMALIZATION, BackboneLandmarker
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.weights import WeightsError, read_state

log = logging.getLogger(__name__)


def import_weights(
    landmarker: str, from_: str, to: str = "", profile: str = "", init_args: dict[str, Any] | None = None
) -> Path:
    """Convert an author's published weights to our names, checked tensor by tensor.

    The file may be the author's (names and wrapping as published), or one of ours, which is then only checked. What
    crops are normalised with is written with the weights, and said: that which the file brings along, else that of the
    landmarker's own published program, or of the form that ``profile`` gives.

    Args:
        landmarker: whose weights, e.g. star
        from_: the published file
        to: where to write ours (default: runs/weights/LANDMARKER.pt)
        profile: which form of the landmarker: its own published one if empty; paper (of slpt, that of conditional face
            warping's program) or quick
        init_args: further arguments of the landmarker, e.g. --init_args.mean_face=FILE

    Returns:
        The file written, a state dict.

    Raises:
        UsageError: an unknown landmarker, an argument it does not have, or an output that cannot be written.
        WeightsError: the file cannot be read safely, or does not hold this landmarker; the message lists what differs.

    Examples:
        warpmark import-weights --landmarker star --from published.pkl --to star.pt
    """
    if not Path(from_).is_file():
        raise UsageError(f"FROM={from_}: no such file (looked from {Path.cwd()}).")
    spec = shipped_spec(landmarker, profile)
    spec["init_args"] |= {**(init_args or {}), "weights": from_}
    out = output_file(to or f"runs/weights/{landmarker}.pt", inputs=[from_])
    try:
        network = build_landmarker(spec)
    except (ArgumentError, ValueError) as error:
        if isinstance(cause := own_error(error), WeightsError):
            raise cause from None
        raise UsageError(str(option_error(str(error), ())).replace("--landmarker.", "--")) from error
    state = network.state_dict()
    torch.save(state, out)
    count = sum(parameter.numel() for parameter in network.parameters())
    log.info("%s: %d tensors, %s parameters, all those of %s.", from_, len(state), f"{count:,}", spec["class_path"])
    _tell_normalization(network, from_, landmarker, profile)
    log.info(
        "Wrote %s. Start from it with\n"
        "    make train LANDMARKER=%s PROFILE=%s ARGS=--model.init_args.landmarker.init_args.weights=%s",
        *(out, landmarker, profile or "paper", out),
    )
    return out


def _tell_normalization(network: Landmarker, source: str, name: str, profile: str) -> None:
    """Log what the written weights normalise crops with, where that came from, and how another one is written."""
    if not isinstance(network, BackboneLandmarker):
        return  # it takes crops as they are
    said = "Crops are normalised with mean {} and deviation {}".format(
        *(np.round(values.flatten().tolist(), 4).tolist() for values in (network.image_mean, network.image_std))
    )
    if NORMALIZATION.issubset(read_state(source)):
        log.info("%s, as the file says.", said)
        return
    form = f"PROFILE={profile}'s" if profile else "the published program's"
    ways = ["--init_args.normalization='{mean: [r, g, b], std: [r, g, b]}'"]
    own, paper = (shipped_spec(name, other)["init_args"].get("normalization") for other in ("", "paper"))
    if own != paper:
        ways.append("no --profile" if profile == "paper" else "--profile=paper (files of conditional face warping)")
    log.info("%s: %s, since the file does not say. Another is written with %s.", said, form, " or ".join(ways))
