"""Face to sample: the square crop, and its augmentation, applied to pixels and landmarks alike."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from datamodules.augmentation import CROP_FACTOR, Augmentation, Augmenter, Normal
from datamodules.faces import ByteArray, DataError, Face, FaceSample, FloatArray, landmark_box
from datamodules.ibug68 import FLIP_PERMUTATION
from datamodules.resampling import Matrix, View, apply_matrix, compose, cut, planes

__all__ = [
    "CROP_FACTOR",
    "Augmentation",
    "FaceTransform",
    "Matrix",
    "Normal",
    "Square",
    "StartBox",
    "apply_matrix",
    "compose",
    "crop_matrix",
    "crop_shape",
    "crop_square",
    "cut",
]

Resample = Callable[[Matrix, int], ByteArray]
"""Makes the crop of a size from an image, given the map from image pixels to the crop's."""

_FINER = 1.3
"""How much finer than the finest crop a kept view is: interpolating in it then blurs nothing visibly."""
_ROOMY = 4
"""Longest side of a roomy view, over the crop's."""

StartBox = Literal["annotated", "given", "detected", "whole"]
"""Where the first crop of a face comes from: its annotated landmarks, its given or detected box, or the whole image."""


class Square(NamedTuple):
    """The square region of an image that a crop shows: its centre and its side, in image pixels."""

    x: float
    y: float
    side: float

    def matrix(self, size: int) -> Matrix:
        """The affine map ``(2, 3)`` from image pixels to the pixels of the crop of ``size``."""
        scale = size / self.side
        return np.array([[scale, 0, size / 2 - scale * self.x], [0, scale, size / 2 - scale * self.y]])

    def scaled(self, factor: float) -> "Square":
        """The square ``factor`` times as large, about the same centre."""
        return self._replace(side=self.side * factor)

    def change_to(self, other: "Square") -> float:
        """How far another square is from this one: the largest change of x, y and side, as a share of this side."""
        return max(abs(mine - theirs) for mine, theirs in zip(self, other, strict=True)) / self.side

    @classmethod
    def around(cls, box: npt.NDArray[np.floating]) -> "Square":
        """The crop of a box ``(x0, y0, x1, y1)``: centred on it, side 1.2 × its longer side."""
        x, y = (box[:2] + box[2:]) / 2
        return cls(float(x), float(y), CROP_FACTOR * float((box[2:] - box[:2]).max()))

    @classmethod
    def of_image(cls, image: ByteArray) -> "Square":
        """The whole image (H, W, 3); its side is the longer of the image's two."""
        height, width = image.shape[:2]
        return cls((width - 1) / 2, (height - 1) / 2, float(max(width, height)))


def crop_square(face: Face, start: StartBox | None = None) -> Square:
    """The square that a face is first cropped to.

    Args:
        face: the face.
        start: ``annotated``: around the landmarks' box; ``given`` or ``detected``: around the box that the face has, or
            the whole image where it has none; ``whole``: the whole image. If None, the first of these that it has.

    Raises:
        DataError: the box is empty; or it is to be that of the landmarks and the face has none.
    """
    if start == "annotated" and face.landmarks is None:
        raise DataError(
            f"{face.path}: found no landmarks; expected them, for the annotated box. Add them, or choose "
            "the given box or the whole image to start from."
        )
    annotated = face.landmarks is not None and start in ("annotated", None)
    box = landmark_box(face.landmarks) if annotated and face.landmarks is not None else face.box
    if box is None or start == "whole":
        return Square.of_image(face.image)
    if not (box[2:] - box[:2]).max() > 0:
        raise DataError(f"{face.path}: the face box {box} is empty. Expected x0 < x1 and y0 < y1, in pixels.")
    return Square.around(box)


def crop_matrix(face: Face, size: int) -> Matrix:
    """The affine map ``(2, 3)`` from image pixels to the pixels of the square crop of ``size``.

    The crop is centred on the landmarks' box, its side 1.2 × the box's longer side. Without landmarks the given or
    detected box is used in the same way; without either, the crop is the whole image (side: the longer of its two).

    Raises:
        DataError: the box is empty.
    """
    return crop_square(face).matrix(size)


def crop_shape(landmarks: FloatArray) -> FloatArray:
    """Landmarks in image pixels, ``(68, 2)``, to the crop coordinates of the plain crop around them."""
    return apply_matrix(Square.around(landmark_box(landmarks)).matrix(1), landmarks).astype(np.float32)


class FaceTransform:
    """Crops a :class:`Face` to a :class:`FaceSample` of ``size`` pixels. Each crop is resampled once.

    Args:
        size: side of the crop, in pixels.
        augmentation: how to vary it, or None for the plain crop (a method's validation).
    """

    def __init__(self, size: int, augmentation: Augmentation | None = None) -> None:
        self.size, self.augmentation = size, augmentation
        self.augmenter = None if augmentation is None else Augmenter(augmentation, size)

    def __call__(
        self, face: Face, index: int = 0, seed: int | None = 0, resample: Resample | None = None
    ) -> FaceSample:
        """Crop ``face``. The augmentation depends on ``seed`` alone, so that a resumed run repeats it.

        Args:
            face: the face.
            index: its place in its set.
            seed: of the augmentation; None for the plain crop.
            resample: makes the crop in the place of :func:`cut` from the face's image, whose size alone is then read.

        Raises:
            DataError: the face's box is empty.
        """
        matrix = crop_matrix(face, self.size)
        drawn = None if self.augmenter is None or seed is None else self.augmenter.draw(seed)
        if drawn is not None:
            matrix = compose(drawn.matrix, matrix)
        image = cut(face.image, matrix, self.size) if resample is None else resample(matrix, self.size)
        return self._sample(face, image if drawn is None else drawn.paint(image), matrix, index)

    @property
    def needs(self) -> tuple[float, ...]:
        """What a view depends on besides the face."""
        return (self.size, *((self.augmenter.reach, self.augmenter.zoom) if self.augmenter else (1.0, 1.0)))

    def view(self, face: Face, roomy: bool = False) -> View:
        """All of the image that crops of the face can show, as fine as they need it.

        Args:
            face: the face.
            roomy: so large that crops of other boxes, about there, fit too: for a face whose box will be found anew.

        Raises:
            DataError: the face's box is empty.
        """
        square = crop_square(face)
        _, reach, zoom = self.needs
        if not roomy:
            side, scale = square.side * reach, _FINER * max(zoom, 1.0) * self.size / square.side
        else:
            side = square.side * max(reach, 1.6) * _FINER
            scale = _ROOMY * self.size / min(side, max(face.image.shape))
        return View.around(face.image, (square.x, square.y), side, scale)

    def placed(self, face: Face, matrix: Matrix, index: int = 0) -> FaceSample:
        """A crop of ``face`` as a given affine map places it, not varied; arguments as in :meth:`__call__`."""
        return self._sample(face, cut(face.image, matrix, self.size), matrix, index)

    def _sample(self, face: Face, image: ByteArray, matrix: Matrix, index: int) -> FaceSample:
        (a, b, _), (c, d, _) = matrix.tolist()
        flipped = a * d - b * c < 0
        landmarks = None
        if face.landmarks is not None:
            moved = apply_matrix(matrix, face.landmarks) / self.size
            landmarks = torch.from_numpy((moved[list(FLIP_PERMUTATION)] if flipped else moved).astype(np.float32))
        return FaceSample(
            pixels=torch.from_numpy(planes(image)),
            matrix=torch.from_numpy(matrix.astype(np.float32)),
            flipped=flipped,
            landmarks=landmarks,
            index=index,
            path=face.path,
        )
