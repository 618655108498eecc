"""Epochs that ``limit_train_batches`` makes shorter than ``steps_per_epoch``: all equal, under the whole schedule."""

from pathlib import Path
from typing import Any

import pytest
from lightning import Callback
from typing_extensions import override

from tests.lightning_modules.methods.running import fit, setting
from tests.lightning_modules.methods.test_every_method import METHODS


class Steps(Callback):
    """Counts the steps of each epoch, and notes the share of the run that is done after each step."""

    def __init__(self) -> None:
        self.of_epochs: list[int] = []
        self.progress: list[float] = []

    @override
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.of_epochs.append(0)

    @override
    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.of_epochs[-1] += 1
        self.progress.append(pl_module.progress)


@pytest.mark.parametrize("limit", [2, 0.67])
@pytest.mark.parametrize("method", ["supervised", "face_warping"])
def test_every_epoch_has_as_many_steps(method: str, limit: float, tmp_path: Path) -> None:
    data, seen = setting(), Steps()
    data.steps_per_epoch = 3
    fit(METHODS[method](), tmp_path, 4, seen, data=data, limit_train_batches=limit)
    assert seen.of_epochs == [2, 2, 2, 2]
    assert seen.progress == pytest.approx([(step + 1) / 8 for step in range(8)])
