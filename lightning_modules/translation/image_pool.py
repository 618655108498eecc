"""Earlier translations, so that a discriminator does not only know the newest (Shrivastava et al., CVPR 2017)."""

from typing import Any

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Keeps translated images and hands out old ones in place of new ones half of the time, once it is full.

    Its images are part of its ``state_dict``, so that training goes on exactly. It draws from torch's random generator
    of the CPU, unless it is given another one.

    Args:
        size: how many images it holds; 0 hands everything through.
        generator: to draw from.
    """

    def __init__(self, size: int = 50, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.size, self.generator = size, generator
        self.images: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        """Images ``(B, 3, S, S)``, each as it is or exchanged for one from the pool, which keeps it; no gradient."""
        return torch.stack([self._exchanged(image) for image in images.detach()]) if self.size else images.detach()

    def _exchanged(self, image: Tensor) -> Tensor:
        if len(self.images) < self.size:
            self.images.append(image)
            return image
        if float(torch.rand((), generator=self.generator)) < 0.5:
            return image
        place = int(torch.randint(self.size, (), generator=self.generator))
        kept, self.images[place] = self.images[place], image
        return kept.to(image)

    def get_extra_state(self) -> dict[str, Any]:
        """The images, one tensor."""
        return {"images": torch.stack(self.images) if self.images else None}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take the images of :meth:`get_extra_state`."""
        self.images = [] if state["images"] is None else list(state["images"])
