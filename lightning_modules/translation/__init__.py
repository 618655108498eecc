"""Image translators from one style to another, learned from unpaired images; plain torch but for ``training``."""

from lightning_modules.translation.discriminators import PatchDiscriminator
from lightning_modules.translation.generators import Generator, ResNetGenerator, UNetGenerator
from lightning_modules.translation.image_pool import ImagePool
from lightning_modules.translation.translator import (
    SOURCE,
    TARGET,
    FurtherTerms,
    GeneratorLoss,
    TranslatedImages,
    Translator,
)

__all__ = [
    "SOURCE",
    "TARGET",
    "FurtherTerms",
    "Generator",
    "GeneratorLoss",
    "ImagePool",
    "PatchDiscriminator",
    "ResNetGenerator",
    "TranslatedImages",
    "Translator",
    "UNetGenerator",
]
