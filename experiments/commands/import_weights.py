"""An author's published weights under our names."""

import logging
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentError

from experiments.checkpoints import build_landmarker, shipped_spec
from experiments.errors import UsageError, option_error
from experiments.run_folder import output_file

log = logging.getLogger(__name__)


def import_weights(
    landmarker: str, from_: str, to: str = "", profile: str = "paper", init_args: dict[str, Any] | None = None
) -> Path:
    """Convert an author's published weights to our names, checked tensor by tensor.

    The file may be the author's (names and wrapping as published), or one of ours, which is then only checked.

    Args:
        landmarker: whose weights, e.g. star
        from_: the published file
        to: where to write ours (default: runs/weights/LANDMARKER.pt)
        profile: which form of the landmarker: paper (published) or quick
        init_args: further arguments of the landmarker, e.g. --init_args.mean_face=FILE

    Returns:
        The file written, a state dict.

    Raises:
        UsageError: an unknown landmarker, an argument it does not have, or an output that cannot be written.
        WeightsError: the file cannot be read safely, or does not hold this landmarker; the message lists what differs.
    """
    if not Path(from_).is_file():
        raise UsageError(f"FROM={from_}: no such file (looked from {Path.cwd()}).")
    spec = shipped_spec(landmarker, profile)
    spec["init_args"] |= {**(init_args or {}), "weights": from_}
    out = output_file(to or f"runs/weights/{landmarker}.pt", inputs=[from_])
    try:
        network = build_landmarker(spec)
    except ArgumentError as error:
        raise UsageError(str(option_error(str(error), ())).replace("--landmarker.", "--")) from error
    state = network.state_dict()
    torch.save(state, out)
    count = sum(parameter.numel() for parameter in network.parameters())
    log.info("%s: %d tensors, %s parameters, all those of %s.", from_, len(state), f"{count:,}", spec["class_path"])
    log.info(
        "Wrote %s. Start from it with\n"
        "    make train LANDMARKER=%s PROFILE=%s ARGS=--model.init_args.landmarker.init_args.weights=%s",
        *(out, landmarker, profile, out),
    )
    return out
