"""``figure``: the paper's Figure 3 from two images, a photo and a stylised face."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from callbacks.drawing import FORMATS, GREEN, RED, draw_gradients, draw_image, draw_landmark_shift, draw_landmarks, page
from callbacks.field_drawing import draw_deformed_grid, draw_displacement, shade_folds
from datamodules.faces import DataError, Face, collate
from datamodules.files import read_face
from datamodules.formats import bad_file
from datamodules.transforms import FaceTransform, crop_square
from experiments.checkpoints import load_landmarker
from experiments.errors import UsageError
from experiments.run_folder import output_file
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.landmarkers.inference import find_in_images
from lightning_modules.warping import (
    Canny,
    ImageGradient,
    Laplacian,
    PolyharmonicSpline,
    Sobel,
    SpatialGradient,
    folding,
    landmark_warping_error,
    warp_image,
)

log = logging.getLogger(__name__)

Gradient = Literal["sobel", "laplacian", "canny", "spatial"]
GRADIENTS: Final[dict[Gradient, Callable[[], ImageGradient]]] = {
    "sobel": Sobel,
    "laplacian": Laplacian,
    "canny": Canny,
    # Its other mode, Sobel's operator, would draw the first one's picture.
    "spatial": partial(SpatialGradient, mode="diff"),
}


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

    Returns:
        The picture's file.

    Raises:
        CheckpointError: The checkpoint cannot be used.
        DataError: An image or its landmarks cannot be read, or there are none and no checkpoint to find them.
        UsageError: A number is out of range, or the picture cannot be written.
    """
    _check(order, smoothing, coarse, gradient, size)
    file = output_file(out, FORMATS, (photo, stylised))
    faces = [read_face(path) for path in (photo, stylised)]
    wanted = [face.landmarks is None for face in faces]
    wanted[1] |= predict
    landmarker = _landmarker(ckpt, faces, wanted)
    if landmarker is not None:
        faces = [_predicted(face, landmarker) if w else face for face, w in zip(faces, wanted, strict=True)]
    pair = collate([FaceTransform(size)(face) for face in faces]).to("cpu")
    assert pair.landmarks is not None, "both are labelled or predicted by now"
    labels, predicted = pair.landmarks[:1], pair.landmarks[1:]
    spline = PolyharmonicSpline.fit(predicted, labels, order, smoothing)
    field = spline.grid(size, coarse)
    origins = ["predictions" if w else "labels" for w in wanted]
    draw_figure(pair.images, pair.landmarks, origins, field, GRADIENTS[gradient]()).savefig(file)
    _print_measures(field, float(landmark_warping_error(spline, predicted, labels)))
    log.info("wrote %s", file)
    return file


def draw_figure(
    images: Tensor, landmarks: Tensor, origins: Sequence[str], field: Tensor, gradient: ImageGradient
) -> Figure:
    """The figure: faces and the warped photo above; gradient images of what is compared, and the field, below.

    Args:
        images: the photo and the stylised face, RGB in [0, 1], shape ``(2, 3, S, S)``.
        landmarks: of both, crop coordinates, shape ``(2, 68, 2)``.
        origins: of both landmarks, for the titles, e.g. ``labels``.
        field: photo coordinates of the stylised crop's pixels, shape ``(1, S, S, 2)``.
        gradient: operator of the gradient images.
    """
    (photo, stylised), (labels, predicted) = images, landmarks
    size = field.shape[1]
    warped = warp_image(images[:1], field)[0]
    titles = _titles(origins, type(gradient).__name__)
    # 1.75 inches a panel make the page as wide as a page of print.
    figure, (above, below) = page(2, 4, titles, side=1.75, dpi=300)
    for panel, image in zip(above, (photo, stylised, warped, warped), strict=True):
        draw_image(panel, image)
    draw_landmarks(above[0], labels, size, GREEN)
    draw_landmarks(above[1], predicted, size, RED)
    draw_landmark_shift(above[3], labels, predicted, size)
    draw_gradients(below[:2], gradient(torch.stack([stylised, warped])))
    draw_image(below[2], photo)
    draw_deformed_grid(below[2], field[0], size)
    longest = draw_displacement(below[3], field[0])
    below[3].text(0.765, 0.02, f"rim: {longest * size:.1f} px", transform=below[3].transAxes, ha="right", fontsize=6)
    # Not red, which is one of the wheel's colours.
    shade_folds(below[3], field[0], "black")
    return figure


def _titles(origins: Sequence[str], gradient: str) -> list[str]:
    titles = (
        f"photo, {origins[0]}",
        f"stylised face, {origins[1]}",
        "photo warped onto it",
        "photo's landmarks to face's",
        f"{gradient}, stylised face",
        f"{gradient}, warped photo",
        "face's grid; folds red",
        "displacement; folds black",
    )
    return [f"({letter}) {title}" for letter, title in zip("abcdefgh", titles, strict=True)]


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
