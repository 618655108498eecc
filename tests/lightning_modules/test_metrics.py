import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.ibug68 import OUTER_EYE_CORNERS
from lightning_modules.methods.base import SetErrors
from lightning_modules.metrics import LandmarkErrors, face_nme

GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "nme_300w.json"


def faces(count: int, interocular: float = 50.0) -> Tensor:
    """Random landmarks with the outer eye corners ``interocular`` pixels apart."""
    landmarks = torch.rand(count, 68, 2, dtype=torch.float64) * 100
    left, right = OUTER_EYE_CORNERS
    landmarks[:, right] = landmarks[:, left] + torch.tensor([0.6, 0.8], dtype=torch.float64) * interocular
    return landmarks


def off_by(target: Tensor, errors: list[float], interocular: float = 50.0) -> Tensor:
    """Predictions whose NME is ``errors`` (%): every landmark is moved that far, each in a direction of its own."""
    angle = torch.rand(target.shape[:2], dtype=torch.float64) * 2 * torch.pi
    distance = torch.tensor(errors, dtype=torch.float64)[:, None] / 100 * interocular
    return target + torch.stack([distance * angle.cos(), distance * angle.sin()], dim=-1)


def computed(errors: list[float]) -> dict[str, float]:
    metric, target = LandmarkErrors(), faces(len(errors))
    metric.update(off_by(target, errors), target)
    return {name: float(value) for name, value in metric.compute().items()}


def auc_by_integration(errors: np.ndarray, limit: float) -> float:
    """Area under the cumulative error curve by the trapezoid rule on a fine grid, as the benchmarks' programs do."""
    grid = np.linspace(0, limit, 20001)
    curve = np.searchsorted(np.sort(errors), grid, side="right") / len(errors)
    return 100 * float(np.trapezoid(curve, grid)) / limit


class TestScores:
    def test_nme_by_hand(self) -> None:
        """Every landmark 3 right and 4 down is 5 pixels; eye corners 50 apart: 10 %. The prediction's eyes are moot."""
        target = torch.zeros(1, 68, 2)
        target[0, 45] = torch.tensor([30.0, 40.0])
        predicted = target + torch.tensor([3.0, 4.0])
        assert face_nme(predicted, target).tolist() == pytest.approx([10.0])
        predicted[0, 45, 0] += 68.0
        assert 10 < float(face_nme(predicted, target)) < 12, "its own eye corners do not count"

    def test_scores_by_hand(self) -> None:
        scores = computed([2.0, 4.0, 6.0, 12.0])
        assert scores["nme"] == pytest.approx(6.0)
        assert scores["fr@8"] == pytest.approx(25.0)
        assert scores["auc@8"] == pytest.approx(100 * (0.75 + 0.5 + 0.25 + 0) / 4)
        assert scores["n"] == 4

    @pytest.mark.parametrize("seed", range(3))
    def test_auc_is_the_integral_of_the_cumulative_error_curve(self, seed: int) -> None:
        errors = np.random.default_rng(seed).gamma(3.0, 1.5, 200)
        scores = computed(errors.tolist())
        assert scores["auc@8"] == pytest.approx(auc_by_integration(errors, 8.0), abs=0.01)
        assert scores["nme"] == pytest.approx(errors.mean())
        assert scores["fr@8"] == pytest.approx(100 * (errors > 8).mean())

    @pytest.mark.filterwarnings("ignore:The ``compute`` method of metric LandmarkErrors was called before")
    def test_nan_where_there_are_no_faces(self) -> None:
        scores = LandmarkErrors().compute()
        assert all(torch.isnan(scores[name]) for name in ("nme", "fr@8", "auc@8"))
        assert scores["n"] == 0

    @pytest.mark.filterwarnings("ignore:The ``compute`` method of metric LandmarkErrors was called before")
    @pytest.mark.parametrize("on_first", [0, 3, 5])
    def test_two_processes_scores_are_those_of_all_faces(self, on_first: int) -> None:
        """The state is what torchmetrics gathers between processes, here by hand; one of them may have no face."""
        target = faces(5)
        predicted = off_by(target, [1.0, 3.0, 5.0, 9.0, 12.0])
        whole, first, second = LandmarkErrors(), LandmarkErrors(), LandmarkErrors()
        whole.update(predicted, target)
        for metric, part in ((first, slice(on_first)), (second, slice(on_first, None))):
            for face in range(5)[part]:
                metric.update(predicted[face : face + 1], target[face : face + 1])
        sent = []
        for metric in (first, second):
            metric.sync(lambda state, group: [sent.append(state), state][1:], distributed_available=lambda: True)
            metric.unsync()
        assert sent[0].dtype == sent[1].dtype  # tensors of two types cannot be gathered
        for metric in (first, second):
            metric.distributed_available_fn = lambda: True
            metric.dist_sync_fn = lambda state, group: sent
            scores = {name: float(value) for name, value in metric.compute().items()}
            assert scores == pytest.approx({name: float(value) for name, value in whole.compute().items()})


class TestSetErrors:
    @pytest.mark.filterwarnings("ignore:The ``compute`` method of metric LandmarkErrors was called before")
    def test_faces_count_in_their_own_scores(self) -> None:
        subsets = [("full", "common"), ("full", "challenge"), ("full", "common"), ()]
        errors, target = SetErrors(subsets), faces(4)
        predicted = off_by(target, [1.0, 10.0, 3.0, 6.0])
        # In two batches and out of order: the index decides, not the place.
        errors.update(predicted[[2, 0]], target[[2, 0]], torch.tensor([2, 0]))
        errors.update(predicted[[3, 1]], target[[3, 1]], torch.tensor([3, 1]))
        scores = errors.compute()
        assert {name: float(values["n"]) for name, values in scores.items()} == {
            "full": 3,
            "common": 2,
            "challenge": 1,
        }
        assert {name: float(values["nme"]) for name, values in scores.items()} == pytest.approx(
            {"full": 14 / 3, "common": 2.0, "challenge": 10.0}
        )
        # Over all faces, also those of no subset.
        assert float(errors.overall.compute()["nme"]) == pytest.approx(5.0)
        errors.reset()
        assert errors.overall.compute()["n"] == 0
        assert errors.compute()["full"]["n"] == 0


@pytest.mark.real
@pytest.mark.skipif(not GOLDEN.exists(), reason="needs ../shared/golden")
def test_published_predictions_on_300w_get_their_published_scores() -> None:
    published = json.loads(GOLDEN.read_text())
    arrays = np.load(GOLDEN.with_suffix(".npz"))
    subsets = [("full", "challenge" if hard else "common") for hard in arrays["challenge"]]
    errors = SetErrors(subsets)
    predicted, target = (torch.from_numpy(arrays[name]) for name in ("prediction", "target"))
    for indices in torch.arange(len(subsets)).split(100):
        errors.update(predicted[indices], target[indices], indices)
    scores = errors.compute()
    assert {name: int(values["n"]) for name, values in scores.items()} == {
        "full": 689,
        "common": 554,
        "challenge": 135,
    }
    for name, nme in published["nme_interocular"].items():
        assert float(scores[name]["nme"]) == pytest.approx(nme, abs=1e-6)
    assert float(scores["full"]["fr@8"]) == pytest.approx(published["fr@8_percent_full"], abs=1e-6)
    tolerance = published["auc_tolerance"]
    assert float(scores["full"]["auc@8"]) == pytest.approx(published["auc@8_percent_full"], abs=tolerance)
    assert float(scores["common"]["auc@8"]) == pytest.approx(published["auc@8_common"], abs=tolerance)
