"""The faces that are named beside a test set's scores."""

import pytest
import torch
from torch import Tensor

from lightning_modules.methods.base import SetErrors
from lightning_modules.metrics import FAILED, LandmarkErrors, landmark_errors
from lightning_modules.standing_out import StandingOut
from tests.lightning_modules.test_metrics import faces, off_by


def remarks(predicted: Tensor, target: Tensor) -> list[str]:
    told = StandingOut()
    told.add([f"{place}.png" for place in range(len(target))], predicted, target)
    return list(told.remarks("set"))


def test_nothing_is_said_of_an_ordinary_set() -> None:
    for errors in ([4.0], [2.0, 4.5], [3.0, 4.0, 5.0, 9.0], [5.0] * 12):
        target = faces(len(errors))
        assert remarks(off_by(target, errors), target) == []


def test_a_face_that_carries_much_of_a_mean_is_named() -> None:
    target = faces(12)
    (line,) = remarks(off_by(target, [5.0] * 11 + [60.0]), target)
    assert line.startswith("set: 11.png carries 52 % of the mean NME of 12 faces: its own is 60.00 %")
    assert line.endswith("the mean of the others 5.00 %.")


def test_eye_corners_that_lie_together_are_named_as_the_cause() -> None:
    """Each prediction is 2.5 pixels off; of one face the eye corners are 1.5 pixels apart."""
    target = faces(12)
    predicted = off_by(target, [5.0] * 12)
    target[7, 45] = target[7, 36] + torch.tensor([1.5, 0.0])
    predicted[7] = target[7] + torch.tensor([1.5, 2.0])
    (line,) = remarks(predicted, target)
    assert line.startswith("set: 7.png carries 75 % of the mean NME")
    assert "its own is 166.67 %" in line
    assert "are 1.50 pixels apart" in line


def test_a_face_without_a_finite_error_counts_as_failed_everywhere() -> None:
    target = faces(4)
    predicted = off_by(target, [2.0, 2.0, 2.0, 2.0])
    predicted[1, 30, 0] = float("nan")
    predicted[2, 3, 1] = float("inf")
    target[3, 45] = target[3, 36]
    assert landmark_errors(predicted, target)[1:].unique().tolist() == [FAILED]
    metric = LandmarkErrors()
    metric.update(predicted, target)
    scores = {name: float(value) for name, value in metric.compute().items()}
    expected = {"nme": (2 + 3 * FAILED) / 4, "fr@8": 75.0, "auc@8": 25 * 0.75, "n": 4, "failed": 3}
    assert scores == pytest.approx(expected)
    first, *_ = remarks(predicted, target)
    assert first.startswith("set: of 3 of 4 faces the error is not finite")
    assert first.endswith("1.png, 2.png, 3.png")


def test_a_face_of_two_subsets_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    target = faces(12)
    errors = SetErrors([("full", "part")] * 12)
    predicted = off_by(target, [5.0] * 12)
    predicted[4] = float("nan")
    errors.update(predicted[:6], target[:6], torch.arange(6), [f"{i}.png" for i in range(6)])
    errors.update(predicted[6:], target[6:], torch.arange(6, 12), [f"{i}.png" for i in range(6, 12)])
    errors.warn()
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if "not finite" in line]) == 1
    errors.reset()
    errors.warn()
    assert len(caplog.records) == len(lines)
