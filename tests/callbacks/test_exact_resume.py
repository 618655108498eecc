import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from callbacks.exact_resume import AtomicCheckpointIO, ExactResume


def draw() -> list[float]:
    """From every global generator."""
    return [*torch.rand(2).tolist(), float(np.random.rand()), random.random()]  # noqa: NPY002


class Noise(LightningModule):
    """Draws in every step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.drawn: list[list[float]] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.drawn.append(draw())
        return self.weight.square()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def steps(
    seed: int, folder: Path, epochs: int = 2, resume: bool = False, callback: ExactResume | None = None
) -> list[list[float]]:
    """What two steps an epoch draw, under a seed; each epoch's checkpoint is ``folder/last.ckpt``."""
    module, saved = Noise(), ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    torch.manual_seed(seed)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        callbacks=[callback or ExactResume(), saved],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    # What else is drawn, before training and between steps, must not count.
    draw()
    loader = DataLoader(torch.zeros(2, 1), batch_size=1)  # type: ignore[arg-type]
    trainer.fit(module, loader, ckpt_path=folder / "last.ckpt" if resume else None, weights_only=True)
    return module.drawn


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:Checkpoint directory .* exists")
class TestExactResume:
    def test_steps_draw_by_seed_and_step(self, tmp_path: Path) -> None:
        whole = steps(1, tmp_path / "whole")
        assert len({tuple(step) for step in whole}) == 4
        assert steps(1, tmp_path / "again") == whole
        assert steps(2, tmp_path / "other") != whole
        assert steps(1, tmp_path / "cut", epochs=1) == whole[:2]
        # With the seed of the run that began, whatever the new process was given.
        assert steps(9, tmp_path / "cut", resume=True) == whole[2:]

    def test_each_process_draws_its_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = steps(1, tmp_path / "0")
        monkeypatch.setattr(Trainer, "global_rank", 1)
        second = steps(1, tmp_path / "1")
        assert not any(
            a == b for one, other in zip(first, second, strict=True) for a, b in zip(one, other, strict=True)
        )

    def test_a_checkpoint_with_generator_states_is_gone_on_from(self, tmp_path: Path) -> None:
        """Those of earlier versions: states in place of the seed, which is then the new run's."""

        class Earlier(ExactResume):
            def state_dict(self) -> dict[str, Any]:
                return {
                    "torch": torch.get_rng_state(),
                    "cuda": None,
                    "numpy": ["MT19937", torch.zeros(624)],
                    "python": [],
                }

            @property
            def state_key(self) -> str:
                return ExactResume().state_key

        steps(1, tmp_path, epochs=1, callback=Earlier())
        assert steps(1, tmp_path, resume=True) == steps(1, tmp_path / "whole")[2:]


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
