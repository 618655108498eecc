"""PatchGAN: judges each patch of an image by itself (Isola et al., CVPR 2017)."""

from torch import Tensor, nn


class PatchDiscriminator(nn.Module):
    """4×4 convolutions C64-C128-C256-C512 and a last one to a single map; its outputs see 70 × 70 pixels each.

    Args:
        width: channels of the first convolution; they double up to eight times as many.
        halvings: convolutions of stride 2; one of stride 1 and the output convolution follow. With 3 a patch has
            70 pixels, with 2 it has 34.
    """

    def __init__(self, width: int = 64, halvings: int = 3) -> None:
        super().__init__()
        self.smallest = 3 * 2**halvings
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for level in range(1, halvings + 1):
            narrow, wide = (width * 2 ** min(k, 3) for k in (level - 1, level))
            stride = 2 if level < halvings else 1
            layers += [nn.Conv2d(narrow, wide, 4, stride, padding=1), nn.InstanceNorm2d(wide), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(wide, 1, 4, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        """How real each patch looks, unbounded, shape ``(B, 1, h, w)``; RGB in [0, 1], shape ``(B, 3, S, S)``.

        Raises:
            ValueError: the images are smaller than the convolutions need.
        """
        if min(images.shape[-2:]) < self.smallest:
            raise ValueError(
                f"images of {tuple(images.shape[-2:])} pixels; expected at least {self.smallest}. Use larger crops or "
                "fewer halvings."
            )
        judged: Tensor = self.layers(2 * images - 1)
        return judged
