"""A checkpoint's landmarker as a small file to ship."""

import importlib.metadata
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import torch
from jsonargparse import ArgumentError
from torch import Tensor

from datamodules.ibug68 import OUTER_EYE_CORNERS
from datamodules.setting import SettingDataModule
from experiments.card import drawn_crops
from experiments.checkpoints import LANDMARKER, load_landmarker, read_checkpoint
from experiments.commands.export import about_of, checked, drawn_batches
from experiments.compose import build
from experiments.errors import UsageError
from experiments.run.configuration import read_configuration
from experiments.run.folder import output_file
from lightning_modules import weights
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.landmarkers.inference import estimate
from lightning_modules.landmarkers.onnx.check import random_crops
from lightning_modules.landmarkers.onnx.export import to_onnx
from lightning_modules.landmarkers.onnx.precision import halve
from lightning_modules.weights import Provenance

log = logging.getLogger(__name__)

MOST_BYTES: Final = 4_000_000
"""Size of the largest file that the package ships."""


def pack(
    ckpt: str,
    name: str,
    made_by: str,
    trained_on: str,
    out: str = "",
    fingerprints: str = "",
    terms: str = "for research use only",
) -> Path:
    """Write a checkpoint's landmarker as packed weights: float16 safetensors that say where they come from.

    Weights are those of the checkpoint, also where these are an average (EMA=1). How far the rounding to float16 moves
    landmarks is measured on drawn faces and said. The same weights are also written as an ONNX file, NAME.onnx beside
    the other, which starts and runs faster on a CPU; it is checked as `warpmark export` checks its own.

    Args:
        ckpt: a checkpoint of a run
        name: of the weights: lower-case letters, digits and hyphens
        made_by: the command that makes the checkpoint
        trained_on: the training data, in words
        out: where to write (default: runs/weights/NAME.safetensors)
        fingerprints: of the training faces (default: of those in the config.yaml of the checkpoint's run)
        terms: on which the weights may be used

    Returns:
        The file of the safetensors.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        DataError: the run's data, whose fingerprints are wanted, are not there.
        UsageError: a bad name, an output that cannot be written, or more than 4 MB.
        WeightsError: weights that are not finite in float16, or a network that cannot be exported to ONNX.

    Examples:
        warpmark pack --ckpt last.ckpt --name mine --made-by 'make train …' --trained-on '1,000 photos of ours'
    """
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise UsageError(f"NAME={name}: expected lower-case letters, digits and hyphens, e.g. warpmark-light.")
    path = output_file(out or f"runs/weights/{name}.safetensors", [".safetensors"], inputs=[ckpt])
    if path.stem != name:
        raise UsageError(
            f"{path}: found another name than NAME={name}, by which it would be shipped. Give another OUT."
        )
    landmarker, spec = load_landmarker(ckpt), read_checkpoint(ckpt)[LANDMARKER]
    version = f"warpmark {importlib.metadata.version('warpmark')}"
    provenance = Provenance(made_by, trained_on, fingerprints or _fingerprints(Path(ckpt)), version, terms)
    content = weights.pack(name, spec, landmarker.state_dict(), provenance)
    if len(content) > MOST_BYTES:
        count = sum(parameter.numel() for parameter in landmarker.parameters())
        raise UsageError(
            f"{ckpt}: {type(landmarker).__name__} takes {len(content):,} bytes in float16 ({count:,} parameters); "
            f"expected at most {MOST_BYTES:,}. Train a lighter form, e.g. PROFILE=quick."
        )
    path.write_bytes(content)
    packed = load_landmarker(path)
    moves = _moves(landmarker, packed)
    log.info("wrote %s: %s bytes", path, f"{len(content):,}")
    log.info(
        "float16 moves a landmark by at most %.3f %% of the inter-ocular distance, %.4f %% on average, on drawn faces",
        *(moves.max(), moves.mean()),
    )
    _write_onnx(packed, path)
    return path


def _write_onnx(packed: Landmarker, path: Path) -> None:
    """Write the ONNX form of packed weights, which ``path`` holds, beside them."""
    # Weights as they are, which float16 holds exactly: folded into one another it would not.
    model = to_onnx(packed, about_of(packed, read_checkpoint(path), path.stem), fused=False)
    halve(model, exact=True)
    size = packed.image_size
    checked(packed, model, {"noise": random_crops(size), "drawn faces": drawn_batches(size)})
    content, out = model.SerializeToString(), path.with_suffix(".onnx")
    if len(content) > MOST_BYTES:
        raise UsageError(
            f"{out}: would take {len(content):,} bytes; expected at most {MOST_BYTES:,}. Train a lighter form."
        )
    out.write_bytes(content)
    log.info("wrote %s: %s bytes", out, f"{len(content):,}")


def _moves(before: Landmarker, after: Landmarker) -> Tensor:
    """Distance between each landmark of the one and of the other, in % of the inter-ocular distance."""
    left, right = OUTER_EYE_CORNERS
    moves = []
    for crops in drawn_crops(before.image_size):
        a, b = (estimate(landmarker, crops.images, mirror_average=False)[0] for landmarker in (before, after))
        eyes = (a[:, left] - a[:, right]).norm(dim=-1).clamp(min=1e-3)
        moves.append(100 * (a - b).norm(dim=-1) / eyes[:, None])
    return torch.cat(moves)


def _fingerprints(ckpt: Path) -> str:
    """Of the source and the target of the run that a checkpoint belongs to."""
    config = ckpt.parent.parent / "config.yaml"
    if not config.is_file():
        raise UsageError(
            f"{ckpt}: found no {config}, which says what it was trained on. Give a checkpoint in its run's folder, or "
            "--fingerprints."
        )
    data = _data_of(config)
    data.setup()
    return ", ".join(_said({"source": data.source_faces, "target": data.target_faces}.items()))


def _data_of(config: Path) -> SettingDataModule:
    """A run's data alone: its networks and its trainer may ask for a hub or a device that are not there."""
    try:
        content = read_configuration(config)
        linked = {"root": content["paths"]["data"], "seed": content["seed_everything"]}
        spec = {"class_path": f"{SettingDataModule.__module__}.SettingDataModule"}
        data: SettingDataModule = build(SettingDataModule, {**spec, "init_args": content["data"] | linked}, "data")
    except (KeyError, TypeError, ArgumentError) as error:
        raise UsageError(
            f"{config}: found {type(error).__name__}: {' '.join(str(error).split())}; expected the configuration of a "
            "run. Restore it, or give --fingerprints."
        ) from error
    return data


def _said(sets: Iterable[tuple[str, Any]]) -> list[str]:
    return [f"{role} {faces.fingerprint()} ({len(faces)} faces)" for role, faces in sets if faces is not None]
