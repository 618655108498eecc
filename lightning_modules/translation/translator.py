"""Photos to the target's style and back (Zhu et al., "Unpaired image-to-image translation", ICCV 2017)."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from lightning_modules.landmarkers.base import frozen
from lightning_modules.translation.discriminators import PatchDiscriminator
from lightning_modules.translation.generators import Generator, ResNetGenerator

SOURCE, TARGET = "source", "target"


@dataclass(frozen=True)
class TranslatedImages:
    """A batch in both styles, there and back; RGB in [0, 1], each of shape ``(B, 3, S, S)``.

    Attributes:
        photos: as given.
        stylised: as given, unpaired.
        to_target: the photos in the target's style.
        to_source: the stylised faces as photos.
        photos_again: the photos there and back.
        stylised_again: the stylised faces there and back.
    """

    photos: Tensor
    stylised: Tensor
    to_target: Tensor
    to_source: Tensor
    photos_again: Tensor
    stylised_again: Tensor


FurtherTerms = Callable[[TranslatedImages], Mapping[str, Tensor]]
"""More terms of the generators' objective: scalars by name, weighted."""


@dataclass(frozen=True)
class GeneratorLoss:
    """The generators' objective.

    Attributes:
        total: the sum of the terms, a scalar.
        terms: each term with its weight, a scalar: ``adversarial``, ``cycle``, ``identity`` and further ones.
        images: what was translated; its ``to_target`` and ``to_source`` are what the discriminators learn from.
    """

    total: Tensor
    terms: dict[str, Tensor]
    images: TranslatedImages


class Translator(nn.Module):
    """Two generators and two discriminators, one of each for either style.

    The two of a kind have the same architecture. All convolutions start with weights from N(0, 0.02²) and biases 0.

    Args:
        generator: the architecture of both (the paper's with 9 blocks if None).
        discriminator: the architecture of both (the paper's with 70 × 70 patches if None).
        cycle_weight: λ of the cycle term, for images in [-1, 1] as published.
        identity_weight: of the identity term, as a share of ``cycle_weight`` (0.5: five times); 0 leaves it out.
    """

    def __init__(
        self,
        generator: Generator | None = None,
        discriminator: PatchDiscriminator | None = None,
        cycle_weight: float = 10.0,
        identity_weight: float = 0.5,
    ) -> None:
        super().__init__()
        generator, discriminator = generator or ResNetGenerator(), discriminator or PatchDiscriminator()
        self.cycle_weight, self.identity_weight = cycle_weight, identity_weight
        self.generators = nn.ModuleDict({TARGET: generator, SOURCE: deepcopy(generator)})
        self.discriminators = nn.ModuleDict({TARGET: discriminator, SOURCE: deepcopy(discriminator)})
        self.initialise()

    def initialise(self) -> None:
        """Draw all weights from torch's global generator."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def to_target(self, photos: Tensor) -> Tensor:
        """Photos in the target's style; RGB in [0, 1], shape ``(B, 3, S, S)``."""
        return cast(Tensor, self.generators[TARGET](photos))

    def to_source(self, stylised: Tensor) -> Tensor:
        """Stylised faces as photos; RGB in [0, 1], shape ``(B, 3, S, S)``."""
        return cast(Tensor, self.generators[SOURCE](stylised))

    def translate(self, photos: Tensor, stylised: Tensor) -> TranslatedImages:
        """Both batches there and back."""
        to_target, to_source = self.to_target(photos), self.to_source(stylised)
        return TranslatedImages(
            photos, stylised, to_target, to_source, self.to_source(to_target), self.to_target(to_source)
        )

    def generator_loss(self, photos: Tensor, stylised: Tensor, further: FurtherTerms | None = None) -> GeneratorLoss:
        """The objective of both generators; discriminators get no gradient from it.

        Args:
            photos: RGB in [0, 1], shape ``(B, 3, S, S)``.
            stylised: likewise, not paired with the photos.
            further: gives more terms, e.g. of a landmarker's estimates on the translated images.
        """
        images = self.translate(photos, stylised)
        with frozen(self.discriminators):
            fooled = [self.discriminators[TARGET](images.to_target), self.discriminators[SOURCE](images.to_source)]
        back = distance(images.photos_again, photos) + distance(images.stylised_again, stylised)
        terms = {
            "adversarial": least_squares(fooled[0], real=True) + least_squares(fooled[1], real=True),
            "cycle": self.cycle_weight * back,
        }
        if self.identity_weight:
            kept = distance(self.to_target(stylised), stylised) + distance(self.to_source(photos), photos)
            terms["identity"] = self.cycle_weight * self.identity_weight * kept
        if further is not None:
            terms.update(further(images))
        return GeneratorLoss(sum(terms.values(), photos.new_zeros(())), terms, images)

    def discriminator_loss(self, photos: Tensor, stylised: Tensor, to_target: Tensor, to_source: Tensor) -> Tensor:
        """The objective of both discriminators, a scalar; generators get no gradient from it.

        Args:
            photos: real ones.
            stylised: real ones.
            to_target: photos in the target's style, usually out of an :class:`ImagePool`.
            to_source: stylised faces as photos, likewise.
        """
        losses = [
            least_squares(self.discriminators[style](real), real=True)
            + least_squares(self.discriminators[style](translated.detach()), real=False)
            for style, real, translated in ((TARGET, stylised, to_target), (SOURCE, photos, to_source))
        ]
        # Halved as published (section 7.1), so that discriminators learn more slowly than generators.
        return (losses[0] + losses[1]) / 2


def least_squares(judged: Tensor, real: bool) -> Tensor:
    """LSGAN: the mean squared distance of judgements (any shape) from 1 (real) or 0, a scalar."""
    return (judged.float() - float(real)).square().mean()


def distance(images: Tensor, others: Tensor) -> Tensor:
    """Mean absolute difference of images in [0, 1], in the published scale of [-1, 1], i.e. doubled; a scalar."""
    return 2 * (images - others).float().abs().mean()
