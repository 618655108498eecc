"""Face to sample: the square crop, and its augmentation by albumentations, applied to pixels and landmarks alike."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch

from datamodules.faces import ByteArray, DataError, Face, FaceSample, FloatArray, landmark_box
from datamodules.ibug68 import FLIP_PERMUTATION
from datamodules.ranges import above, at_least, ordered, shares

if TYPE_CHECKING:
    import albumentations as A

CROP_FACTOR = 1.2
"""Side of the crop over the longer side of the landmarks' box: the mean scale of the paper's published program."""

_CANVAS = 1.5
"""Side of the image that is augmented, over the crop's: rotation then brings surroundings into view, not black."""

_REFERENCE = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
"""Points that albumentations transforms with the image; their new positions give the affine map."""

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Normal:
    """A normal distribution whose tails are clipped: what lies farther out becomes the nearest value within.

    Args:
        mean: of the distribution.
        deviation: its standard deviation before clipping.
        clip: how many deviations from the mean the farthest values lie.

    Raises:
        RangeError: ``deviation`` or ``clip`` is negative.
    """

    mean: float = 0.0
    deviation: float = 1.0
    clip: float = 2.0

    def __post_init__(self) -> None:
        at_least(0, deviation=self.deviation, clip=self.clip)

    def draw(self, rng: np.random.Generator) -> float:
        """One value."""
        return self.mean + self.deviation * float(np.clip(rng.normal(), -self.clip, self.clip))


@dataclass(frozen=True)
class Augmentation:
    """How training crops vary. Probabilities are per image; 0 switches a part off.

    There are two ways to place a crop. By default the plain crop, with its surroundings, is turned, stretched and
    shifted. With ``crop_factor`` it is cut out of the image at once, turned and of another size, as the published
    program does; then ``rotation`` and ``translation`` may be normal distributions too, and ``scale`` is not used.

    Args:
        flip: probability of mirroring (landmarks are permuted to keep their names).
        rotation: largest rotation either way, in degrees; or its distribution.
        scale: range of the face's width and of its height relative to the plain crop, drawn separately.
        translation: largest shift in x and in y, as a share of the crop's side; or its distribution.
        occlusion: probability of covering up to three rectangles of 10 to 40 % of the side with one colour, or the one
            of ``occluder``.
        colour: probability of changing brightness, contrast, saturation and hue.
        grey: probability of conversion to grey.
        blur: probability of a Gaussian blur.
        crop_factor: the crop's side over the longer side of the face's box, one for both axes (the plain crop's is
            1.2). For a face without landmarks and box it applies to the image as if 1.2 gave the whole of it.
        occluder: the width and the height of a single occluder, drawn separately, over the crop's side.

    Raises:
        ValueError: ``rotation`` or ``translation`` is a distribution and there is no ``crop_factor``.
        RangeError: a number is out of its range.
    """

    flip: float = 0.5
    rotation: float | Normal = 15.0
    scale: tuple[float, float] = (0.85, 1.15)
    translation: float | Normal = 0.06
    occlusion: float = 0.3
    colour: float = 0.6
    grey: float = 0.15
    blur: float = 0.2
    crop_factor: Normal | None = None
    occluder: Normal | None = None

    def __post_init__(self) -> None:
        shares(flip=self.flip, occlusion=self.occlusion, colour=self.colour, grey=self.grey, blur=self.blur)
        ordered(0, scale=self.scale)
        for name in ("rotation", "translation"):
            if not isinstance(value := getattr(self, name), Normal):
                at_least(0, **{name: value})
        if self.crop_factor is not None:
            # The smallest that is drawn: a crop must have a side.
            above(0, crop_factor=self.crop_factor.mean - self.crop_factor.deviation * self.crop_factor.clip)
        if self.crop_factor is None and (isinstance(self.rotation, Normal) or isinstance(self.translation, Normal)):
            raise ValueError(
                "rotation and translation can be distributions only together with crop_factor, e.g. "
                "{mean: 1.2, deviation: 0.05, clip: 1.0}; give it, or plain numbers for both."
            )


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


def apply_matrix(matrix: Matrix, points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Apply an affine map ``(2, 3)`` to points ``(..., 2)``."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


def compose(outer: Matrix, inner: Matrix) -> Matrix:
    """The affine map ``(2, 3)`` that applies ``inner`` first, then ``outer``."""
    return np.hstack([outer[:, :2] @ inner[:, :2], (outer[:, :2] @ inner[:, 2] + outer[:, 2])[:, None]])


def cut(image: ByteArray, matrix: Matrix, size: int) -> ByteArray:
    """Resample ``image`` (H, W, 3) to ``(size, size, 3)`` under ``matrix``; outside the image is black."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < 0.5:
        # warpAffine interpolates between four pixels, which aliases when it shrinks: shrink large photos by area first.
        shrink = 2 * scale
        height, width = (max(1, round(side * shrink)) for side in image.shape[:2])
        fx, fy = width / image.shape[1], height / image.shape[0]
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        # resize maps pixel edges to pixel edges: x' = (x + ½) f - ½.
        matrix = compose(matrix, np.array([[1 / fx, 0, 0.5 / fx - 0.5], [0, 1 / fy, 0.5 / fy - 0.5]]))
    return np.asarray(cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR), dtype=np.uint8)


class FaceTransform:
    """Crops a :class:`Face` to a :class:`FaceSample` of ``size`` pixels.

    Args:
        size: side of the crop, in pixels.
        augmentation: how to vary it, or None for the plain crop (a method's validation).
    """

    def __init__(self, size: int, augmentation: Augmentation | None = None) -> None:
        self.size, self.augmentation = size, augmentation
        self.canvas = round(size * _CANVAS / 2) * 2
        self.pipeline = None if augmentation is None else _pipeline(augmentation, size)

    def __call__(self, face: Face, index: int = 0, seed: int | None = 0) -> FaceSample:
        """Crop ``face``. The augmentation depends on ``seed`` alone, so that a resumed run repeats it.

        Args:
            face: the face.
            index: its place in its set.
            seed: of the augmentation; None for the plain crop.

        Raises:
            DataError: the face's box is empty.
        """
        matrix = crop_matrix(face, self.size)
        if self.augmentation is None or self.pipeline is None or seed is None:
            return self.placed(face, matrix, index)
        self.pipeline.set_random_seed(seed)
        rng = np.random.default_rng(seed)
        if self.augmentation.crop_factor is None:
            image, matrix = self._turned(face, matrix, self.pipeline)
        else:
            matrix = compose(_placement(self.augmentation, self.size, rng), matrix)
            image = self.pipeline(image=cut(face.image, matrix, self.size))["image"]
        if self.augmentation.occluder is not None and rng.random() < self.augmentation.occlusion:
            image = _occluded(image, self.augmentation.occluder, rng)
        return self._sample(face, image, matrix, index)

    def placed(self, face: Face, matrix: Matrix, index: int = 0) -> FaceSample:
        """A crop of ``face`` as a given affine map places it, not varied; arguments as in :meth:`__call__`."""
        return self._sample(face, cut(face.image, matrix, self.size), matrix, index)

    def _turned(self, face: Face, matrix: Matrix, pipeline: "A.Compose") -> tuple[ByteArray, Matrix]:
        """The plain crop with its surroundings, varied by ``pipeline``; and its matrix."""
        margin = (self.canvas - self.size) / 2
        matrix = compose(np.array([[1, 0, margin], [0, 1, margin]]), matrix)
        # Reference points far apart: their positions come back in float32, so a short distance would lose digits.
        reference = _REFERENCE * self.canvas
        out = pipeline(image=cut(face.image, matrix, self.canvas), keypoints=reference)
        moved = np.asarray(out["keypoints"], dtype=np.float64)
        return out["image"], compose(_affine_between(moved, self.canvas), matrix)

    def _sample(self, face: Face, image: ByteArray, matrix: Matrix, index: int) -> FaceSample:
        flipped = bool(np.linalg.det(matrix[:, :2]) < 0)
        landmarks = None
        if face.landmarks is not None:
            moved = apply_matrix(matrix, face.landmarks) / self.size
            landmarks = torch.from_numpy((moved[list(FLIP_PERMUTATION)] if flipped else moved).astype(np.float32))
        return FaceSample(
            image=torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255,
            matrix=torch.from_numpy(matrix.astype(np.float32)),
            flipped=flipped,
            landmarks=landmarks,
            index=index,
            path=face.path,
        )


def _affine_between(moved: npt.NDArray[np.float64], step: float) -> Matrix:
    """The affine map from the reference points, ``step`` apart, to ``moved`` (3, 2)."""
    origin = moved[0]
    return np.stack([(moved[1] - origin) / step, (moved[2] - origin) / step, origin], axis=1)


def _placement(how: Augmentation, size: int, rng: np.random.Generator) -> Matrix:
    """A random map from the pixels of the plain crop to those of a crop of another size, turned, shifted, mirrored."""
    assert how.crop_factor is not None, "without it, crops are placed otherwise"
    scale = CROP_FACTOR / how.crop_factor.draw(rng)
    turn = np.radians(_draw(how.rotation, rng))
    shift = np.array([_draw(how.translation, rng), _draw(how.translation, rng)]) * size
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    # About size / 2, where the plain crop has the box's centre.
    centre = np.array([size / 2, size / 2])
    matrix = np.hstack([linear, (centre + shift - linear @ centre)[:, None]])
    if rng.random() < how.flip:
        matrix = compose(np.array([[-1.0, 0.0, size - 1.0], [0.0, 1.0, 0.0]]), matrix)
    return matrix


def _draw(how: float | Normal, rng: np.random.Generator) -> float:
    """From a distribution, or evenly between a number and its negative."""
    return how.draw(rng) if isinstance(how, Normal) else float(rng.uniform(-how, how))


def _occluded(image: ByteArray, sides: Normal, rng: np.random.Generator) -> ByteArray:
    """The image with one rectangle of a random colour, all of it inside."""
    size = len(image)
    width, height = (round(size * min(max(sides.draw(rng), 0.0), 1.0)) for _ in range(2))
    left, top = (int(rng.integers(0, size - side + 1)) for side in (width, height))
    image = image.copy()
    image[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    return image


def _pipeline(how: Augmentation, size: int) -> "A.Compose":
    """What albumentations does: all of it, or what does not move pixels where the crop is placed before."""
    import albumentations as A  # only here: it takes a second to import, and plain crops do without

    moves = [] if how.crop_factor is not None else _moves(how, size)
    return A.Compose(
        [
            *moves,
            A.ColorJitter(
                brightness=(0.6, 1.4), contrast=(0.6, 1.4), saturation=(0.5, 1.5), hue=(-0.08, 0.08), p=how.colour
            ),
            A.ToGray(p=how.grey),
            A.GaussianBlur(blur_limit=0, sigma_limit=(0.3, size / 100), p=how.blur),
            A.CoarseDropout(
                num_holes_range=(1, 3),
                hole_height_range=(0.1, 0.4),
                hole_width_range=(0.1, 0.4),
                fill="random_uniform",
                p=how.occlusion if how.occluder is None else 0.0,
            ),
        ],
        keypoint_params=A.KeypointParams(format="xy", remove_invisible=False) if moves else None,
    )


def _moves(how: Augmentation, size: int) -> "list[A.BasicTransform]":
    import albumentations as A

    assert not isinstance(how.rotation, Normal), "refused by Augmentation"
    assert not isinstance(how.translation, Normal), "refused by Augmentation"
    shift = how.translation / _CANVAS  # albumentations takes a share of the canvas, which is larger than the crop
    return [
        A.HorizontalFlip(p=how.flip),
        A.Affine(rotate=(-how.rotation, how.rotation), scale=how.scale, translate_percent=(-shift, shift), p=1.0),
        A.CenterCrop(size, size),
    ]
