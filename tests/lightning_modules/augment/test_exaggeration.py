from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import procrustes
from torch import Tensor

from datamodules.ibug68 import PARTS
from lightning_modules.augment.exaggeration import Exaggeration, stretch_along_height
from lightning_modules.landmarkers.reference_shape import MEAN_FACE
from lightning_modules.warping.procrustes import align
from tests.lightning_modules.methods.small import shapes

MEAN = torch.tensor(MEAN_FACE, dtype=torch.float64)
SIZE = 128
STILL = Exaggeration((0.0, 0.0), (1.0, 1.0), part_scale=0.0, part_shift=0.0, height=0.0, width=0.0)
"""Changes nothing."""


def similarity(shape: Tensor, degrees: float, scale: float, shift: tuple[float, float]) -> Tensor:
    angle = np.radians(degrees)
    turn = torch.tensor([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return scale * shape @ turn + torch.tensor(shift, dtype=torch.float64)


def dots(landmarks: Tensor, sigma: float = 1.2) -> Tensor:
    """A black photo with one white dot per landmark, each in an image of its own, shape ``(68, 3, S, S)``."""
    y, x = torch.meshgrid(*[torch.arange(SIZE, dtype=torch.float64)] * 2, indexing="ij")
    squared = (x - SIZE * landmarks[:, 0, None, None]) ** 2 + (y - SIZE * landmarks[:, 1, None, None]) ** 2
    return (-squared / (2 * sigma**2)).exp()[:, None].expand(-1, 3, -1, -1)


def centroids(images: Tensor) -> Tensor:
    """Crop coordinates of each image's bright dot, shape ``(B, 2)``."""
    weight = images[:, 0].double()
    place = torch.arange(SIZE, dtype=torch.float64) / SIZE
    total = weight.sum((1, 2))
    return torch.stack([(weight.sum(1) @ place) / total, (weight.sum(2) @ place) / total], dim=-1)


def box(landmarks: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and longer side."""
    low, high = landmarks.amin(1), landmarks.amax(1)
    return (low + high) / 2, (high - low).amax(1)


class TestAlign:
    def test_a_similarity_is_undone(self) -> None:
        onto = shapes(3)
        moved = torch.stack(
            [
                similarity(onto[0], 30, 2, (1, 2)),
                similarity(onto[1], -170, 0.1, (0, 0)),
                similarity(onto[2], 90, 1, (5, 5)),
            ]
        )
        torch.testing.assert_close(align(moved, onto), onto)

    def test_against_scipys_procrustes(self) -> None:
        """Scipy standardises both shapes; the disparity is then the squared distance over the target's spread."""
        shape, onto = shapes(4, seed=1, spread=0.05), shapes(4, seed=2, spread=0.05)
        turned = torch.stack([similarity(face, 25 * k, 1.5, (0.1 * k, 0)) for k, face in enumerate(shape)])
        aligned = align(turned, onto)
        for k in range(4):
            _, _, disparity = procrustes(onto[k].numpy(), turned[k].numpy())
            spread = (onto[k] - onto[k].mean(0)).square().sum()
            assert float((aligned[k] - onto[k]).square().sum() / spread) == pytest.approx(disparity, rel=1e-9)

    def test_faces_are_never_mirrored(self) -> None:
        onto = shapes(1)
        mirrored = align(onto * torch.tensor([-1.0, 1.0]), onto)
        assert (mirrored - onto).norm(dim=-1).max() > 0.05

    def test_points_on_a_heap_come_to_the_centre(self) -> None:
        onto = shapes(1)
        torch.testing.assert_close(align(torch.zeros(68, 2).double(), onto), onto.mean(1, keepdim=True).expand_as(onto))


class TestShapes:
    def test_ranges_of_one_point_are_formulas(self) -> None:
        """No part moves; halfway to the target, differences from the mean face doubled, then into the photo's box."""
        photo, target = shapes(3, seed=1), similarity(shapes(3, seed=2), 20, 1.3, (0.2, 0.1))
        how = replace(STILL, towards_target=(0.5, 0.5), caricature=(2.0, 2.0))
        found = how.shapes(photo, target, MEAN)
        halfway = (photo + align(target, photo)) / 2
        expected = 2 * halfway - align(MEAN, halfway)
        for shape, before, after in zip(expected, photo, found, strict=True):
            low, high = shape.amin(0), shape.amax(0)
            scale = (before.amax(0) - before.amin(0)).max() / (high - low).max()
            centred = (shape - (low + high) / 2) * scale + (before.amin(0) + before.amax(0)) / 2
            torch.testing.assert_close(after, centred)

    def test_nothing_changes_if_nothing_is_asked_for(self) -> None:
        photo = shapes(3)
        torch.testing.assert_close(STILL.shapes(photo, shapes(3, seed=8), MEAN), photo)
        torch.testing.assert_close(STILL.shapes(photo, None, MEAN), photo)

    @pytest.mark.parametrize("with_target", [True, False])
    def test_drawn_shapes_are_finite_and_fill_the_photos_box(self, with_target: bool) -> None:
        photo = shapes(50)
        found = Exaggeration().shapes(photo, shapes(50, seed=1) * 0.7 if with_target else None, MEAN)
        assert found.isfinite().all()
        for expected, value in zip(box(photo), box(found), strict=True):
            torch.testing.assert_close(value, expected)
        assert (found - photo).norm(dim=-1).mean() > 0.01

    def test_a_landmarker_gone_wrong_does_no_harm(self) -> None:
        """Pseudo landmarks on a heap, or far away: shapes stay finite and in their box."""
        photo = shapes(2)
        broken = torch.stack([torch.full((68, 2), 0.5), 1e6 * torch.rand(68, 2)]).double()
        found = Exaggeration(towards_target=(1.0, 1.0)).shapes(photo, broken, MEAN)
        assert found.isfinite().all()
        torch.testing.assert_close(box(found)[1], box(photo)[1])

    def test_moved_parts_keep_their_form(self) -> None:
        """Brows move as a pair, eyes as a pair: each pair is only stretched in x and y, and shifted."""
        photo = shapes(1)
        how = replace(STILL, part_scale=0.2, part_shift=0.03)
        (found,) = how.shapes(photo, None, MEAN)
        for names in (("left_eye", "right_eye"), ("left_brow", "right_brow"), ("outer_lips", "inner_lips")):
            part = [index for name in names for index in PARTS[name]]
            for axis in (0, 1):
                before, after = photo[0, part, axis].numpy(), found[part, axis].numpy()
                stretch, shift = np.polyfit(before, after, 1)
                np.testing.assert_allclose(stretch * before + shift, after, atol=1e-9)
                assert stretch > 0

    def test_proportions_against_interpolation(self) -> None:
        """Each third of the height by its own factor; the width by one that numpy interpolates along the height."""
        photo = similarity(MEAN, 25, 1.0, (0.1, 0.2))[None]
        thirds, widths = np.array([0.7, 1.5, 2.0]), np.array([1.2, 0.8, 1.0, 1.6])
        factors = [torch.from_numpy(value)[None] for value in (thirds, widths)]
        found = stretch_along_height(photo, photo, *factors)[0].numpy()
        eyes = photo[0, 36:42].mean(0), photo[0, 42:48].mean(0)
        axis = ((eyes[1] - eyes[0]) / (eyes[1] - eyes[0]).norm()).numpy()
        frame = np.stack([axis, [-axis[1], axis[0]]], axis=1)
        x, y = ((photo[0] - (eyes[0] + eyes[1]) / 2).numpy() @ frame).T
        heights = np.linspace(y.min(), y.max(), 4)
        x = x * np.interp(y, heights, widths)
        y = np.interp(y, heights, np.concatenate([[0], np.cumsum(thirds * (heights[1] - heights[0]))]))
        expected = np.stack([x, y], axis=1) @ frame.T + ((eyes[0] + eyes[1]) / 2).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-12)

    def test_faces_become_long_and_wide_as_caricatures_are(self) -> None:
        """Eyes to chin over the eyes' distance: of real caricatures between 1.2 and 2.4, of photos 1.2 to 1.4."""
        torch.manual_seed(0)
        found = Exaggeration().shapes(MEAN.expand(500, -1, -1), None, MEAN)
        across = (found[:, 36] - found[:, 45]).norm(dim=-1)
        length = (found[:, 8] - found[:, 36:48].mean(1)).norm(dim=-1) / across
        assert length.quantile(0.05) < 1.1
        assert length.quantile(0.95) > 1.8
        assert (found[:, 8, 1] > found[:, 57, 1]).double().mean() > 0.99  # the chin stays below the lips


class TestWarp:
    def test_landmarks_drawn_on_the_photo_land_on_the_new_shape(self) -> None:
        """One dot per landmark; after the warp its centroid must lie where the label says, to a third of a pixel."""
        landmarks = 0.15 + 0.7 * (MEAN - MEAN.min()) / (MEAN.max() - MEAN.min())
        labels = landmarks[None].expand(68, -1, -1)
        how = Exaggeration(part_scale=0.05, part_shift=0.01)
        shape = how.shapes(labels[:1], None, MEAN).expand(68, -1, -1)
        assert (shape[0] - landmarks).norm(dim=-1).max() * SIZE > 2  # the landmarks have somewhere to go
        warped = how.warp(dots(landmarks), labels, shape)
        assert warped.shape == (68, 3, SIZE, SIZE)
        found = centroids(warped)
        peak = warped[:, 0].flatten(1).argmax(1)
        peaks = torch.stack([peak % SIZE, peak // SIZE], dim=-1) / SIZE
        assert (peaks - shape[0]).abs().max() * SIZE < 1.0
        # A stretched dot's centroid leaves its centre a little; on average it does not.
        assert (found - shape[0]).norm(dim=-1).median() * SIZE < 0.33

    def test_outside_the_photo_is_black(self) -> None:
        landmarks = shapes(1)
        smaller = (landmarks - 0.5) * 0.5 + 0.5
        warped = Exaggeration().warp(torch.ones(1, 3, 40, 40, dtype=torch.float64), landmarks, smaller)
        assert warped[0, :, :8, :8].abs().max() == 0
        assert warped[0, :, 18:22, 18:22].min() > 0.99
