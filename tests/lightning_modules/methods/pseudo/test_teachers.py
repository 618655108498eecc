"""Teachers: what several landmarkers agree on, how far it is trusted, and that a run trains and keeps none of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.weight_average import WeightAverage
from datamodules.face_sets import UnlabelledFaces
from lightning_modules.landmarkers import Landmarker, LandmarkerOutput, OnnxLandmarker
from lightning_modules.landmarkers.fixed import InputFormat, OutputFormat
from lightning_modules.landmarkers.inference import Found, Inference
from lightning_modules.landmarkers.reference_shape import MEAN_FACE
from lightning_modules.methods import FaceWarping
from lightning_modules.methods.pseudo import PseudoLandmarks, Teachers, find_pseudo_landmarks
from lightning_modules.methods.pseudo.teachers import agreed
from tests.datamodules.test_faces import faces
from tests.lightning_modules.landmarkers.fixed.onnx_networks import write_fixed_points
from tests.lightning_modules.methods.running import fit, last_checkpoint, weights, whole_and_resumed
from tests.lightning_modules.methods.small import FollowsLight, LinearLandmarker

COUNT = 5
PLAIN = Inference()
FACE = 100 * torch.tensor(MEAN_FACE, dtype=torch.float64)
APART = float((FACE[36] - FACE[45]).norm())


def found(*moved: tuple[float, float]) -> list[Found]:
    """Estimates of as many landmarkers on one face: the mean face at 100 pixels, moved by shares of the eyes' apart."""
    places = [FACE + APART * torch.tensor(off, dtype=torch.float64) for off in moved]
    return [Found(place[None], torch.tensor([0.01]), torch.full((1, 68), torch.nan)) for place in places]


class TestAgreement:
    def test_two_meet_in_the_middle_and_are_trusted_by_their_distance(self) -> None:
        consensus = agreed(found((0, 0), (0.06, 0)), tolerance=0.06)
        torch.testing.assert_close(
            consensus.pixels[0].double(), FACE + torch.tensor([0.03 * APART, 0]), atol=1e-4, rtol=0
        )
        assert float(consensus.disagreement) == pytest.approx(0.06, abs=1e-5)
        assert float(consensus.trust) == pytest.approx(np.exp(-0.5), abs=1e-4)
        assert float(agreed(found((0, 0), (0, 0.12)), 0.06).trust) == pytest.approx(np.exp(-2), abs=1e-4)
        assert float(agreed(found((0, 0), (0, 0.12)), 0.12).trust) == pytest.approx(np.exp(-0.5), abs=1e-4)

    @pytest.mark.parametrize("far", [0.1, 1.0, 100.0])
    def test_one_of_three_that_is_off_is_out_voted(self, far: float) -> None:
        consensus = agreed(found((0, 0), (far, -far), (0.01, 0)))
        assert float((consensus.pixels[0] - FACE).norm(dim=-1).max()) <= 0.011 * APART
        assert float(consensus.trust) > 0.9, "the other two agree"
        split = agreed(found((0, 0), (far, -far)))
        assert float(split.trust) < 0.1, "of two, none knows which is right"

    def test_three_that_all_differ_are_not_trusted(self) -> None:
        assert float(agreed(found((0, 0), (0.3, 0), (0, 0.3))).trust) < 1e-3

    def test_a_single_one_is_trusted_and_disagrees_with_itself_alone(self) -> None:
        consensus = agreed(found((0.5, 0)))
        assert (float(consensus.trust), float(consensus.disagreement)) == (1.0, pytest.approx(0.01))

    def test_order_does_not_matter(self) -> None:
        a, b, c = found((0, 0), (0.02, 0.01), (0.05, -0.03))
        one, other = agreed([a, b, c]), agreed([c, a, b])
        assert torch.equal(one.pixels, other.pixels)
        assert torch.equal(one.trust, other.trust)


class Shifted(Landmarker):
    """Finds what :class:`FollowsLight` does; on every second face of a batch, a share of the crop to its right."""

    def __init__(self, by: float, crop_factor: float = 1.2) -> None:
        super().__init__()
        self.inner, self.by, self.crop_factor = FollowsLight(), by, crop_factor
        self.image_size = self.inner.image_size

    def forward(self, images: Tensor) -> LandmarkerOutput:
        output: LandmarkerOutput = self.inner(images)
        output.stages[1::2, ..., 0] += self.by
        return output

    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        raise NotImplementedError


def pseudo(*landmarkers: Landmarker, **options: Any) -> PseudoLandmarks:
    hidden = list(enumerate(UnlabelledFaces(faces(COUNT), oracle_box=True)))
    return find_pseudo_landmarks(landmarkers, [hidden], COUNT, torch.device("cpu"), how=PLAIN, **options)


class TestPseudoLandmarks:
    def test_faces_that_are_disagreed_on_count_less(self) -> None:
        weights = pseudo(FollowsLight(), Shifted(0.05)).weights
        torch.testing.assert_close(weights[::2], torch.ones(3), atol=1e-4, rtol=0)
        assert (weights[1::2] < 0.7).all()
        assert (pseudo(FollowsLight(), Shifted(0.05), tolerance=10.0).weights > 0.99).all()

    def test_trust_is_multiplied_into_what_is_kept_by_agreement(self) -> None:
        """Without a mirror image: landmarkers that differ are several estimates, too."""
        plain, kept = (pseudo(FollowsLight(), Shifted(0.02), keep=keep).weights for keep in (1.0, 3 / 5))
        torch.testing.assert_close(kept, plain * torch.tensor([5 / 3, 0, 5 / 3, 0, 5 / 3]))

    def test_each_sees_crops_of_its_own_factor(self) -> None:
        """A face that fills a fixed share of whatever is seen is as large as the crop."""
        alone = pseudo(Shifted(0.0, crop_factor=1.8)).landmarks
        usual = pseudo(FollowsLight()).landmarks
        extent = [float((found.amax(1) - found.amin(1)).mean()) for found in (alone, usual)]
        assert extent[0] == pytest.approx(1.5 * extent[1], rel=1e-3)
        together = pseudo(Shifted(0.0, crop_factor=1.8), FollowsLight()).landmarks
        torch.testing.assert_close(together, (alone + usual) / 2, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"), [({"landmarkers": []}, "landmarkers is \\[\\]"), ({"tolerance": 0.0}, "tolerance is 0.0")]
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"{message}; expected"):
        Teachers(**{"landmarkers": [FollowsLight()], **options})


@pytest.fixture
def onnx(tmp_path: Path) -> OnnxLandmarker:
    path = write_fixed_points(tmp_path / "teacher.onnx", np.array(MEAN_FACE))
    return OnnxLandmarker(path, InputFormat(16), OutputFormat(), image_size=32, crop_factor=1.5)


def taught(*teachers: Landmarker, include_self: bool = True, landmarker: Landmarker | None = None) -> FaceWarping:
    return FaceWarping(
        landmarker or LinearLandmarker(),
        warper_epochs=1,
        proximal_epochs=1,
        mirror_average=True,
        teachers=Teachers(list(teachers), include_self),
    )


class TestRuns:
    def test_teachers_do_not_train_and_are_no_part_of_the_method(self, tmp_path: Path, onnx: OnnxLandmarker) -> None:
        ours = LinearLandmarker(seed=7).train()
        before = weights(ours)
        method = taught(ours, onnx)
        names = set(taught(FollowsLight()).state_dict())
        fit(method, tmp_path, 2, last_checkpoint(tmp_path / "run"))
        assert torch.equal(weights(ours), before)
        assert not ours.training
        assert not any(parameter.requires_grad or parameter.grad is not None for parameter in ours.parameters())
        assert not {id(p) for p in ours.parameters()} & {id(p) for p in method.parameters()}
        held = {id(p) for o in method.configure_optimizers() for group in o.param_groups for p in group["params"]}
        assert held == {id(p) for p in method.landmarker.parameters()}
        saved = torch.load(tmp_path / "run/last.ckpt", weights_only=True)
        assert set(saved["state_dict"]) == names
        assert saved["pseudo_landmarks"]["landmarks"].shape == (5, 68, 2)
        assert ((saved["pseudo_landmarks"]["weights"] > 0) & (saved["pseudo_landmarks"]["weights"] < 1)).all()

    def test_without_self_they_are_the_teachers_alone(self, tmp_path: Path, onnx: OnnxLandmarker) -> None:
        """Of however bad a student; and of one teacher, all faces count the same."""
        kept = []
        for seed in (1, 2):
            method = taught(onnx, include_self=False, landmarker=LinearLandmarker(strength=1.0, seed=seed))
            fit(method, tmp_path, 2)
            assert method.pseudo.current is not None
            kept.append(method.pseudo.current)
        assert torch.equal(kept[0].landmarks, kept[1].landmarks)
        assert kept[0].weights.tolist() == [1.0] * 5

    @pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
    @pytest.mark.parametrize("cut", [1, 2, 3])
    def test_a_resumed_run_ends_where_a_whole_one_does(self, tmp_path: Path, onnx: OnnxLandmarker, cut: int) -> None:
        def make() -> FaceWarping:
            return taught(onnx, LinearLandmarker(seed=3))

        whole, resumed = whole_and_resumed(make, tmp_path, 4, cut)
        assert torch.equal(weights(whole), weights(resumed))
        assert whole.pseudo.current is not None
        assert resumed.pseudo.current is not None
        assert torch.equal(whole.pseudo.current.landmarks, resumed.pseudo.current.landmarks)
        assert torch.equal(whole.pseudo.current.weights, resumed.pseudo.current.weights)
        assert whole.scores == resumed.scores

    def test_an_average_of_the_weights_goes_with_teachers_that_cannot_be_copied(
        self, tmp_path: Path, onnx: OnnxLandmarker
    ) -> None:
        fit(taught(onnx), tmp_path, 2, WeightAverage(decay=0.9))

    def test_they_are_asked_once_a_cycle(self, tmp_path: Path) -> None:
        teacher = FollowsLight()
        asked: list[int] = []

        class Note(Callback):
            def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
                asked.append(teacher.batches)

        fit(taught(teacher), tmp_path, 4, Note())
        # All target faces in one batch, and their mirror images, in the second and the fourth epoch.
        assert asked == [0, 2, 2, 4]
