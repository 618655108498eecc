"""Earlier translated images for a discriminator to learn from too (Shrivastava et al., CVPR 2017, section 2.3)."""

from typing import Any

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Stores translated images; once it is full, half of the images it is given are exchanged for stored ones.

    Its images are part of its ``state_dict``, so that a resumed training continues exactly. It draws from torch's
    global generator of the CPU, unless it is given another one.

    Args:
        size: how many images it holds; 0 for none: all images come back as they are.
        generator: to draw from.
    """

    def __init__(self, size: int = 50, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.size, self.generator = size, generator
        self.images: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        """Images ``(B, 3, S, S)`` without gradient, each as given or exchanged for a stored one."""
        return torch.stack([self._exchanged(image) for image in images.detach()]) if self.size else images.detach()

    def _exchanged(self, image: Tensor) -> Tensor:
        if len(self.images) < self.size:
            self.images.append(image.clone())  # a view would keep its whole batch in memory
            return image
        if torch.rand(1, generator=self.generator).tolist()[0] < 0.5:
            return image
        place = torch.randint(self.size, (1,), generator=self.generator).tolist()[0]
        kept: Tensor = self.images[place]
        self.images[place] = image.clone()
        return kept.to(image, non_blocking=True)

    def get_extra_state(self) -> dict[str, Any]:
        """The images as one tensor ``(N, 3, S, S)``, or None if there are none yet."""
        return {"images": torch.stack(self.images) if self.images else None}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take the images of :meth:`get_extra_state`."""
        self.images = [] if state["images"] is None else [image.clone() for image in state["images"]]
