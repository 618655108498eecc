"""Labelled photos warped to the shapes of stylised faces, and beyond.

A photo warped so that its landmarks lie on a given shape has that shape as exact labels, even where the shape comes
from wrong pseudo landmarks.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.ibug68 import PARTS
from lightning_modules.warping.fields.spline import PolyharmonicSpline
from lightning_modules.warping.procrustes import align


@dataclass(frozen=True)
class Exaggeration:
    """How photos are warped towards stylised shapes. All draws are uniform unless said otherwise.

    Args:
        towards_target: range of how far to go from the photo's shape (0) to the paired stylised face's (1), after
            aligning the latter by a similarity.
        caricature: range of the factor that multiplies the shape's difference from the mean face (1 changes nothing).
        part_scale: standard deviation of the logarithm of each part's scale, in x and y (brows, eyes, nose, mouth).
        part_shift: standard deviation of each part's shift, as a share of the crop's side.
        height: standard deviation of the logarithm by which each third of the face's height is stretched: a long
            chin, a high brow.
        width: standard deviation of the logarithm by which the face is widened at four heights, from brows to chin.
        coarse: nodes across at which the spline is evaluated.
    """

    towards_target: tuple[float, float] = (0.0, 1.0)
    caricature: tuple[float, float] = (0.8, 1.8)
    part_scale: float = 0.12
    part_shift: float = 0.02
    height: float = 0.3
    width: float = 0.2
    coarse: int = 33

    def shapes(self, photo: Tensor, target: Tensor | None, mean_face: Tensor) -> Tensor:
        """New shapes for photos, drawn from torch's global generator.

        Args:
            photo: the photos' landmarks, crop coordinates, shape ``(B, 68, 2)``.
            target: landmarks of the paired stylised faces, same shape, or None.
            mean_face: shape ``(68, 2)``.

        Returns:
            Crop coordinates, shape ``(B, 68, 2)``, moved and scaled to fill as much of the crop as the photo's did.
        """
        shape = photo
        if target is not None:
            shape = shape + _uniform(self.towards_target, photo) * (align(target, photo) - photo)
        mean = align(mean_face, shape)
        shape = mean + _uniform(self.caricature, photo) * (shape - mean)
        return _fit_box(self._change_proportions(self._move_parts(shape), photo), photo)

    def _change_proportions(self, shape: Tensor, photo: Tensor) -> Tensor:
        thirds = (self.height * torch.randn_like(shape[:, :3, 0])).exp()
        wider = (self.width * torch.randn_like(shape[:, :4, 0])).exp()
        return stretch_along_height(shape, photo, thirds, wider)

    def _move_parts(self, shape: Tensor) -> Tensor:
        moved = shape.clone()
        for part in _MOVED_PARTS:
            points = shape[:, part]
            centre = points.mean(1, keepdim=True)
            scale = (self.part_scale * torch.randn_like(centre)).exp()
            moved[:, part] = centre + (points - centre) * scale + self.part_shift * torch.randn_like(centre)
        return moved

    def warp(self, photos: Tensor, landmarks: Tensor, shapes: Tensor) -> Tensor:
        """Warp photos so that their landmarks lie on ``shapes``.

        Args:
            photos: shape ``(B, 3, S, S)``.
            landmarks: theirs, crop coordinates, shape ``(B, 68, 2)``.
            shapes: where the landmarks are to lie, crop coordinates, shape ``(B, 68, 2)``.

        Returns:
            Shape ``(B, 3, S, S)``.
        """
        return PolyharmonicSpline.fit(shapes, landmarks).warp(photos, self.coarse, padding_mode="zeros")


def stretch_along_height(shape: Tensor, photo: Tensor, heights: Tensor, widths: Tensor) -> Tensor:
    """Give faces other proportions: stretch bands of their height, and their width differently at each height.

    A face stands upright in the frame of its eyes: x from the left eye's centre to the right one's, y across that.

    Args:
        shape: landmarks, shape ``(B, 68, 2)``.
        photo: landmarks that say how each face is turned, shape ``(B, 68, 2)``.
        heights: factors of N bands of equal height, from the topmost landmark to the lowest, shape ``(B, N)``.
        widths: factors at the N + 1 edges of the bands, linear in between, shape ``(B, N + 1)``.

    Returns:
        Shape ``(B, 68, 2)``, shifted along y: the topmost landmark lies on the line where the eyes were.
    """
    bands = heights.shape[1]
    across = photo[:, _RIGHT_EYE].mean(1) - photo[:, _LEFT_EYE].mean(1)
    axis = torch.view_as_complex((across / across.norm(dim=-1, keepdim=True)).contiguous())[:, None]
    middle = shape[:, _BOTH_EYES].mean(1, keepdim=True)
    upright = torch.view_as_complex((shape - middle).contiguous()) / axis
    x, y = upright.real, upright.imag
    top, bottom = y.amin(1, keepdim=True), y.amax(1, keepdim=True)
    place = ((y - top) / (bottom - top).clamp_min(1e-6) * bands).clamp(0, bands)
    band = place.floor().clamp_max(bands - 1).long()
    within = place - band
    steps = heights * (bottom - top) / bands
    y = F.pad(steps.cumsum(1), (1, 0)).gather(1, band) + within * steps.gather(1, band)
    x = x * torch.lerp(widths.gather(1, band), widths.gather(1, band + 1), within)
    return torch.view_as_real(torch.complex(x, y) * axis) + middle


def _run_of(*parts: str) -> slice:
    """Parts whose landmarks follow each other. A list of them would be copied to the device at every use."""
    places = [place for part in parts for place in PARTS[part]]
    assert places == list(range(places[0], places[-1] + 1)), "they follow each other"
    return slice(places[0], places[-1] + 1)


_BOTH_BROWS = _run_of("left_brow", "right_brow")
_NOSE = _run_of("nose_bridge", "nostrils")
_MOUTH = _run_of("outer_lips", "inner_lips")
_BOTH_EYES, _LEFT_EYE, _RIGHT_EYE = _run_of("left_eye", "right_eye"), _run_of("left_eye"), _run_of("right_eye")
_MOVED_PARTS = (_BOTH_BROWS, _BOTH_EYES, _NOSE, _MOUTH, slice(4, 13))
"""Parts that move as one: both brows, both eyes, nose, mouth, and the lower half of the jaw."""


def _uniform(bounds: tuple[float, float], like: Tensor) -> Tensor:
    low, high = bounds
    return torch.empty(len(like), 1, 1, device=like.device, dtype=like.dtype).uniform_(low, high)


def _fit_box(shape: Tensor, onto: Tensor) -> Tensor:
    """Scale and shift ``shape`` so that its box has the centre and the longer side of the other's."""
    low, high = shape.amin(1, keepdim=True), shape.amax(1, keepdim=True)
    onto_low, onto_high = onto.amin(1, keepdim=True), onto.amax(1, keepdim=True)
    scale = (onto_high - onto_low).amax(-1, keepdim=True) / (high - low).amax(-1, keepdim=True).clamp_min(1e-6)
    return (shape - (low + high) / 2) * scale + (onto_low + onto_high) / 2
