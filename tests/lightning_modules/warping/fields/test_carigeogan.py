"""CariGeoGAN: its shape models and objective against the paper's, written apart in numpy; its field; bad input."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import procrustes
from torch import Tensor, nn

from lightning_modules.warping import WarperObjective, landmark_warping_error
from lightning_modules.warping.fields.autotoon import save_field
from lightning_modules.warping.fields.carigeogan import CariGeoGAN, characteristic_loss
from lightning_modules.warping.fields.shape_model import ShapeModel
from lightning_modules.weights import WeightsError
from tests.lightning_modules.warping.layouts import random_faces, smooth_images

COMPONENTS = 6


def network(**options: object) -> CariGeoGAN:
    """With shape models, in float64; its generators are random."""
    torch.manual_seed(0)
    made = CariGeoGAN(**{"components": COMPONENTS, **options}).double()  # type: ignore[arg-type]
    photos = random_faces(20)
    return made.fit_shapes(photos, 1.3 * random_faces(20, seed=1) * torch.tensor([0.9, 1.1]) + 0.2)


def widths(layers: nn.Module) -> list[int]:
    linear = [module for module in layers.modules() if isinstance(module, nn.Linear)]
    return [linear[0].in_features, *(layer.out_features for layer in linear)]


def test_the_networks_widths_are_the_papers() -> None:
    published = CariGeoGAN()
    hidden = [64, 128, 256, 512, 256, 128, 64]
    assert widths(published.to_caricature) == widths(published.to_photo) == [32, *hidden, 32]
    assert widths(published.judge_caricature) == widths(published.judge_photo) == [32, *hidden, 1]
    assert (published.cycle_weight, published.characteristic_weight) == (10.0, 1.0)


class TestShapeModel:
    def test_it_is_principal_component_analysis_of_aligned_shapes(self) -> None:
        shapes, model = random_faces(30), ShapeModel(COMPONENTS).double()
        share = model.learn(shapes)
        # scipy aligns each shape to the reference, both centred and of norm 1.
        aligned = model.place(shapes).apply(shapes)
        centre = model.reference.mean(0).numpy()
        centred = model.reference.numpy() - centre
        for before, after in zip(shapes.numpy(), aligned.numpy(), strict=True):
            reference = procrustes(centred, before)[1] * np.linalg.norm(centred) + centre
            np.testing.assert_allclose(after, reference, atol=1e-9)
        flat = aligned.flatten(1).numpy()
        values, vectors = np.linalg.eigh(np.cov(flat.T))
        assert share == pytest.approx(values[-COMPONENTS:].sum() / values.sum(), rel=1e-6)
        overlap = np.linalg.svd(model.basis.numpy() @ vectors[:, -COMPONENTS:])[1]
        np.testing.assert_allclose(overlap, 1, atol=1e-6)

    def test_coefficients_are_of_the_order_of_one_and_give_the_shape_back(self) -> None:
        shapes, model = random_faces(30), ShapeModel(29).double()
        model.learn(shapes)
        codes = model.encode(shapes)
        assert float(codes.square().mean().sqrt()) == pytest.approx(1, rel=1e-6)
        torch.testing.assert_close(model.place(shapes).undo(model.decode(codes)), shapes, atol=1e-6, rtol=0)

    def test_place_turn_and_scale_do_not_count(self) -> None:
        shapes, model = random_faces(30), ShapeModel(COMPONENTS).double()
        model.learn(shapes)
        turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=torch.float64)
        torch.testing.assert_close(model.encode(3 * shapes @ turn + 5), model.encode(shapes))

    @pytest.mark.parametrize("shapes", [torch.rand(COMPONENTS, 68, 2), torch.rand(30, 5, 2), torch.rand(30, 136)])
    def test_too_few_shapes_are_refused(self, shapes: Tensor) -> None:
        with pytest.raises(ValueError, match=r"expected \(N, 68, 2\) with N above the 6 components"):
            ShapeModel(COMPONENTS).learn(shapes)


def test_the_objective_is_the_papers() -> None:
    made = network()
    generator = torch.Generator().manual_seed(1)
    photos, caricatures = (torch.randn(5, COMPONENTS, generator=generator, dtype=torch.float64) for _ in range(2))
    translated = made.translate(photos, caricatures)
    found, judging = made.generator_loss(translated), made.discriminator_loss(translated)

    def through(layers: nn.Module, x: np.ndarray) -> np.ndarray:
        linear = [module for module in layers.modules() if isinstance(module, nn.Linear)]
        for layer, following in pairwise([*linear, None]):
            assert layer is not None
            x = x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
            x = x if following is None else np.where(x > 0, x, 0.2 * x)
        return x

    x, y = photos.numpy(), caricatures.numpy()
    forth, back = through(made.to_caricature, x), through(made.to_photo, y)
    judge_y, judge_x = made.judge_caricature, made.judge_photo
    adversarial = np.mean((through(judge_y, forth) - 1) ** 2) + np.mean((through(judge_x, back) - 1) ** 2)
    cycle = np.mean(np.abs(through(made.to_photo, forth) - x)) + np.mean(np.abs(through(made.to_caricature, back) - y))

    def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)))

    # In landmarks: the two kinds have components of their own.
    px, py = (
        made.photo.basis.numpy() * float(made.photo.unit),
        made.caricature.basis.numpy() * float(made.caricature.unit),
    )
    characteristic = np.mean(1 - cosine(x @ px, forth @ py)) + np.mean(1 - cosine(y @ py, back @ px))
    np.testing.assert_allclose(float(found.adversarial), adversarial)
    np.testing.assert_allclose(float(found.cycle), 10 * cycle)
    np.testing.assert_allclose(float(found.characteristic), characteristic)
    np.testing.assert_allclose(float(found.total), adversarial + 10 * cycle + characteristic)
    real = np.mean((through(judge_y, y) - 1) ** 2) + np.mean((through(judge_x, x) - 1) ** 2)
    made_up = np.mean(through(judge_y, forth) ** 2) + np.mean(through(judge_x, back) ** 2)
    np.testing.assert_allclose(float(judging), (real + made_up) / 2)


def test_the_characteristic_term_looks_at_directions_alone() -> None:
    before = torch.randn(4, 136, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert float(characteristic_loss(before, 3 * before)) == pytest.approx(0, abs=1e-12)
    assert float(characteristic_loss(before, -before)) == pytest.approx(2)


class TestField:
    def test_it_takes_the_caricatures_landmarks_to_the_photos(self) -> None:
        made, photo = network(), random_faces(3, seed=7)
        made.trained.fill_(True)
        field, shapes = made.fit(photo, photo), made.shapes(photo)
        assert float((shapes - photo).abs().max()) > 0.01
        torch.testing.assert_close(
            landmark_warping_error(field, shapes, photo), torch.zeros(3).double(), atol=1e-9, rtol=0
        )
        # The spline's anchors hold the border.
        corner = torch.zeros(1, 1, 2, dtype=torch.float64)
        torch.testing.assert_close(field.evaluate(corner), corner.expand(3, -1, -1), atol=1e-6, rtol=0)

    def test_without_strength_nothing_moves(self) -> None:
        photo = random_faces(2)
        torch.testing.assert_close(network(strength=0.0).shapes(photo), photo)

    def test_the_field_moves_with_the_photo(self) -> None:
        made, photo = network(), random_faces(2)
        torch.testing.assert_close(made.shapes(0.5 * photo + 0.1), 0.5 * made.shapes(photo) + 0.1)

    def test_gradcheck(self) -> None:
        made, photo = network(border_anchors=2), random_faces(1)
        made.trained.fill_(True)
        direction = random_faces(1, seed=3) - photo
        points = torch.rand(1, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

        def field(step: Tensor) -> Tensor:
            moved = photo + step * direction
            return made.fit(moved, moved).evaluate(points)

        assert torch.autograd.gradcheck(field, torch.tensor(0.01, dtype=torch.float64, requires_grad=True))

    def test_the_generator_alone_is_learned_in_face_warping(self) -> None:
        made = network(trainable=True)
        made.trained.fill_(True)
        photo, face = smooth_images(2, 16, dtype=torch.float64), random_faces(2)
        objective = WarperObjective(field=made, coarse=9)
        objective(photo, face, photo.flip(-1), face).image.sum().backward()
        learned = [parameter for parameter in objective.parameters() if parameter.requires_grad]
        assert {id(parameter) for parameter in learned} == {id(p) for p in made.to_caricature.parameters()}
        assert all(parameter.grad is not None for parameter in learned)


class TestWeights:
    def test_they_come_back_with_the_shape_models(self, tmp_path: Path) -> None:
        made, photo = network(), random_faces(2)
        made.trained.fill_(True)
        save_field(made, tmp_path / "field.ckpt")
        again = CariGeoGAN(COMPONENTS, weights=str(tmp_path / "field.ckpt"))
        torch.testing.assert_close(again.shapes(photo), made.shapes(photo), atol=1e-5, rtol=0)
        with pytest.raises(WeightsError, match="given as weights of CariGeoGAN"):
            CariGeoGAN(COMPONENTS + 1, weights=str(tmp_path / "field.ckpt"))

    def test_an_untrained_network_warps_nothing(self) -> None:
        with pytest.raises(WeightsError, match="CariGeoGAN is untrained"):
            network().fit(random_faces(1), random_faces(1))
        with pytest.raises(ValueError, match="components is 0"):
            CariGeoGAN(0)
