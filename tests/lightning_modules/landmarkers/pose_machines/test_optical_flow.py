import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_modules.landmarkers.pose_machines.optical_flow import registration_error, track

SIZE = 64


def waves(shift: tuple[float, float] = (0.0, 0.0), size: int = SIZE) -> Tensor:
    """A smooth image of a few waves, moved by ``shift`` pixels (x, y), exactly; shape ``(1, 3, size, size)``."""
    y, x = np.mgrid[:size, :size].astype(float)
    x, y = x - shift[0], y - shift[1]
    channels = [
        0.5 + 0.2 * np.sin(0.23 * x + 0.11 * y + phase) + 0.2 * np.cos(0.31 * y - 0.17 * x + 2 * phase)
        for phase in (0.0, 1.0, 2.0)
    ]
    return torch.from_numpy(np.stack(channels))[None]


def points() -> Tensor:
    """Somewhere in the middle, between pixels; crop coordinates."""
    return 0.3 + 0.4 * torch.rand(1, 68, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("shift", [(0.4, -0.3), (1.7, 2.2), (-2.5, 0.0)])
def test_it_recovers_a_translation_between_pixels(shift: tuple[float, float]) -> None:
    found = track(waves(), waves(shift), points(), radius=6)
    error = (found - points()) * SIZE - torch.tensor(shift, dtype=torch.float64)
    assert error.norm(dim=-1).max() < 0.05


def test_points_on_plain_ground_stay() -> None:
    plain = torch.full((1, 3, SIZE, SIZE), 0.5, dtype=torch.float64)
    torch.testing.assert_close(track(plain, plain, points()), points())


def test_it_is_differentiable_in_points_and_frames() -> None:
    old, new = (waves(shift, 9)[:, :1].clone().requires_grad_() for shift in ((0.0, 0.0), (0.37, -0.21)))
    start = torch.tensor([[[0.431, 0.527]]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b, p: track(a, b, p, radius=2, iterations=2), (old, new, start))


def test_frames_that_differ_in_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected both \(B, C, S, S\)"):
        track(waves(), waves(size=32), points())


class TestRegistration:
    SHIFTS = ((0.0, 0.0), (0.8, 0.5), (1.4, 1.1))

    def video(self) -> Tensor:
        return torch.stack([waves(shift) for shift in self.SHIFTS], dim=1)

    def landmarks(self) -> Tensor:
        """Detections that move with the image."""
        return torch.stack([points() + torch.tensor(shift, dtype=torch.float64) / SIZE for shift in self.SHIFTS], dim=1)

    def test_detections_that_move_with_the_image_have_no_error(self) -> None:
        assert registration_error(self.video(), self.landmarks(), radius=6) * SIZE < 0.02

    def test_jitter_is_an_error_of_its_size(self) -> None:
        jitter = torch.zeros(1, 3, 68, 2, dtype=torch.float64)
        jitter[:, 1] = torch.tensor([0.6, -0.8]) / SIZE  # a pixel off in the middle frame: seen twice
        found = registration_error(self.video(), self.landmarks() + jitter, radius=6)
        assert found.item() * SIZE == pytest.approx(1, abs=0.05)

    def test_its_gradient_pulls_jitter_back(self) -> None:
        landmarks = self.landmarks()[:, 1:]
        landmarks[:, 1] += torch.tensor([1.0, 0.0]) / SIZE
        landmarks.requires_grad_()
        registration_error(self.video()[:, 1:], landmarks, radius=6).backward()
        gradient = landmarks.grad
        assert gradient is not None
        # The last detection lies too far to the right, or the one before too far to the left: through the flow.
        expected = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64) / 68
        torch.testing.assert_close(gradient, expected[None, :, None].expand_as(gradient), atol=0.1 / 68, rtol=0)

    def test_only_sure_near_and_consistent_landmarks_count(self) -> None:
        far = self.landmarks()
        far[:, 2, :34] += 0.2
        confidence = torch.ones(1, 3, 68)
        confidence[:, 0, 34:] = 0.1
        error = registration_error(self.video(), far, confidence, radius=6)
        assert error * SIZE < 0.02, "the first half counts in the first pair of frames only, the second in the last"
        assert registration_error(self.video(), far, torch.zeros(1, 3, 68), radius=6) == 0
        noise = torch.rand(self.video().shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        assert registration_error(noise, self.landmarks(), radius=6, consistency=1e-6) == 0

    def test_one_frame_is_refused(self) -> None:
        with pytest.raises(ValueError, match="T of at least 2"):
            registration_error(self.video()[:, :1], self.landmarks()[:, :1])
