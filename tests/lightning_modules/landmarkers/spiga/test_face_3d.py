from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.ibug68 import FLIP_PERMUTATION
from lightning_modules.landmarkers.reference_shape import MEAN_FACE, read_face
from lightning_modules.landmarkers.spiga.face_3d import MEAN_FACE_3D, PUBLISHED_IDS, read_face_3d, structure_from_motion
from lightning_modules.landmarkers.spiga.head_pose import rotation_matrix
from lightning_modules.weights import WeightsError

FACE = torch.tensor(MEAN_FACE_3D, dtype=torch.float64)


def views(count: int, noise: float = 0.0) -> torch.Tensor:
    """A face in poses that come left and right alike, seen from far away at varying scales."""
    generator = torch.Generator().manual_seed(0)
    angles = torch.randn(count, 3, generator=generator, dtype=torch.float64) * torch.tensor([20.0, 12.0, 6.0])
    angles = torch.cat([angles, -angles])
    scale = 0.5 + 0.1 * torch.rand(2 * count, 1, 1, generator=generator, dtype=torch.float64)
    seen = scale * (FACE @ rotation_matrix(angles).mT)[..., :2] + 0.5
    return seen + noise * torch.randn(seen.shape, generator=generator, dtype=torch.float64)


def test_the_built_in_face_is_a_face() -> None:
    mirrored = FACE[list(FLIP_PERMUTATION)] * torch.tensor([-1, 1, 1])
    torch.testing.assert_close(mirrored, FACE, atol=1.1e-3, rtol=0)
    assert (FACE[45] - FACE[36]).norm().item() == pytest.approx(1, abs=2e-3)
    assert FACE[:, 2].argmin() == 30, "the nose's tip is nearest"
    assert FACE[:, 2].argmax() in (0, 16), "the ears are farthest"
    frontal = (FACE - FACE.mean(0))[:, :2]
    flat = torch.tensor(MEAN_FACE, dtype=torch.float64)
    flat = flat - flat.mean(0)
    scale = (frontal * flat).sum() / flat.square().sum()
    assert (frontal - scale * flat).norm(dim=-1).mean() < 0.04


@pytest.mark.parametrize(("noise", "tolerance"), [(0.0, 0.01), (0.005, 0.03)])
def test_motion_shows_the_structure(noise: float, tolerance: float) -> None:
    found = structure_from_motion(views(200, noise).float())
    assert (found - (FACE - FACE.mean(0)).float()).abs().max() < tolerance


def test_shapes_without_depth_are_refused() -> None:
    with pytest.raises(ValueError, match="3 shapes; expected at least 50"):
        structure_from_motion(views(200)[:3])
    plane = torch.tensor(MEAN_FACE) + 0.001 * torch.randn(100, 68, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"no depth can be found|times as deep as wide"):
        structure_from_motion(plane)


class TestFiles:
    def test_both_formats(self, tmp_path: Path) -> None:
        np.save(tmp_path / "face.npy", FACE.numpy())
        lines = [f"{PUBLISHED_IDS[k]}|{FACE[k, 0]}|{-FACE[k, 1]}|{-FACE[k, 2]}" for k in reversed(range(68))]
        (tmp_path / "face.txt").write_text("\n".join(lines))
        for name in ("face.npy", "face.txt"):
            torch.testing.assert_close(read_face(tmp_path / name, read_face_3d, 3), FACE.float())

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("face.npy", b"no array", "cannot be read as a mean face"),
            ("face.txt", b"101|0.1|0.2", "cannot be read as a mean face"),
            ("face.txt", b"101|0.1|0.2|0.3", "cannot be read as a mean face"),
        ],
    )
    def test_bad_ones_are_named(self, name: str, content: bytes, message: str, tmp_path: Path) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=rf"{name} {message}"):
            read_face(tmp_path / name, read_face_3d, 3)
