"""Random views of a face: turned, bent, recoloured, blurred, partly covered; landmarks move with the pixels."""

import kornia.augmentation as K
import torch
from torch import Tensor, nn

from datamodules.ranges import at_least, ordered, shares
from lightning_modules.landmarkers.base import full_precision
from lightning_modules.warping.fields.spline import PolyharmonicSpline


class StrongView:
    """The student's view of a stylised face. All draws come from torch's global generator, one per image.

    Args:
        rotation: largest turn, in degrees, either way.
        scale: range of the face's size.
        shift: largest shift in x and in y, as a share of the crop's side.
        bend: standard deviation of a smooth random displacement, as a share of the crop's side.
        colour: probability of changing brightness, contrast, saturation and hue.
        grey: probability of dropping colour.
        blur: probability of a Gaussian blur.
        noise: probability of Gaussian noise.
        erase: probability of covering a rectangle.
    """

    def __init__(
        self,
        rotation: float = 20.0,
        scale: tuple[float, float] = (0.85, 1.15),
        shift: float = 0.06,
        bend: float = 0.02,
        colour: float = 0.8,
        grey: float = 0.2,
        blur: float = 0.3,
        noise: float = 0.3,
        erase: float = 0.5,
    ) -> None:
        at_least(0, rotation=rotation, shift=shift, bend=bend)
        ordered(0, scale=scale)
        shares(colour=colour, grey=grey, blur=blur, noise=noise, erase=erase)
        self.rotation, self.scale, self.shift, self.bend = rotation, scale, shift, bend
        self.pixels = nn.Sequential(
            K.ColorJiggle(0.4, 0.4, 0.4, 0.1, p=colour),
            K.RandomGrayscale(p=grey),
            K.RandomGaussianBlur(7, (0.3, 1.5), p=blur),
            K.RandomGaussianNoise(std=0.05, p=noise),
            K.RandomErasing((0.02, 0.2), value=0.5, p=erase),
        )

    def __call__(self, images: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        """Draw a view of each image.

        Args:
            images: RGB in [0, 1], shape ``(B, 3, S, S)``.
            landmarks: theirs, known or estimated, crop coordinates, shape ``(B, 68, 2)``.

        Returns:
            The views, RGB in [0, 1], and where those landmarks lie in them; without gradient.
        """
        with torch.no_grad(), full_precision(images):
            known = landmarks.float()
            moved = self.move(known)
            seen = PolyharmonicSpline.fit(moved, known).warp(images.float(), 33, padding_mode="zeros")
            views: Tensor = self.pixels(seen).clamp(0, 1).to(images.dtype)
            return views, moved

    def move(self, points: Tensor) -> Tensor:
        """Bend, turn, scale and shift points about the crop's centre: crop coordinates, shape ``(B, K, 2)``."""
        count = len(points)
        ticks = torch.linspace(0, 1, _NODES, device=points.device, dtype=points.dtype)
        nodes = torch.cartesian_prod(ticks, ticks).repeat(count, 1, 1)
        bent = PolyharmonicSpline.fit(nodes, nodes + self.bend * torch.randn_like(nodes)).evaluate(points)
        angle = points.new_empty(count, 1).uniform_(-self.rotation, self.rotation).deg2rad()
        x, y = (bent - 0.5).unbind(dim=-1)
        turned = torch.stack([x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()], dim=-1)
        size = points.new_empty(count, 1, 1).uniform_(*self.scale)
        return size * turned + 0.5 + points.new_empty(count, 1, 2).uniform_(-self.shift, self.shift)


_NODES = 4
"""Nodes of the bend along either axis: so few that parts of a face are shifted but not distorted."""
