"""The warper's objective: pairs, masks, anchors, folds, and what λ pulls towards, against numpy and scipy."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.interpolate import RBFInterpolator
from torch import Tensor, nn

from lightning_modules.warping import (
    FieldFitter,
    GradientMSE,
    LearnedField,
    NoImageLoss,
    SimilarPose,
    WarperObjective,
    WarpingField,
    WarpTerms,
    face_region_mask,
    pixel_grid,
)
from tests.lightning_modules.warping.layouts import mean_face, random_faces, smooth_images

SIZE = 32


def batch(count: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Photos, their landmarks, stylised faces, predicted landmarks."""
    photo, stylised = (smooth_images(count, SIZE, seed, knots=5, dtype=torch.float64) for seed in (1, 2))
    return photo, random_faces(count, seed=3), stylised, random_faces(count, seed=4)


def numpy_coefficients(source: Tensor, target: Tensor, smoothing: float) -> npt.NDArray[np.float64]:
    """The thin plate's coefficients in crop coordinates by numpy, shape ``(68, 2)``."""
    s, t = source.numpy(), target.numpy()
    r = np.linalg.norm(s[:, None] - s[None], axis=-1)
    kernel = np.where(r > 0, r**2 * np.log(np.where(r > 0, r, 1)), 0)
    affine = np.concatenate([np.ones((len(s), 1)), s], axis=1)
    system = np.block([[kernel + smoothing * np.eye(len(s)), affine], [affine.T, np.zeros((3, 3))]])
    solution: npt.NDArray[np.float64] = np.linalg.solve(system, np.concatenate([t, np.zeros((3, 2))]))
    return solution[: len(s)]


class TestPairing:
    def test_the_terms_are_those_of_photos_put_in_that_order(self) -> None:
        photo, photo_landmarks, stylised, predicted = batch(5)
        found = WarperObjective(pairing=SimilarPose(), coarse=9)(photo, photo_landmarks, stylised, predicted)
        assert found.order.tolist() == SimilarPose()(photo_landmarks, predicted).tolist()
        assert found.order.tolist() != list(range(5))
        plain = WarperObjective(coarse=9)
        expected = plain(photo[found.order], photo_landmarks[found.order], stylised, predicted)
        assert expected.order.tolist() == list(range(5))
        for name in ("image", "landmarks", "warped", "folded"):
            assert torch.equal(getattr(found, name), getattr(expected, name))

    def test_the_gradient_stays_with_its_stylised_face(self) -> None:
        photo, photo_landmarks, stylised, predicted = batch(4)
        predicted.requires_grad_()
        terms = WarperObjective(pairing=SimilarPose(), coarse=9)(photo, photo_landmarks, stylised, predicted)
        (gradient,) = torch.autograd.grad(terms.image[2], predicted)
        assert gradient.flatten(1).any(dim=1).tolist() == [False, False, True, False]


class TestSmoothing:
    """λ > 0: the landmark-warping error is λ² times the mean squared coefficient."""

    def terms(self, source: Tensor, target: Tensor, smoothing: float) -> Tensor:
        image = torch.zeros(len(source), 3, 8, 8, dtype=torch.float64)
        found: WarpTerms = WarperObjective(NoImageLoss(), smoothing=smoothing)(image, target, image, source)
        return found.landmarks

    @pytest.mark.parametrize("smoothing", [1e-3, 0.05, 2.0])
    def test_the_error_measures_the_bending(self, smoothing: float) -> None:
        source, target = random_faces(2, seed=1), random_faces(2, seed=2)
        found = self.terms(source, target, smoothing)
        for face in range(2):
            coefficients = numpy_coefficients(source[face], target[face], smoothing)
            expected = smoothing**2 * (coefficients**2).sum(axis=1).mean()
            assert float(found[face]) == pytest.approx(expected, rel=1e-8)

    def test_affine_deformations_are_free(self) -> None:
        source = random_faces(2, seed=1)
        linear = torch.tensor([[0.8, 0.3], [-0.1, 1.2]], dtype=torch.float64)
        assert self.terms(source, source @ linear + 0.1, 0.05).max() < 1e-20

    def test_its_gradient_pulls_predictions_towards_smooth_deformations(self) -> None:
        smoothing, target = 0.05, random_faces(1, seed=2, jitter=0.0)
        source = random_faces(1, seed=1, jitter=0.02).requires_grad_()
        (gradient,) = torch.autograd.grad(self.terms(source, target, smoothing).sum(), source)
        start = source.detach()
        # Downhill lies less bending: less that an affine map leaves over, by numpy's least squares.
        left = []
        for points in (start, start - 0.01 * gradient / gradient.square().mean().sqrt()):
            affine = np.concatenate([np.ones((68, 1)), points[0].numpy()], axis=1)
            left.append(float(np.linalg.lstsq(affine, target[0].numpy(), rcond=None)[1].sum()))
        assert left[1] < 0.7 * left[0]


class TestRegion:
    @pytest.mark.parametrize(("margin", "softness"), [(0.0, 0.0), (0.1, 0.0), (0.05, 0.02)])
    def test_face_only_compares_within_the_grown_soft_hull(self, margin: float, softness: float) -> None:
        photo, photo_landmarks, stylised, predicted = batch()
        # The photo covers the whole stylised crop: only the hull bounds the comparison.
        photo_landmarks = 0.5 * (predicted - 0.5) + 0.5
        options: dict[str, Any] = {"face_only": True, "face_margin": margin, "face_softness": softness}
        found = WarperObjective(coarse=9, **options)(photo, photo_landmarks, stylised, predicted)
        mask = face_region_mask(predicted, SIZE, softness, margin)
        torch.testing.assert_close(found.image, GradientMSE()(found.warped, stylised, mask))
        assert not torch.allclose(found.image, GradientMSE()(found.warped, stylised))


class Translation(WarpingField):
    """Moves every face by as much as the mean brightness of photo and stylised face differs."""

    def __init__(self, offset: Tensor) -> None:
        self.offset = offset

    def evaluate(self, points: Tensor) -> Tensor:
        return points + self.offset[:, None]

    def grid(self, size: int, coarse: int | None = None) -> Tensor:
        return pixel_grid(size, dtype=self.offset.dtype) + self.offset[:, None, None]


class ByBrightness(nn.Module, FieldFitter):
    needs_images, fits_landmarks = True, False

    def __init__(self) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.ones((), dtype=torch.float64))

    def fit(
        self, photo_landmarks: Tensor, predicted: Tensor, photo: Tensor | None = None, stylised: Tensor | None = None
    ) -> Translation:
        assert photo is not None
        assert stylised is not None
        return Translation(self.strength * (photo - stylised).mean(dim=(1, 2, 3))[:, None].expand(-1, 2))


def test_another_field_takes_the_splines_place() -> None:
    """One that looks at the images and learns, defined outside the package."""
    photo, photo_landmarks, stylised, predicted = batch()
    objective = WarperObjective(field=ByBrightness())
    terms = objective(photo, photo_landmarks, stylised, predicted)
    offset = (photo - stylised).mean(dim=(1, 2, 3))[:, None].expand(-1, 2)
    torch.testing.assert_close(terms.warped, Translation(offset).warp(photo))
    error = (predicted + offset[:, None] - photo_landmarks).square().sum(-1).mean(-1)
    torch.testing.assert_close(terms.landmarks, error)
    terms.image.sum().backward()
    assert [parameter.grad is not None for parameter in objective.parameters()] == [True]
    with pytest.raises(ValueError, match="both learned and field"):
        WarperObjective(learned=LearnedField(), field=ByBrightness())


class TestFolding:
    def test_a_field_without_folds(self) -> None:
        photo, stylised = batch(1)[0], batch(1)[2]
        face = mean_face()[None]
        assert WarperObjective()(photo, face, stylised, face * 0.9 + 0.02).folded.tolist() == [0.0]

    def test_swapped_landmarks_fold_the_field_as_scipy_finds(self) -> None:
        photo, stylised = batch(1)[0], batch(1)[2]
        source, target = mean_face()[None], mean_face()[None]
        source[0, [36, 45]] = source[0, [45, 36]]
        found = WarperObjective(coarse=None)(photo, target, stylised, source).folded
        axis = np.arange(SIZE) / SIZE
        pixels = np.stack(np.meshgrid(axis, axis), axis=-1)
        spline = RBFInterpolator(source[0].numpy(), target[0].numpy(), kernel="thin_plate_spline", degree=1)
        field = spline(pixels.reshape(-1, 2)).reshape(SIZE, SIZE, 2)
        dx, dy = np.diff(field, axis=1)[:-1], np.diff(field, axis=0)[:, :-1]
        share = float((np.linalg.det(np.stack([dx, dy], axis=-1)) < 0).mean())
        assert float(found) == pytest.approx(share)
        assert 0.02 < share < 0.9
