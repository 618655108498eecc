"""RAFT: torchvision's network behind the protocol, with random weights; direction and frame; what is said without."""

import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import optical_flow

from lightning_modules.coordinates import pixel_grid
from lightning_modules.warping import WarperObjective
from lightning_modules.warping.fields.raft import RAFT
from lightning_modules.weights import WeightsError
from tests.lightning_modules.warping.layouts import random_faces, smooth_images


@pytest.fixture(scope="module")
def raft() -> RAFT:
    torch.manual_seed(0)
    return RAFT(pretrained=False, updates=2)


class ByMean(nn.Module):
    """Stands for the network: moves by the difference of the means, in pixels of what it is given."""

    def forward(self, first: Tensor, second: Tensor, num_flow_updates: int) -> list[Tensor]:
        moved = (second - first).mean(dim=(1, 2, 3))
        side = first.shape[-1]
        return [torch.zeros(()), moved[:, None, None, None].expand(-1, 2, side, side) * side]


def test_the_field_is_torchvisions_flow_from_the_stylised_face_to_the_photo(raft: RAFT) -> None:
    photo, stylised = smooth_images(1, 128, 1), smooth_images(1, 128, 2)
    grid = raft.fit(random_faces(1), random_faces(1), photo, stylised).grid(128)
    with torch.no_grad():
        flow = raft.network(2 * stylised - 1, 2 * photo - 1, num_flow_updates=2)[-1]
    torch.testing.assert_close(grid, pixel_grid(128) + flow.permute(0, 2, 3, 1) / 128, atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", [60, 128, 150])
def test_a_flow_of_the_enlarged_crop_means_the_same_share_of_the_crop(raft: RAFT, side: int) -> None:
    made = RAFT(pretrained=False)
    made.network = ByMean()
    photo, stylised = torch.full((1, 3, side, side), 0.75), torch.full((1, 3, side, side), 0.5)
    field = made.fit(random_faces(1), random_faces(1), photo, stylised)
    # The stand-in moves by half of the enlarged crop: up to the outermost half pixels, half of the crop.
    enlarged = max(128, -(-side // 8) * 8)
    expected = 0.5 * enlarged / (enlarged - 1) * (side - 1) / side
    torch.testing.assert_close(field.grid(side) - pixel_grid(side), torch.full((1, side, side, 2), expected))


def test_it_stays_as_it_is_in_the_objective(raft: RAFT) -> None:
    photo, face = smooth_images(1, 128, 1), random_faces(1).float()
    objective = WarperObjective(field=raft).train()
    predicted = face.clone().requires_grad_()
    terms = objective(photo, face, photo.flip(-1), predicted)
    terms.landmarks.sum().backward()
    assert predicted.grad is not None
    assert not [p for p in objective.parameters() if p.requires_grad]
    assert not [module for module in raft.modules() if module.training]
    assert (raft.needs_images, raft.fits_landmarks) == (True, False)


def test_weights_from_a_file(raft: RAFT, tmp_path: Path) -> None:
    torch.save(raft.network.state_dict(), tmp_path / "raft_small.pth")
    again = RAFT(weights=str(tmp_path / "raft_small.pth"), updates=2)
    photo, stylised, face = smooth_images(1, 128, 1), smooth_images(1, 128, 2), random_faces(1)
    assert torch.equal(
        again.fit(face, face, photo, stylised).displacement, raft.fit(face, face, photo, stylised).displacement
    )
    with pytest.raises(WeightsError, match="given as weights of raft_large"):
        RAFT("large", weights=str(tmp_path / "raft_small.pth"))


def test_without_a_network_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(weights: Any = None, **options: Any) -> nn.Module:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(optical_flow, "raft_small", unreachable)
    with pytest.raises(WeightsError, match=r"raft_small cannot be downloaded.*no route to host.*weights=FILE"):
        RAFT()


def test_bad_input(raft: RAFT) -> None:
    face, photo = random_faces(1), smooth_images(1, 128)
    with pytest.raises(ValueError, match="RAFT needs both faces: found"):
        raft.fit(face, face, photo)
    with pytest.raises(ValueError, match="expected 'small' or 'large'"):
        RAFT("medium")  # type: ignore[arg-type]
