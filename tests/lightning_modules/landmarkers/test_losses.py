import numpy as np
import pytest
import torch

from lightning_modules.landmarkers.losses import interocular_loss


def reference(predicted: np.ndarray, target: np.ndarray) -> list[float]:
    """Each face's mean landmark distance over its eye distance, written out."""
    errors = []
    for p, t in zip(predicted, target, strict=True):
        eyes = np.hypot(*(t[36] - t[45]))
        errors.append(sum(np.hypot(*(a - b)) for a, b in zip(p, t, strict=True)) / 68 / eyes)
    return errors


@pytest.fixture
def faces() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(3, 68, 2, generator=generator), torch.rand(3, 68, 2, generator=generator)


def test_it_is_the_mean_error_over_the_eye_distance(faces: tuple[torch.Tensor, torch.Tensor]) -> None:
    predicted, target = faces
    expected = np.mean(reference(predicted.numpy(), target.numpy()))
    assert interocular_loss(predicted, target).item() == pytest.approx(expected, rel=1e-5)


def test_faces_count_by_their_weight(faces: tuple[torch.Tensor, torch.Tensor]) -> None:
    predicted, target = faces
    first, _, third = reference(predicted.numpy(), target.numpy())
    loss = interocular_loss(predicted, target, torch.tensor([1.0, 0.0, 3.0]))
    assert loss.item() == pytest.approx((first + 3 * third) / 4, rel=1e-5)


def test_stages_and_layers_are_averaged(faces: tuple[torch.Tensor, torch.Tensor]) -> None:
    predicted, target = faces
    several = torch.stack([predicted, target, target, predicted], 1).reshape(3, 2, 2, 68, 2)
    assert interocular_loss(several, target).item() == pytest.approx(interocular_loss(predicted, target).item() / 2)


def test_all_zero_weights_give_zero_and_zero_gradients(faces: tuple[torch.Tensor, torch.Tensor]) -> None:
    predicted = faces[0].requires_grad_()
    loss = interocular_loss(predicted, faces[1], torch.zeros(3))
    loss.backward()
    assert loss.item() == 0
    assert predicted.grad is not None
    assert not predicted.grad.any()


def test_perfect_landmarks_and_broken_labels_leave_finite_gradients(faces: tuple[torch.Tensor, torch.Tensor]) -> None:
    target = faces[1].clone()
    target[0, 36] = target[0, 45]
    predicted = target.clone().requires_grad_()
    (
        interocular_loss(predicted, target) + interocular_loss(predicted + 0.1, target, torch.tensor([0.0, 1, 1]))
    ).backward()
    assert predicted.grad is not None
    assert predicted.grad.isfinite().all()
