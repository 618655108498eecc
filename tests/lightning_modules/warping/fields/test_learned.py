"""γ as a network: where it starts, how far it goes, and its gradient against finite differences."""

import math

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from lightning_modules.warping import LearnedField, NoImageLoss, WarperObjective, WarpTerms
from tests.lightning_modules.warping.layouts import random_faces, smooth_images

SIZE = 24


def field(strength: float = 0.0, hidden: int = 8) -> LearnedField:
    """A float64 network; ``strength`` is the size of its last layer's random weights."""
    torch.manual_seed(0)
    made = LearnedField(hidden).double()
    for parameter in made.network[-1].parameters():
        parameter.data = strength * torch.randn_like(parameter)
    return made


def batch(count: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Photos, their landmarks, stylised faces, predicted landmarks."""
    images = [smooth_images(count, SIZE, seed, knots=4, dtype=torch.float64) for seed in (1, 2)]
    return images[0], random_faces(count, seed=3), images[1], random_faces(count, seed=4)


def terms(learned: LearnedField | None, **options: object) -> WarpTerms:
    found: WarpTerms = WarperObjective(learned=learned, coarse=9, **options)(*batch())  # type: ignore[arg-type]
    return found


def test_it_starts_at_the_closed_form_bit_for_bit() -> None:
    found, expected = terms(field()), terms(None)
    for name in ("image", "landmarks", "warped"):
        assert torch.equal(getattr(found, name), getattr(expected, name))


def test_offsets_are_bounded() -> None:
    learned = LearnedField(hidden=8, max_offset=0.03)
    for parameter in learned.parameters():
        parameter.data = 100 * torch.randn_like(parameter)
    offsets = learned(random_faces(3), random_faces(3, seed=1))
    assert float(offsets.detach().abs().max()) == pytest.approx(0.03)
    with pytest.raises(ValueError, match=r"\(2, 5, 2\)"):
        learned(torch.rand(2, 68, 2), torch.rand(2, 5, 2))
    for options in ({"max_offset": 0.0}, {"max_offset": math.nan}, {"hidden": 0}):
        with pytest.raises(ValueError, match="must be positive"):
            LearnedField(**options)  # type: ignore[arg-type]


def test_faces_count_by_their_shape_and_not_by_place_and_size() -> None:
    learned, photo, predicted = field(0.3), random_faces(3), random_faces(3, seed=1)
    found = learned(3 * photo - 0.2, 0.4 * predicted + 0.7)
    torch.testing.assert_close(found, learned(photo, predicted))
    assert not torch.allclose(found, learned(predicted, photo), atol=1e-4)


def test_the_landmark_warping_error_is_the_mean_squared_offset() -> None:
    """To the photo's true landmarks, not to those that γ moved them to."""
    learned, (_, photo, _, predicted) = field(0.3), batch()
    offsets = learned(photo, predicted)
    torch.testing.assert_close(terms(learned).landmarks, offsets.square().sum(-1).mean(-1))
    assert torch.equal(
        learned.fit(photo, predicted).evaluate(predicted),
        WarperObjective(field=learned).fit(photo, predicted).evaluate(predicted),
    )
    assert not learned.fits_landmarks
    assert offsets.detach().abs().max() > 1e-3


@pytest.mark.parametrize("objective", [{}, {"image_loss": NoImageLoss()}, {"smoothing": 0.01, "border_anchors": 2}])
def test_gradient_of_gamma_against_finite_differences(objective: dict[str, object]) -> None:
    warper = WarperObjective(learned=field(0.1), coarse=9, **objective)  # type: ignore[arg-type]
    names, values = zip(*warper.named_parameters(), strict=True)

    def loss(*values: Tensor) -> Tensor:
        found = functional_call(warper, dict(zip(names, values, strict=True)), batch())
        return torch.stack([found.image, found.landmarks])

    assert torch.autograd.gradcheck(loss, values, fast_mode=True)


def test_adam_lowers_the_image_term_with_the_landmarks_held() -> None:
    """What the closed form cannot do: fit a pair better while θ stays where it is."""
    photo, photo_landmarks, _, predicted = batch()
    true = predicted + 0.01 * torch.randn(predicted.shape, generator=torch.Generator().manual_seed(5))
    stylised = WarperObjective(coarse=9)(photo, photo_landmarks, photo, true).warped
    learned = LearnedField(hidden=32).double()
    objective = WarperObjective(learned=learned, coarse=9)
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = objective(photo, photo_landmarks, stylised, predicted).image.sum()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_degenerate_landmarks_give_finite_offsets_and_gradients() -> None:
    learned = LearnedField(hidden=8)
    torch.nn.init.normal_(learned.network[-1].weight)
    point = torch.full((2, 68, 2), 0.5, requires_grad=True)
    offsets = learned(point, point)
    offsets.sum().backward()
    assert offsets.isfinite().all()
    assert point.grad is not None
    assert point.grad.isfinite().all()
