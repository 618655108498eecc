"""A checkpoint's landmarker as an ONNX file, checked against it."""

import importlib.metadata
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from datamodules.datasets import FolderDataModule
from datamodules.faces import Face, FaceSet
from datamodules.ibug68 import OUTER_EYE_CORNERS
from datamodules.loading import TestSet
from datamodules.transforms import CROP_FACTOR, crop_square, cut
from experiments.card import drawn_crops
from experiments.checkpoints import DEFAULT_WEIGHTS, load_landmarker, read_checkpoint
from experiments.errors import UsageError
from experiments.run.folder import output_file
from experiments.scoring import score
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.landmarkers.file_landmarker import FileLandmarker
from lightning_modules.landmarkers.inference import estimate
from lightning_modules.landmarkers.onnx.about import About
from lightning_modules.landmarkers.onnx.check import random_crops, require_parity
from lightning_modules.landmarkers.onnx.export import describe, to_onnx
from lightning_modules.landmarkers.onnx.exported import ExportedLandmarker
from lightning_modules.landmarkers.onnx.precision import halve, quantized
from lightning_modules.weights import Provenance

log = logging.getLogger(__name__)

_CALIBRATION: Final = 128
"""Most images that the ranges of 8-bit maps are found on; 32 gave the same NME."""
_BATCH: Final = 3

Precision = Literal["fp32", "fp16", "int8"]


def export(
    ckpt: str = DEFAULT_WEIGHTS, out: str = "model.onnx", precision: Precision = "fp32", images: str = ""
) -> Path:
    """Write a checkpoint's landmarker, or the shipped one, as an ONNX file for any program.

    The file takes crops, float32 RGB in [0, 1] of shape (batch, 3, size, size), and gives landmarks in shares of the
    crop's side; its metadata say how faces are cropped and on which terms the weights may be used. It is run with
    onnxruntime and compared with the checkpoint on noise, on drawn faces, and on those of --images: if a landmark is
    more than 1e-4 of the crop away, nothing is written. What fp16 and int8 then cost is measured and said.

    Args:
        ckpt: a checkpoint of a run, packed weights, or the name of shipped ones
        out: where to write
        precision: fp32; fp16 for weights of half the size; int8 for convolutions in 8-bit integers as well
        images: folder of faces to check on, with labels or without; for int8 it is needed, to find the ranges of the
            maps (of train/ where there is one; the cost is then measured on test/)

    Returns:
        The file written.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        DataError: bad images.
        UsageError: int8 without images, a checkpoint that is an ONNX file already, or an output that cannot be written.
        WeightsError: the network cannot be exported, its file differs from it, or a package is not installed.

    Examples:
        warpmark export --out model.onnx
        warpmark export --ckpt last.ckpt --precision int8 --images faces
    """
    path = output_file(out, [".onnx"], inputs=[ckpt])
    if precision == "int8" and not images:
        raise UsageError("--precision=int8: found no --images, expected a folder of faces to find the maps' ranges on.")
    landmarker = load_landmarker(ckpt)
    if isinstance(landmarker, FileLandmarker):
        raise UsageError(f"{ckpt}: found a network in a file of another runtime, expected a checkpoint. Give one.")
    folder = FolderDataModule(images) if images else None
    about = about_of(landmarker, read_checkpoint(ckpt), Path(ckpt).name, precision)
    model = to_onnx(landmarker, about)
    exported = checked(landmarker, model, _looks(landmarker, folder))
    if precision != "fp32":
        model = _smaller(model, precision, landmarker, folder)
        describe(model, about)
        _tell_cost(precision, landmarker, opened(model), folder)
        exported = opened(model)
    path.write_bytes(model.SerializeToString())
    uncertain = ", uncertainty" if exported(exported.blank_crop()).uncertainty is not None else ""
    log.info("wrote %s: %s bytes; images → landmarks%s; %s", path, f"{path.stat().st_size:,}", uncertain, about.terms)
    return path


def about_of(landmarker: Landmarker, checkpoint: Any, source: str, precision: str = "fp32") -> About:
    """What the exported file of a checkpoint says about itself."""
    version = f"warpmark {importlib.metadata.version('warpmark')}"
    size, factor = landmarker.image_size, landmarker.crop_factor
    about = About(version, type(landmarker).__name__, size, factor, source, precision)
    origin = checkpoint.get("provenance")
    if not isinstance(origin, Provenance):
        return about
    told = (origin.terms, origin.trained_on, f"{origin.command} ({origin.version})", origin.data)
    return About(version, about.landmarker, size, factor, source, precision, *told)


def opened(model: Any) -> ExportedLandmarker:
    """A graph as a landmarker."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        file.write_bytes(model.SerializeToString())
        return ExportedLandmarker(file)


def checked(landmarker: Landmarker, model: Any, looks: dict[str, Sequence[Tensor]]) -> ExportedLandmarker:
    """A graph as a landmarker, after it was found equal to the one it was made from; by how much is logged.

    Args:
        landmarker: what it was made from.
        model: the graph.
        looks: batches of crops, by what they show.

    Raises:
        WeightsError: it is not equal.
    """
    exported = opened(model)
    found = {on: require_parity(landmarker, exported, batches, on) for on, batches in looks.items()}
    said = ", ".join(f"{difference:.1e} on {on}" for on, difference in found.items())
    log.info("ONNX against torch, largest difference in shares of the crop: %s", said)
    return exported


def drawn_batches(size: int) -> list[Tensor]:
    """Crops of drawn faces in every style, a few at a time."""
    return [crops.images[i : i + _BATCH] for crops in drawn_crops(size) for i in range(0, len(crops.images), _BATCH)]


def _looks(landmarker: Landmarker, folder: FolderDataModule | None) -> dict[str, Sequence[Tensor]]:
    size = landmarker.image_size
    looks: dict[str, Sequence[Tensor]] = {"noise": random_crops(size), "drawn faces": drawn_batches(size)}
    if folder is not None:
        crops = _crops(landmarker, _measured(folder))
        looks[str(folder.root)] = [torch.cat(crops[i : i + _BATCH]) for i in range(0, len(crops), _BATCH)]
    return looks


def _measured(folder: FolderDataModule) -> FaceSet:
    """The labelled faces of a folder, or all where none is."""
    return folder.test_faces() if folder.has_test else folder.train_faces()


def _crops(landmarker: Landmarker, faces: FaceSet) -> list[Tensor]:
    """Crops of at most :data:`_CALIBRATION` faces, evenly spread, each of shape ``(1, 3, S, S)``."""
    count = min(len(faces), _CALIBRATION)
    return [_crop(landmarker, faces[k * len(faces) // count]) for k in range(count)]


def _crop(landmarker: Landmarker, face: Face) -> Tensor:
    size = landmarker.image_size
    square = crop_square(face).scaled(landmarker.crop_factor / CROP_FACTOR)
    pixels = np.ascontiguousarray(cut(face.image, square.matrix(size), size).transpose(2, 0, 1))
    return torch.from_numpy(pixels)[None].float() / 255


def _smaller(model: Any, precision: Precision, landmarker: Landmarker, folder: FolderDataModule | None) -> Any:
    """The graph in another precision."""
    if precision == "fp16":
        halve(model)
        return model
    assert folder is not None, "refused before"
    crops = _crops(landmarker, folder.train_faces())
    log.info("int8: calibrated on %d images of %s", len(crops), folder.root)
    return quantized(model, [crop.numpy() for crop in crops])


def _tell_cost(
    precision: str, landmarker: Landmarker, exported: ExportedLandmarker, folder: FolderDataModule | None
) -> None:
    """Log what another precision costs: NME where there are labels, else how far landmarks move."""
    if folder is not None and folder.has_test:
        faces = folder.test_faces()
        tests = [TestSet(faces, faces.subsets())]
        before, after = (score(one, tests).average_nme for one in (landmarker, exported))
        log.info(
            "%s changes the NME from %.3f %% to %.3f %% (%+.3f) on %d labelled faces of %s",
            *(precision, before, after, after - before, len(faces), folder.root),
        )
        return
    where, crops = "drawn faces", drawn_batches(landmarker.image_size)
    if folder is not None:
        where, crops = f"{folder.root}, which has no labels", _crops(landmarker, folder.train_faces())
    moves = torch.cat(list(_moves(landmarker, exported, crops)))
    log.info(
        "%s moves landmarks by %.3f %% of the inter-ocular distance on average, by %.2f %% at most, on %s",
        *(precision, moves.mean(), moves.max(), where),
    )


def _moves(before: Landmarker, after: Landmarker, batches: Sequence[Tensor]) -> Iterator[Tensor]:
    """Distance between each landmark of the one and of the other, in % of the inter-ocular distance."""
    left, right = OUTER_EYE_CORNERS
    for crops in batches:
        a, b = (estimate(landmarker, crops, mirror_average=False)[0] for landmarker in (before, after))
        eyes = (a[:, left] - a[:, right]).norm(dim=-1).clamp(min=1e-3)
        yield 100 * (a - b).norm(dim=-1) / eyes[:, None]
