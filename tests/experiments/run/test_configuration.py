"""``config.yaml`` keeps what it derives from other options, so that a rerun elsewhere writes elsewhere."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.cli import WarpmarkCLI
from experiments.errors import UsageError
from experiments.run.configuration import read_configuration, with_interpolations
from tests.experiments.conftest import FinishedRun
from tests.experiments.helpers import refused


def composed(config: Path, *words: str) -> Any:
    """What ``fit`` would train, from a configuration alone."""
    return WarpmarkCLI([f"--config={config}", *words], run=False)


def test_interpolations_return_to_their_places() -> None:
    written = {"a": "${b}/x", "b": 1, "many": [{"class_path": "Gone"}, {"class_path": "Kept", "at": "${a}"}], "c": 2}
    resolved = {"a": "1/x", "many": [{"class_path": "Kept", "at": "1/x", "n": None}, "later"], "c": 3, "new": [4]}
    assert with_interpolations(resolved, written) == {
        "a": "${b}/x",
        "many": [{"class_path": "Kept", "at": "${a}", "n": None}, "later"],
        "c": 3,
        "new": [4],
    }


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        (["--seed_everything=7"], "{runs}/da_cariface/face_warping-slpt/seed7"),
        (["--paths.runs=elsewhere"], "elsewhere/da_cariface/face_warping-slpt/seed0"),
        (["--trainer.default_root_dir=here"], "here"),
    ],
)
def test_another_seed_or_place_is_another_folder(drawn_run: FinishedRun, words: list[str], folder: str) -> None:
    cli = composed(drawn_run.folder / "config.yaml", *words)
    place = Path(folder.format(runs=drawn_run.runs))
    assert Path(cli.trainer.default_root_dir) == place
    assert {Path(callback.dirpath) for callback in cli.trainer.checkpoint_callbacks} == {
        (place / "checkpoints").resolve()
    }
    assert [Path(logger.save_dir) for logger in cli.trainer.loggers] == [place]


def test_what_depends_on_a_learning_rate_follows_it(drawn_run: FinishedRun) -> None:
    written = yaml.safe_load((drawn_run.folder / "config.yaml").read_text())
    assert written["trainer"]["default_root_dir"].startswith("${paths.runs}/")
    read = read_configuration(drawn_run.folder / "config.yaml")
    assert read["trainer"]["default_root_dir"] == str(drawn_run.folder)
    assert "${" not in str(read)


def test_configurations_of_earlier_versions(
    drawn_run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They name every folder in full: they load, and do not write into that run from another."""
    old = tmp_path / "old.yaml"
    old.write_text(yaml.safe_dump(read_configuration(drawn_run.folder / "config.yaml")))
    assert Path(composed(old).trainer.default_root_dir) == drawn_run.folder
    before = (drawn_run.folder / "checkpoints/last.ckpt").read_bytes()
    message = refused(capsys, "fit", f"--config={old}", f"--trainer.default_root_dir={tmp_path}/new")
    assert f"trainer.callbacks: would write into {drawn_run.folder}/checkpoints, the folder of another run" in message
    assert (drawn_run.folder / "checkpoints/last.ckpt").read_bytes() == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("text", ["a: ${nothing}", "- 1", "a: [", ""])
def test_a_damaged_configuration(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    if text:
        with pytest.raises(UsageError, match=r"config\.yaml: found .* expected the configuration of a run"):
            read_configuration(tmp_path / "config.yaml")
    else:
        assert read_configuration(tmp_path / "config.yaml") == {}
