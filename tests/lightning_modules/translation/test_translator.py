"""The translator's objectives against numbers worked out by hand, and that training lowers them."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_modules.translation import (
    Generator,
    PatchDiscriminator,
    TranslatedImages,
    Translator,
)


class _Affine(Generator):
    """``slope · x + shift`` in [0, 1]; the slopes of the two directions differ once they are set."""

    def __init__(self, slope: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.slope, self.shift = nn.Parameter(torch.tensor(slope)), nn.Parameter(torch.tensor(shift))

    def paint(self, images: Tensor) -> Tensor:
        raise NotImplementedError("it has no tanh")

    def forward(self, images: Tensor) -> Tensor:
        return self.slope * images + self.shift


class _Mean(PatchDiscriminator):
    """Judges each pixel by its mean colour, times a number."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__(1, 1)
        self.factor = nn.Parameter(torch.tensor(factor))
        del self.layers

    def forward(self, images: Tensor) -> Tensor:
        return self.factor * images.mean(1, keepdim=True)


def affine_translator(**weights: float) -> Translator:
    translator = Translator(_Affine(), _Mean(), **weights)
    translator.generators["target"] = _Affine(0.5, 0.25)
    translator.generators["source"] = _Affine(0.75, 0.125)
    translator.discriminators["source"] = _Mean(2.0)
    return translator


@pytest.fixture
def faces() -> tuple[Tensor, Tensor]:
    return torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)


def by_hand(photos: np.ndarray, stylised: np.ndarray) -> dict[str, float]:
    """Zhu et al.'s terms as their paper has them, on images in [-1, 1]."""
    x, y = 2 * photos - 1, 2 * stylised - 1

    def to_target(z: np.ndarray) -> np.ndarray:
        return 2 * (0.5 * (z + 1) / 2 + 0.25) - 1

    def to_source(z: np.ndarray) -> np.ndarray:
        return 2 * (0.75 * (z + 1) / 2 + 0.125) - 1

    def judged(z: np.ndarray, factor: float) -> np.ndarray:
        return factor * ((z + 1) / 2).mean(1)

    adversarial = ((judged(to_target(x), 1) - 1) ** 2).mean() + ((judged(to_source(y), 2) - 1) ** 2).mean()
    cycle = abs(to_source(to_target(x)) - x).mean() + abs(to_target(to_source(y)) - y).mean()
    identity = abs(to_target(y) - y).mean() + abs(to_source(x) - x).mean()
    critics = (
        ((judged(y, 1) - 1) ** 2).mean()
        + (judged(to_target(x), 1) ** 2).mean()
        + ((judged(x, 2) - 1) ** 2).mean()
        + (judged(to_source(y), 2) ** 2).mean()
    )
    return {"adversarial": adversarial, "cycle": 10 * cycle, "identity": 5 * identity, "critics": critics / 2}


def test_the_generators_objective(faces: tuple[Tensor, Tensor]) -> None:
    expected = by_hand(*(images.double().numpy() for images in faces))
    del expected["critics"]
    loss = affine_translator().generator_loss(*faces)
    assert {name: value.item() for name, value in loss.terms.items()} == pytest.approx(expected, rel=1e-5)
    assert loss.total.item() == pytest.approx(sum(expected.values()), rel=1e-5)


def test_the_discriminators_objective(faces: tuple[Tensor, Tensor]) -> None:
    translator = affine_translator()
    images = translator.translate(*faces)
    found = translator.discriminator_loss(*faces, images.to_target, images.to_source)
    assert found.item() == pytest.approx(by_hand(*(f.double().numpy() for f in faces))["critics"], rel=1e-5)


def test_each_objective_teaches_its_own_networks(faces: tuple[Tensor, Tensor]) -> None:
    translator = affine_translator()
    loss = translator.generator_loss(*faces)
    loss.total.backward()
    assert all(p.grad is not None for p in translator.generators.parameters())
    assert all(p.grad is None for p in translator.discriminators.parameters())
    assert all(p.requires_grad for p in translator.discriminators.parameters()), "and they can still learn"

    translator.zero_grad()
    translator.discriminator_loss(*faces, loss.images.to_target, loss.images.to_source).backward()
    assert all(p.grad is None for p in translator.generators.parameters())
    assert all(p.grad is not None for p in translator.discriminators.parameters())


def test_further_terms_see_the_translations(faces: tuple[Tensor, Tensor]) -> None:
    seen: list[TranslatedImages] = []

    def further(images: TranslatedImages) -> dict[str, Tensor]:
        seen.append(images)
        return {"bright": 4 * images.to_target.mean()}

    translator = affine_translator()
    plain, loss = translator.generator_loss(*faces), translator.generator_loss(*faces, further)
    bright = 4 * (0.5 * faces[0].mean() + 0.25)
    assert loss.terms["bright"].item() == pytest.approx(float(bright))
    assert (loss.total - plain.total).item() == pytest.approx(float(bright), rel=1e-4)
    assert torch.allclose(seen[0].photos_again, 0.75 * (0.5 * faces[0] + 0.25) + 0.125)
    assert torch.allclose(seen[0].stylised_again, 0.5 * (0.75 * faces[1] + 0.125) + 0.25)
