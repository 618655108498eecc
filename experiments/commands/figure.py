"""``figure``: the paper's Figure 3 from two images, a photo and a stylised face."""

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from callbacks.drawing import FORMATS
from datamodules.faces import DataError, Face, collate
from datamodules.files import read_face
from datamodules.formats import bad_file
from datamodules.transforms import FaceTransform, crop_square
from experiments.analysis.warped_pairs import GRADIENTS, Gradient, draw_figure
from experiments.artifacts.field_files import read_field
from experiments.checkpoints import load_landmarker
from experiments.errors import UsageError
from experiments.run.folder import output_file
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.landmarkers.inference import find_in_images
from lightning_modules.warping import SplineFitter, folding, landmark_warping_error

log = logging.getLogger(__name__)


def figure(
    photo: str,
    stylised: str,
    ckpt: str | None = None,
    predict: bool = False,
    out: str = "figure.png",
    order: Literal[1, 2, 3, 4] = 2,
    smoothing: float = 0.0,
    coarse: int | None = 65,
    gradient: Gradient = "sobel",
    size: int = 256,
    field: str = "",
) -> Path:
    """Draw a photo warped onto a stylised face, in eight panels: the paper's Figure 3.

    Also prints how much of the field folds over, and how far it misses the landmarks. Both faces are cropped as for
    training.

    Args:
        photo: A photo of a face; its landmarks (.npy, .pts) lie beside it or in a folder landmarks/.
        stylised: A stylised face; likewise.
        ckpt: A checkpoint of a run, whose landmarker finds the landmarks that no file has.
        predict: Find the stylised face's landmarks even where a file has them.
        out: The picture to write: .png, .pdf, .svg, .jpg, .tif or .webp.
        order: Order of the polyharmonic spline; 2 is the thin plate.
        smoothing: The spline's λ; at 0 it meets the landmarks.
        coarse: Nodes across that the field is evaluated at, before upsampling; null for every pixel.
        gradient: Operator of the gradient images.
        size: Side of the crops in pixels, 32 to 2048.
        field: Another warping field than the spline: a name in configs/fields, or a YAML file with its class_path and
            init_args. Order and smoothing are the spline's.

    Returns:
        The picture's file.

    Raises:
        CheckpointError: The checkpoint cannot be used.
        WeightsError: The weights of the field cannot be used.
        DataError: An image or its landmarks cannot be read, or there are none and no checkpoint to find them.
        UsageError: A number is out of range, or the picture cannot be written.

    Examples:
        warpmark figure --photo photo.jpg --stylised drawing.png --ckpt warpmark-light --out figure.png
    """
    _check(order, smoothing, coarse, gradient, size)
    file = output_file(out, FORMATS, (photo, stylised))
    fitter = read_field(field) if field else SplineFitter(order, smoothing)
    faces = [read_face(path) for path in (photo, stylised)]
    wanted = [face.landmarks is None for face in faces]
    wanted[1] |= predict
    landmarker = _landmarker(ckpt, faces, wanted)
    if landmarker is not None:
        faces = [_predicted(face, landmarker) if w else face for face, w in zip(faces, wanted, strict=True)]
    pair = collate([FaceTransform(size)(face) for face in faces]).to("cpu")
    assert pair.landmarks is not None, "both are labelled or predicted by now"
    labels, predicted = pair.landmarks[:1], pair.landmarks[1:]
    fitted = fitter.fit(labels, predicted, pair.images[:1], pair.images[1:])
    grid = fitted.grid(size, coarse)
    origins = ["predictions" if w else "labels" for w in wanted]
    draw_figure(pair.images, pair.landmarks, origins, grid, GRADIENTS[gradient]()).savefig(file)
    _print_measures(grid, float(landmark_warping_error(fitted, predicted, labels)))
    log.info("wrote %s", file)
    return file


def _print_measures(field: Tensor, missed: float) -> None:
    """Print how much of the field folds over, and by how much it misses the landmarks."""
    size = field.shape[1]
    print(f"folded: {100 * float(folding(field)):.3f} % of the crop")
    print(
        f"landmark-warping error: {missed:.3g} in squared crop coordinates, "
        f"{math.sqrt(missed) * size:.3g} px (root mean square) of {size}"
    )


def _check(order: int, smoothing: float, coarse: int | None, gradient: str, size: int) -> None:
    if order not in (1, 2, 3, 4):
        raise UsageError(f"order is {order}; expected 1, 2 (the thin plate), 3 or 4.")
    if not 0 <= smoothing < math.inf:
        raise UsageError(f"smoothing is {smoothing}; expected a finite number of at least 0.")
    if coarse is not None and coarse < 2:
        raise UsageError(f"coarse is {coarse}; expected at least 2 nodes, or null for every pixel.")
    if gradient not in GRADIENTS:
        raise UsageError(f"gradient is {gradient!r}; expected one of {', '.join(GRADIENTS)}.")
    if not 32 <= size <= 2048:
        raise UsageError(f"size is {size}; expected 32 to 2048 pixels.")


def _predicted(face: Face, landmarker: Landmarker) -> Face:
    """The face with landmarks found in the crop that training and ``evaluate`` take of it."""
    pixels = find_in_images(landmarker, [face.image], [crop_square(face)]).pixels[0]
    if not bool(pixels.isfinite().all()):
        raise DataError(
            f"{face.path}: the checkpoint's landmarker found landmarks that are not finite; expected 68 points. "
            "Use a checkpoint of a run whose loss stayed finite."
        )
    return replace(face, landmarks=pixels.numpy().astype(np.float32))


def _landmarker(ckpt: str | None, faces: list[Face], wanted: list[bool]) -> Landmarker | None:
    """The checkpoint's landmarker, where the landmarks of a face are to be found."""
    if not any(wanted):
        if ckpt is not None:
            log.info("both images have landmarks: %s is not used (--predict has it find the stylised face's)", ckpt)
        return None
    if ckpt is not None:
        return load_landmarker(ckpt)
    face = faces[wanted.index(True)]
    name = Path(face.path).name
    if face.landmarks is not None:
        raise UsageError("--predict needs a checkpoint to predict with. Add --ckpt (CKPT=runs/…/last.ckpt).")
    raise bad_file(
        face.path,
        "an image without landmarks, and no checkpoint to find them",
        f"{name}.npy or {Path(name).stem}.pts beside it or in a folder landmarks/, or a checkpoint",
        "Add its landmarks, or give CKPT=runs/…/last.ckpt (--ckpt).",
    )
