from pathlib import Path
from types import SimpleNamespace

import pytest
from lightning import Trainer

from callbacks.nme_table import COLUMNS, NMETable, print_scores, read_rows
from callbacks.progress import epoch_of
from datamodules.datasets import SyntheticDataModule
from datamodules.setting import SettingDataModule
from lightning_modules.methods import Supervised
from tests.lightning_modules.methods.small import SIZE, LinearLandmarker

SCORES = {"a_full": {"nme": 3.14159265, "fr@8": 12.5, "auc@8": 61.0, "n": 8.0}}


def data() -> SettingDataModule:
    faces = SyntheticDataModule(
        "photo", train_count=2, test_count=4, size=48, subsets={"full": (0, 1), "hard": (0.5, 1)}
    )
    return SettingDataModule([faces], [], [faces], root="files", image_size=SIZE, batch_size=2)


def fit(root: Path, epochs: int, **options: object) -> Supervised:
    method = Supervised(LinearLandmarker())
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        default_root_dir=root,
        logger=False,
        callbacks=[NMETable()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(method, datamodule=data())
    return method


def rows(root: Path) -> list[dict[str, str]]:
    return read_rows(root / "nme.csv")


def test_one_row_per_subset_and_epoch(tmp_path: Path) -> None:
    """The sanity check's scores, of an untrained network on a few batches, are not among them."""
    method = fit(tmp_path, 3, num_sanity_val_steps=1)
    written = rows(tmp_path)
    assert tuple(written[0]) == COLUMNS
    assert [(row["epoch"], row["subset"]) for row in written] == [
        (str(epoch), subset) for epoch in range(3) for subset in ("full", "hard")
    ]
    assert {row["phase"] for row in written} == {"train"}
    for row, (name, values) in zip(written[-2:], method.scores.items(), strict=True):
        assert row["subset"] == name
        for key in ("nme", "fr@8", "auc@8"):
            assert float(row[key]) == pytest.approx(values[key], abs=1e-6)
        assert int(row["n"]) == values["n"] == {"full": 4, "hard": 2}[name]


@pytest.mark.parametrize("column", ["subset", "figure"])
def test_a_resumed_run_drops_the_epochs_it_does_again(tmp_path: Path, column: str) -> None:
    """Also of a run begun when the column had another name."""
    fit(tmp_path, 4)
    before = rows(tmp_path)
    written = (tmp_path / "nme.csv").read_text()
    (tmp_path / "nme.csv").write_text(written.replace("subset", column))

    class ResumesAtTwo:
        default_root_dir, is_global_zero, current_epoch = str(tmp_path), True, 2

    NMETable().on_train_start(ResumesAtTwo(), Supervised(LinearLandmarker()))  # type: ignore[arg-type]
    assert rows(tmp_path) == [row for row in before if row["epoch"] in ("0", "1")]
    assert len(rows(tmp_path)) == 4


def test_a_new_run_in_an_old_folder_starts_a_new_file(tmp_path: Path) -> None:
    fit(tmp_path, 3)
    fit(tmp_path, 1)
    assert [row["epoch"] for row in rows(tmp_path)] == ["0", "0"]


def test_the_console_table_has_the_scores(capsys: pytest.CaptureFixture[str]) -> None:
    print_scores(SCORES, 4.2, "epoch 1/2 (warper)")
    text = capsys.readouterr().out
    for word in ("epoch 1/2 (warper)", "NME %", "a_full", "3.14", "12.50", "61.00", "8", "average", "4.20"):
        assert word in text
    assert "SYNTHETIC" not in text


def test_scores_of_drawn_faces_are_marked(capsys: pytest.CaptureFixture[str]) -> None:
    print_scores(SCORES, 4.2, "tested", data())
    assert "SYNTHETIC" in capsys.readouterr().out


@pytest.mark.parametrize(("limit", "expected"), [(5, "epoch 3/5"), (-1, "epoch 3"), (None, "epoch 3")])
def test_epochs_are_counted_with_and_without_a_limit(limit: int | None, expected: str) -> None:
    assert epoch_of(SimpleNamespace(current_epoch=2, max_epochs=limit)) == expected  # type: ignore[arg-type]
