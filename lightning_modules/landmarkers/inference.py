"""From pictures to landmarks: the one way that evaluation, pseudo landmarks and prediction take.

:func:`find_in_images` starts from images and a square around each face; :func:`find_landmarks` from crops that are
already cut, as a training loop has them; :func:`estimate` stays in their coordinates. Each rests on the one below.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from datamodules.faces import ByteArray
from datamodules.ibug68 import FLIP_PERMUTATION, OUTER_EYE_CORNERS
from datamodules.transforms import CROP_FACTOR, Square, cut
from lightning_modules.coordinates import mirrored, to_image_pixels
from lightning_modules.devices import constant
from lightning_modules.landmarkers.base import Landmarker, evaluating
from lightning_modules.landmarkers.recropping import recropped

_NEAR = 0.05
"""Change of a crop from the last one, as a share of its side, up to which estimates in it are averaged with the last.

A starting crop that was loose is farther away."""
_SETTLED = (0.95, 1.05)
"""How large, over the square that two rounds led to, a face's crops of a third and a fourth round are.

They would hardly move it. Of crops of other sizes the errors agree less, so that their mean is worth more."""
_TIMES = ("", "once", "twice", "three times", "four times", "five times")


@dataclass(frozen=True)
class Inference:
    """How landmarks are found in an image, given a square around the face.

    Where faces are cropped again, the estimates in all crops within 5 % of the last one are averaged. Of three and more
    rounds, the last one or two do not move the crop: it becomes 5 % closer, then 5 % wider.

    Args:
        recrop: how often at most the face is cropped again, to the landmarks found: it corrects loose boxes.
        mirror: average the estimates on each crop and on its mirror image.
        scales: average the estimates on crops so many times as large as the square.
        tolerance: change of the square, as a share of its side, up to which it rests: it is not cropped again.

    Raises:
        ValueError: a number is out of its range; the message begins with its name.
    """

    recrop: int = 0
    mirror: bool = False
    scales: tuple[float, ...] = (1.0,)
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        if self.recrop < 0:
            raise ValueError(f"recrop: found {self.recrop}, expected a number of rounds, 0 or more.")
        if not self.scales or not all(0.25 <= scale <= 4 for scale in self.scales):
            found = " ".join(f"{scale:g}" for scale in self.scales) or "none"
            raise ValueError(f"scales: found {found}, expected one or more numbers from 0.25 to 4, as in 0.9 1 1.1.")
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance: found {self.tolerance:g}, expected a share of the side, from 0 to below 1.")

    @property
    def settled(self) -> tuple[float, ...]:
        """How large, over the square that they do not move, the crops of the last rounds are."""
        return _SETTLED[: max(self.recrop - 2, 0)]

    def __str__(self) -> str:
        """In words, e.g. ``cropped again twice (crops within 5 % of the last averaged), mirror averaged``."""
        again = _TIMES[self.recrop] if self.recrop < len(_TIMES) else f"{self.recrop} times"
        near = f"crops within {100 * _NEAR:g} % of the last averaged"
        near += ", the last of other sizes" if self.settled else ""
        words = [f"cropped again {again} ({near})" if self.recrop else "one crop"]
        words += ["mirror averaged"] if self.mirror else []
        scales = ", ".join(f"{scale:g}" for scale in self.scales)
        words += [] if self.scales == (1.0,) else [f"scales {scales} averaged" if "," in scales else f"scale {scales}"]
        return ", ".join(words)


@dataclass(frozen=True)
class Found:
    """A landmarker's estimates on B faces.

    Attributes:
        pixels: landmarks in the original images' pixels, the mean of all estimates, shape ``(B, 68, 2)``, float64.
        disagreement: mean distance between two estimates (on crop and mirror image, on crops of other scales or
            rounds), over the inter-ocular distance, shape ``(B,)``; 0 where there is only one estimate.
        uncertainty: standard deviation of each landmark along an axis, in the original images' pixels, shape
            ``(B, 68)``: the landmarker's own and the estimates' spread, variances added. NaN where the landmarker has
            none and there is one estimate.
    """

    pixels: Tensor
    disagreement: Tensor
    uncertainty: Tensor


@dataclass(frozen=True)
class FoundInImages(Found):
    """Estimates in images.

    Attributes:
        squares: the last one that each face was cropped to.
        crops: how often each face was cropped, shape ``(B,)``: 1, 1 for each round until its square rested, and 1 for
            each round that does not move it.
    """

    squares: list[Square]
    crops: Tensor


def find_in_images(
    landmarker: Landmarker, images: Sequence[ByteArray], squares: Sequence[Square], how: Inference = Inference()
) -> FoundInImages:
    """Crop faces, find their landmarks, and crop them again to those, as chosen.

    :func:`lightning_modules.landmarkers.recropping.recropped` says where a face is cropped again; its square can
    neither collapse nor run away, whatever the landmarker finds. A face's estimates in all crops near its last one are
    averaged, for which those of the rounds before are at hand.

    Args:
        landmarker: the network; it is in evaluation mode meanwhile, and no gradient is kept.
        images: RGB, uint8, each of its own shape ``(H, W, 3)``; B of them, one batch.
        squares: around each face, e.g. by :func:`datamodules.transforms.crop_square`.
        how: the choices.
    """
    faces = [_Face(image, square) for image, square in zip(images, squares, strict=True)]
    moving, rounds = faces, how.recrop - len(how.settled)
    for turn in range(rounds + 1):
        _look(landmarker, moving, how)
        moving = [face for face in moving if turn < rounds and face.recrop(turn, how.tolerance)]
        if not moving:
            break
    # A face that rested at once has a good box, for which one crop is enough.
    if moved := [face for face in faces if len(face.seen) > 1]:
        for scale in how.settled:
            _look(landmarker, moved, replace(how, scales=tuple(scale * other for other in how.scales)))
    found = [_averaged(*face.estimates()) for face in faces]
    return FoundInImages(
        torch.cat([face.pixels for face in found]),
        torch.cat([face.disagreement for face in found]),
        torch.cat([face.uncertainty for face in found]),
        [face.square for face in faces],
        torch.tensor([len(face.seen) for face in faces]),
    )


def find_landmarks(landmarker: Landmarker, images: Tensor, matrices: Tensor) -> Found:
    """Landmarks of faces in their original images, from crops that are already cut, as a method validates itself.

    Those have the project's crop factor, 1.2. A landmarker of another (some of ``FixedLandmarker``, which are never
    trained) goes through :func:`find_in_images`, which crops as it wants.

    Args:
        landmarker: the network; it is in evaluation mode meanwhile, and no gradient is kept.
        images: square crops, RGB in [0, 1], shape ``(B, 3, S, S)``.
        matrices: from the original images' pixels to the crops', shape ``(B, 2, 3)``.
    """
    return _averaged(*_in_pixels(landmarker, images, matrices, mirror=False))


def estimate(landmarker: Landmarker, images: Tensor, mirror_average: bool = True) -> tuple[Tensor, Tensor]:
    """Landmarks in crop coordinates, ``(B, 68, 2)``, and the disagreement of crop and mirror image, see :class:`Found`.

    The landmarker is in evaluation mode meanwhile, and nothing of it is left for a training pass: no gradient, no
    batch-norm statistics.
    """
    views, _ = _views(landmarker, images, mirror_average)
    mean = views.mean(0)
    return mean, _disagreement(views, mean)


def mirror_landmarks(landmarks: Tensor, size: int) -> Tensor:
    """Landmarks of the mirrored crop of ``size`` pixels, crop coordinates ``(..., 68, 2)``; left and right swap."""
    return mirrored(landmarks[..., constant(FLIP_PERMUTATION, landmarks.device), :], size)


class _Face:
    """A face on its way through the rounds: its next or last square, and what was seen in each so far."""

    def __init__(self, image: ByteArray, square: Square) -> None:
        self.image, self.square = image, square
        self.seen: list[tuple[Square, Tensor, Tensor | None]] = []

    def recrop(self, turn: int, tolerance: float) -> bool:
        """Move the square to the landmarks last found; False, and it stays, if that is less than the tolerance."""
        _, views, _ = self.seen[-1]
        wanted = recropped(self.square, views.mean(0).cpu().numpy(), self.image, turn)
        if self.square.change_to(wanted) <= tolerance:
            return False
        self.square = wanted
        return True

    def estimates(self) -> tuple[Tensor, Tensor | None]:
        """Those from crops near the last one, ``(V, 1, 68, 2)``, and the landmarker's own uncertainty of each."""
        near = [(views, own) for square, views, own in self.seen if self.square.change_to(square) <= _NEAR]
        own = [spread for _, spread in near if spread is not None]
        return torch.cat([views for views, _ in near])[:, None], torch.cat(own)[:, None] if own else None


def _look(landmarker: Landmarker, faces: Sequence[_Face], how: Inference) -> None:
    """Add to each face the estimates on crops of every scale about its square, in image pixels."""
    parameter = next(landmarker.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    size = landmarker.image_size
    pixels, own = [], []
    for scale in how.scales:
        # Squares are the project's crops; a network made for others sees its own about the same centre.
        factor = scale * landmarker.crop_factor / CROP_FACTOR
        matrices = [face.square.scaled(factor).matrix(size) for face in faces]
        crops = [cut(face.image, matrix, size) for face, matrix in zip(faces, matrices, strict=True)]
        batch = torch.from_numpy(np.stack(crops)).to(device).permute(0, 3, 1, 2).float() / 255
        views, spreads = _in_pixels(landmarker, batch, torch.from_numpy(np.stack(matrices)).to(device), how.mirror)
        pixels.append(views)
        own += [] if spreads is None else [spreads]
    seen, told = torch.cat(pixels), torch.cat(own) if own else None
    for i, face in enumerate(faces):
        face.seen.append((face.square, seen[:, i], None if told is None else told[:, i]))


def _in_pixels(landmarker: Landmarker, images: Tensor, matrices: Tensor, mirror: bool) -> tuple[Tensor, Tensor | None]:
    """The estimates of :func:`_views` in the original images' pixels."""
    views, own = _views(landmarker, images, mirror)
    size = images.shape[-1]
    pixels = torch.stack([to_image_pixels(view, matrices, size) for view in views])
    if own is None:
        return pixels, None
    scale = torch.linalg.det(matrices[:, :, :2].double()).abs().sqrt()
    return pixels, own.double() * size / scale[:, None]


@torch.no_grad()
def _views(landmarker: Landmarker, images: Tensor, mirror: bool) -> tuple[Tensor, Tensor | None]:
    """Estimates on crops and, if asked for, on their mirror images: ``(V, B, 68, 2)`` in the crops' coordinates.

    And the landmarker's own uncertainty of each, ``(V, B, 68)``, or None.
    """
    with evaluating(landmarker):
        outputs = [landmarker(view) for view in ((images, images.flip(-1)) if mirror else (images,))]
    # Autocast caches the weights it has cast to bf16; those cast under no_grad would give a training pass no gradient.
    torch.clear_autocast_cache()
    views, own = [output.landmarks.float() for output in outputs], [output.uncertainty for output in outputs]
    if mirror:
        views[1] = mirror_landmarks(views[1], images.shape[-1])
    spreads = [spread.float() for spread in own if spread is not None]
    if mirror and spreads:
        spreads[1] = spreads[1][:, constant(FLIP_PERMUTATION, spreads[1].device)]
    return torch.stack(views), torch.stack(spreads) if spreads else None


def _averaged(views: Tensor, own: Tensor | None) -> Found:
    """The mean of V estimates in image pixels, ``(V, B, 68, 2)``, given the landmarker's own uncertainty of each."""
    mean = views.mean(0)
    variance = torch.zeros_like(mean[..., 0]) if own is None else own.square().mean(0)
    if len(views) > 1:
        variance = variance + views.var(0).mean(-1)
    elif own is None:
        variance = torch.full_like(variance, torch.nan)
    return Found(mean, _disagreement(views, mean).float(), variance.sqrt())


def _disagreement(views: Tensor, mean: Tensor) -> Tensor:
    """Mean distance between two of V estimates ``(V, B, 68, 2)``, over the inter-ocular distance of their mean."""
    if len(views) == 1:
        return mean.new_zeros(len(mean))
    apart = torch.stack([one - other for one, other in combinations(views, 2)]).norm(dim=-1).mean((0, -1))
    left, right = OUTER_EYE_CORNERS
    interocular = (mean[:, left] - mean[:, right]).norm(dim=-1)
    disagreement: Tensor = apart / interocular.clamp(min=1e-3)
    return disagreement
