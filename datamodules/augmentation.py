"""How training crops vary: geometry drawn by albumentations as one affine map, and what changes colours."""

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from datamodules.faces import ByteArray
from datamodules.resampling import Matrix, compose

if TYPE_CHECKING:
    import albumentations as A

CROP_FACTOR = 1.2
"""Side of the crop over the longer side of the landmarks' box: the mean scale of the paper's published program."""

_CANVAS = 1.5
"""Side, over the crop's, of the image that albumentations is told to move: its shifts are whole pixels of it."""


@dataclass(frozen=True)
class Normal:
    """A normal distribution whose tails are clipped: what lies farther out becomes the nearest value within.

    Args:
        mean: of the distribution.
        deviation: its standard deviation before clipping.
        clip: how many deviations from the mean the farthest values lie.

    Raises:
        ValueError: ``deviation`` or ``clip`` is negative.
    """

    mean: float = 0.0
    deviation: float = 1.0
    clip: float = 2.0

    def __post_init__(self) -> None:
        if self.deviation < 0 or self.clip < 0:
            raise ValueError(f"deviation={self.deviation}, clip={self.clip}: expected 0 or more.")

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
        if self.crop_factor is None and (isinstance(self.rotation, Normal) or isinstance(self.translation, Normal)):
            raise ValueError(
                "rotation and translation can be distributions only together with crop_factor, e.g. "
                "{mean: 1.2, deviation: 0.05, clip: 1.0}; give it, or plain numbers for both."
            )


class Augmenter:
    """Draws an :class:`Augmentation` of crops of one size.

    Args:
        how: the augmentation.
        size: side of the crops, in pixels.

    Attributes:
        reach: side of the part of the image that crops can show, over the plain crop's, about its centre.
        zoom: how much finer than the plain crop a crop can be.
    """

    def __init__(self, how: Augmentation, size: int) -> None:
        self.how, self.size = how, size
        self._canvas = round(size * _CANVAS / 2) * 2
        self._movers = _moves(how) if how.crop_factor is None else None
        self._painters = _painters(how, size)
        self.reach, self.zoom = _extent(how)

    def draw(self, seed: int) -> "Drawn":
        """One variation; it depends on ``seed`` alone, so that a resumed run repeats it."""
        rng, plain = np.random.default_rng(seed), random.Random(seed)
        for transform in (*(self._movers or ()), *self._painters):
            # One generator for all. With `Compose.set_random_seed` each would have its own of the same seed, and with
            # that the same draw: no mirrored crop without other colours, no grey one that is not blurred.
            transform.set_random_state(rng, plain)
        matrix = _placement(self.how, self.size, rng) if self._movers is None else self._moved(*self._movers)
        return Drawn(matrix, self._painters, self.how, rng)

    def _moved(self, mirror: "A.HorizontalFlip", affine: "A.Affine") -> Matrix:
        """The map that both make together, from the plain crop's pixels to the varied one's."""
        canvas = self._canvas
        flip = mirror.should_apply()
        found = affine.get_params_dependent_on_data({"shape": (canvas, canvas, 3)}, {})
        matrix: Matrix = np.asarray(found["matrix"], np.float64)[:2].copy()
        # Both act on the canvas, amid which the crop lies.
        margin = (canvas - self.size) / 2
        matrix[:, 2] += matrix[:, :2].sum(1) * margin - margin
        if flip:
            matrix[:, 2] += matrix[:, 0] * (self.size - 1)
            matrix[:, 0] *= -1
        return matrix


@dataclass(frozen=True)
class Drawn:
    """One variation of a crop.

    Attributes:
        matrix: from the pixels of the plain crop to those of the varied one, ``(2, 3)``.
    """

    matrix: Matrix
    _painters: "list[A.BasicTransform]"
    _how: Augmentation
    _rng: np.random.Generator

    def paint(self, image: ByteArray) -> ByteArray:
        """The crop ``(S, S, 3)`` with its colours changed, blurred, covered. To be called once: it goes on drawing."""
        for painter in self._painters:
            image = painter(image=image)["image"]
        if self._how.occluder is not None and self._rng.random() < self._how.occlusion:
            image = _occluded(image, self._how.occluder, self._rng)
        return image


def _extent(how: Augmentation) -> tuple[float, float]:
    """See :class:`Augmenter`: its reach and its zoom."""
    turn = math.radians(min(_largest(how.rotation), 45.0))
    if how.crop_factor is None:
        smallest, zoom = min(how.scale), max(how.scale)
    else:
        spread = how.crop_factor.clip * how.crop_factor.deviation
        smallest, zoom = (CROP_FACTOR / max(how.crop_factor.mean + sign * spread, 1e-3) for sign in (1, -1))
    reach = (math.cos(turn) + math.sin(turn)) * (1 + 2 * _largest(how.translation)) / smallest
    return reach, zoom


def _largest(how: float | Normal) -> float:
    return abs(how.mean) + how.clip * how.deviation if isinstance(how, Normal) else how


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


def _moves(how: Augmentation) -> "tuple[A.HorizontalFlip, A.Affine]":
    import albumentations as A  # only here: it takes a second to import, and plain crops do without

    assert not isinstance(how.rotation, Normal), "refused by Augmentation"
    assert not isinstance(how.translation, Normal), "refused by Augmentation"
    shift = how.translation / _CANVAS  # albumentations takes a share of the canvas, which is larger than the crop
    affine = A.Affine(rotate=(-how.rotation, how.rotation), scale=how.scale, translate_percent=(-shift, shift), p=1.0)
    return A.HorizontalFlip(p=how.flip), affine


def _painters(how: Augmentation, size: int) -> "list[A.BasicTransform]":
    """What does not move pixels; parts that are switched off are left out."""
    import albumentations as A

    parts: list[Any] = [
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
    ]
    return [part for part in parts if part.p > 0]
