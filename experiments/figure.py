"""``python -m experiments figure``: the paper's Figure 3 from two images, a photo and a stylised face."""

import argparse
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image

from datamodules.faces import DataError, Face, FloatArray
from datamodules.files import read_face
from datamodules.formats import bad_file
from datamodules.transforms import FaceTransform
from experiments.checkpoints import load_landmarker
from experiments.errors import UsageError
from experiments.figure_page import Half, compose
from experiments.run_folder import require_writable
from lightning_modules.coordinates import to_image_pixels
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.warping import (
    Canny,
    ImageGradient,
    Laplacian,
    PolyharmonicSpline,
    Sobel,
    SpatialGradient,
    folding,
    landmark_warping_error,
)
from lightning_modules.warping.fields.spline import NODES

log = logging.getLogger(__name__)

GRADIENTS: Final[dict[str, Callable[[], ImageGradient]]] = {
    "sobel": Sobel,
    "laplacian": Laplacian,
    "canny": Canny,
    # Its other mode, Sobel's operator, would draw the first one's picture.
    "spatial": partial(SpatialGradient, mode="diff"),
}
FORMATS: Final = (".png", ".pdf", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
"""What the figure can be written as, by suffix."""


def figure(arguments: list[str]) -> Path:
    """Write the figure, print how much the field folds and how far it misses the landmarks; returns the file.

    Landmarks lie beside the images, or the checkpoint's landmarker finds them. Both faces are cropped as for training.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        DataError: an image or its landmarks cannot be read, or there are none and no checkpoint to find them.
        UsageError: the output cannot be written.
    """
    options = _parser().parse_args(arguments)
    out = output_file(options.out, (options.photo, options.stylised))
    faces = [read_face(path) for path in (options.photo, options.stylised)]
    predict = [face.landmarks is None for face in faces]
    predict[1] |= options.predict
    landmarker = _landmarker(options.ckpt, faces, predict)
    photo, stylised = (
        _half(face, options.size, landmarker if wanted else None) for face, wanted in zip(faces, predict, strict=True)
    )
    spline = PolyharmonicSpline.fit(stylised.landmarks, photo.landmarks, options.order, options.smoothing)
    field = spline.grid(options.size, options.coarse)
    page = compose(photo, stylised, field, GRADIENTS[options.gradient]())
    try:
        Image.fromarray(page).save(out, dpi=(300, 300), resolution=300, quality=95)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror or error}). Give another OUT.") from error
    missed = float(landmark_warping_error(spline, stylised.landmarks, photo.landmarks))
    print(f"folded: {100 * float(folding(field)):.3f} % of the crop")
    print(
        f"landmark-warping error: {missed:.3g} in squared crop coordinates, "
        f"{math.sqrt(missed) * options.size:.3g} px (root mean square) of {options.size}"
    )
    log.info("wrote %s", out)
    return out


def _half(face: Face, size: int, landmarker: Landmarker | None) -> Half:
    """Crop a face around its landmarks; with a landmarker, around those it finds."""
    if landmarker is not None:
        face = replace(face, landmarks=_predicted(face, landmarker))
    return Half(FaceTransform(size)(face), "labels" if landmarker is None else "predictions")


@torch.no_grad()
def _predicted(face: Face, landmarker: Landmarker) -> FloatArray:
    """Landmarks in image pixels, found in the crop that training and ``evaluate`` take of this face."""
    sample = FaceTransform(landmarker.image_size)(face)
    found = landmarker(sample.image[None]).landmarks
    pixels = to_image_pixels(found, sample.matrix[None], landmarker.image_size)[0]
    if not bool(pixels.isfinite().all()):
        raise DataError(
            f"{face.path}: the checkpoint's landmarker found landmarks that are no numbers; expected 68 points. "
            "Use a checkpoint of a run that went well."
        )
    return pixels.numpy().astype(np.float32)


def _landmarker(ckpt: str | None, faces: list[Face], predict: list[bool]) -> Landmarker | None:
    if not any(predict):
        if ckpt is not None:
            log.info("both images have landmarks: %s is not used (--predict has it find the stylised face's)", ckpt)
        return None
    if ckpt is not None:
        return load_landmarker(ckpt)
    face = faces[predict.index(True)]
    name = Path(face.path).name
    if face.landmarks is not None:
        raise UsageError("--predict needs a checkpoint to predict with. Add --ckpt (CKPT=runs/…/last.ckpt).")
    raise bad_file(
        face.path,
        "an image without landmarks, and no checkpoint to find them",
        f"{name}.npy or {Path(name).stem}.pts beside it or in a folder landmarks/, or a checkpoint",
        "Add its landmarks, or give CKPT=runs/…/last.ckpt (--ckpt).",
    )


def output_file(name: str, images: tuple[str, ...]) -> Path:
    """The file to write, found writable before any work is done."""
    out = Path(name).expanduser()
    if out.suffix.lower() not in FORMATS:
        found = f"the suffix {out.suffix!r}" if out.suffix else "no suffix"
        raise UsageError(f"{out}: found {found}, expected one of {', '.join(FORMATS)}. Give another OUT.")
    if out.resolve() in [Path(image).expanduser().resolve() for image in images]:
        raise UsageError(f"{out}: is an image to read, and would be overwritten. Give another OUT.")
    if out.is_dir():
        raise UsageError(f"{out}: found a folder, expected a file's name. Give another OUT.")
    try:
        require_writable(out.parent)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror}). Give another OUT.") from error
    return out


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m experiments figure", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--photo", required=True, help="a photo of a face; its landmarks (.npy, .pts) beside it or in landmarks/")
    add("--stylised", required=True, help="a stylised face; likewise")
    add("--ckpt", help="a checkpoint of a run, whose landmarker finds the landmarks that no file has")
    add("--predict", action="store_true", help="find the stylised face's landmarks even where a file has them")
    add("--out", default="figure.png", help=f"where to write the figure ({', '.join(FORMATS)})")
    add("--order", type=int, default=2, choices=(1, 2, 3, 4), help="of the spline; 2 is the thin plate")
    add("--smoothing", type=_smoothing, default=0.0, help="λ of the spline; 0 meets the landmarks")
    add(
        "--coarse",
        type=_coarse,
        default=NODES,
        help="nodes across that the field is evaluated at; none: at every pixel",
    )
    add("--gradient", default="sobel", choices=GRADIENTS, help="operator of the gradient images")
    add("--size", type=_size, default=256, help="side of the crops in pixels")
    return parser


def _smoothing(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a finite number of at least 0")
    return value


def _coarse(text: str) -> int | None:
    if text.lower() == "none":
        return None
    if not text.lstrip("-").isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is neither a number nor none")
    if int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text} nodes are too few: give at least 2, or none for every pixel")
    return int(text)


def _size(text: str) -> int:
    value = int(text)
    if not 32 <= value <= 2048:
        raise argparse.ArgumentTypeError(f"{text} is not a side from 32 to 2048 pixels")
    return value
