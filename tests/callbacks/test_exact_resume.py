import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from callbacks.exact_resume import AtomicCheckpointIO, ExactResume


def draw() -> list[float]:
    """From every generator, also numpy's normal, which keeps a second draw for later, and Python's."""
    return [
        *torch.rand(3).tolist(),
        *torch.randn(3).tolist(),
        float(np.random.normal()),  # noqa: NPY002 - the global generator is what is tested
        float(np.random.rand()),  # noqa: NPY002
        random.random(),
        random.gauss(0, 1),
    ]


def restore(state: dict[str, Any]) -> None:
    callback = ExactResume()
    callback.load_state_dict(state)
    callback.on_train_start(None, None)  # type: ignore[arg-type]


class TestExactResume:
    def test_draws_after_restoring_are_those_after_saving(self, tmp_path: Path) -> None:
        torch.manual_seed(1)
        np.random.seed(2)  # noqa: NPY002
        random.seed(3)
        draw()
        # Through a file, as a checkpoint goes, unpickling nothing but tensors and plain values.
        torch.save(ExactResume().state_dict(), tmp_path / "state")
        expected = [draw() for _ in range(3)]
        torch.manual_seed(7)
        np.random.seed(8)  # noqa: NPY002
        random.seed(9)
        assert draw() != expected[0]
        restore(torch.load(tmp_path / "state", weights_only=True))
        assert [draw() for _ in range(3)] == expected

    def test_states_are_set_when_training_starts_and_only_once(self) -> None:
        """Not while loading: what Lightning draws between loading and training must not count."""
        callback, state = ExactResume(), ExactResume().state_dict()
        expected = draw()
        callback.load_state_dict(state)
        draw()
        callback.on_train_start(None, None)  # type: ignore[arg-type]
        assert draw() == expected
        callback.on_train_start(None, None)  # type: ignore[arg-type]
        assert draw() != expected

    def test_a_fresh_run_is_left_alone(self) -> None:
        torch.manual_seed(5)
        expected = torch.rand(2)
        torch.manual_seed(5)
        ExactResume().on_train_start(None, None)  # type: ignore[arg-type]
        assert torch.equal(torch.rand(2), expected)

    def test_saving_does_not_draw(self) -> None:
        first = ExactResume().state_dict()
        second = ExactResume().state_dict()
        assert torch.equal(first["torch"], second["torch"])
        assert first["python"] == second["python"]
        assert torch.equal(first["numpy"][1], second["numpy"][1])


class TestAtomicCheckpointIO:
    old = {"epoch": 1, "weights": torch.ones(3)}  # noqa: RUF012
    new = {"epoch": 2, "weights": torch.zeros(3)}  # noqa: RUF012

    def test_a_checkpoint_is_written_whole_and_nothing_is_left_beside_it(self, tmp_path: Path) -> None:
        path = tmp_path / "deep" / "last.ckpt"
        for content in (self.old, self.new):
            AtomicCheckpointIO().save_checkpoint(content, path)
            assert torch.load(path, weights_only=True)["epoch"] == content["epoch"]
        assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]

    def test_a_write_that_fails_midway_leaves_the_old_file_whole(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "last.ckpt"
        AtomicCheckpointIO().save_checkpoint(self.old, path)
        before = path.read_bytes()

        def disk_full(self: Any, checkpoint: Any, place: Any, storage_options: Any = None) -> None:
            Path(place).write_bytes(before[: len(before) // 2])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(TorchCheckpointIO, "save_checkpoint", disk_full)
        with pytest.raises(OSError, match="No space left"):
            AtomicCheckpointIO().save_checkpoint(self.new, path)
        assert path.read_bytes() == before
        assert torch.load(path, weights_only=True)["epoch"] == 1
        monkeypatch.undo()
        # The half-written one is no obstacle to the next.
        AtomicCheckpointIO().save_checkpoint(self.new, path)
        assert torch.load(path, weights_only=True)["epoch"] == 2

    def test_a_trainer_uses_it(self, tmp_path: Path) -> None:
        trainer = Trainer(accelerator="cpu", logger=False, plugins=[AtomicCheckpointIO()], default_root_dir=tmp_path)
        assert isinstance(trainer.strategy.checkpoint_io, AtomicCheckpointIO)
