"""Translators of a run: made once, used again, gone on with when killed; and a whole run of ``cyclegan``."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import pytest
import torch
import yaml

from experiments.artifacts.store import Recipe, RunContext, key_of
from experiments.artifacts.translators import load_translator_weights
from experiments.catalogue import config_files, names
from lightning_modules.methods import CycleGAN
from lightning_modules.translation import PatchDiscriminator, Translator, UNetGenerator
from lightning_modules.translation.training import TranslatorTraining
from tests.experiments.helpers import (
    TINY,
    checkpoint,
    differences,
    drawn,
    learned,
    merged,
    metrics,
    refused,
    run,
    write_config,
)
from tests.experiments.processes.killing import run_and_kill

NETWORKS = {
    "generator": {
        "class_path": "lightning_modules.translation.UNetGenerator",
        "init_args": {"image_size": "${model.init_args.landmarker.init_args.image_size}", "width": 4},
    },
    "discriminator": {
        "class_path": "lightning_modules.translation.PatchDiscriminator",
        "init_args": {"width": 4, "halvings": 2},
    },
}
TRANSLATORS = {
    "translation": {"max_epochs": 2, "steps_per_epoch": 2, "batch_size": 2, "pool_size": 2},
    "model": {
        "init_args": {"translator": {"class_path": "lightning_modules.translation.Translator", "init_args": NETWORKS}}
    },
}
RUN = Path("da_cariface/cyclegan-slpt/seed0")


class Made(NamedTuple):
    runs: Path
    command: list[str]

    @property
    def translator(self) -> Path:
        (path,) = self.runs.glob("translators/*/translator.ckpt")
        return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A finished run."""
    top = tmp_path_factory.mktemp("cyclegan")
    command = ["train", "--setting=da_cariface", "--method=cyclegan"]
    command.append(write_config(top / "tiny.yaml", TINY, TRANSLATORS))
    run(*command, f"--paths.runs={top}/runs")
    return Made(top / "runs", command)


def test_a_whole_run(made: Made) -> None:
    found = metrics(made.runs / RUN)
    assert (found["method"], found["data"]) == ("cyclegan", "synthetic")
    assert found["average_nme"] != found["source_only"]["average_nme"]
    folder = made.translator.parent
    assert {path.name for path in folder.iterdir()} == {"translator.ckpt", "translated.png", "lock", "csv"}
    picture = cv2.imread(str(folder / "translated.png"))
    assert picture is not None
    assert picture.shape[0] > 6 * 192, "six faces, one a row"
    assert picture.shape[1] > 6 * 192, "both ways and back"


def test_the_runs_checkpoint_holds_the_translator(made: Made) -> None:
    run_state = checkpoint(made.runs / RUN / "checkpoints/last.ckpt")["state_dict"]
    own = checkpoint(made.translator)["state_dict"]
    assert set(own) == {name for name in run_state if name.startswith("translator.")}
    assert list(differences(own, {name: run_state[name] for name in own})) == []
    generator = UNetGenerator(64, 4)
    translator = Translator(generator, PatchDiscriminator(4, 2))
    load_translator_weights(translator, made.translator)
    assert torch.equal(generator.downs[0][0].weight, own["translator.generators.target.downs.0.0.weight"])  # type: ignore[index]


def test_a_second_run_uses_them_again(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    before, first = made.translator.stat().st_mtime_ns, metrics(made.runs / RUN)
    monkeypatch.setattr(TranslatorTraining, "training_step", _never)
    run(*made.command, f"--paths.runs={made.runs}")
    assert made.translator.stat().st_mtime_ns == before
    assert metrics(made.runs / RUN) == first, "the same, whether they were made or found"


def test_a_resumed_run_does_not_even_look_for_them(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    given = shutil.copytree(made.translator.parent, tmp_path / "given") / made.translator.name
    command = [*made.command, f"--paths.runs={runs}", f"--translation.checkpoint={given}"]
    run_and_kill(command, CycleGAN, epoch=1, batch=0)
    given.unlink()
    monkeypatch.setattr(TranslatorTraining, "training_step", _never)
    run(*command, "--resume")
    assert not (runs / "translators").exists()
    last = RUN / "checkpoints/last.ckpt"
    assert list(differences(learned(runs / last), learned(made.runs / last))) == []


def test_a_killed_training_goes_on_to_the_same_translators(made: Made, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    run_and_kill([*made.command, f"--paths.runs={runs}"], TranslatorTraining, epoch=1, batch=0)  # type: ignore[arg-type]
    (folder,) = runs.glob("translators/*")
    assert folder.name == made.translator.parent.name
    assert checkpoint(folder / "last.ckpt")["epoch"] == 0
    assert not (folder / "translator.ckpt").exists()
    run(*made.command, f"--paths.runs={runs}", "--trainer.max_epochs=1")
    assert list(differences(checkpoint(folder / "translator.ckpt"), checkpoint(made.translator))) == []


@pytest.mark.parametrize(
    ("change", "others"),
    [
        ({"data": {"target": [drawn("caricature", train=7)]}}, True),
        ({"translation": {"learning_rate": 1e-4}}, True),
        ({"model": {"init_args": {"translator": {"init_args": {"cycle_weight": 5.0}}}}}, True),
        ({"model": {"init_args": {"landmarker": {"init_args": {"embed_dim": 16}}}}}, False),
        ({"data": {"batch_size": 2}, "model": {"init_args": {"translated_share": 1.0}}}, False),
    ],
    ids=["target", "how", "networks", "landmarker", "method"],
)
def test_what_other_translators_are_made_for(
    made: Made, tmp_path: Path, change: dict[str, Any], others: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []

    def note(recipe: Recipe, context: RunContext) -> Path:
        names.append(f"{key_of(recipe.facts())}-seed{context.seed}")
        raise InterruptedError

    monkeypatch.setattr("experiments.cli.pretrained_start", lambda *args: None)
    monkeypatch.setattr("experiments.artifacts.translators.provide", note)
    config = write_config(tmp_path / "changed.yaml", merged(TINY, TRANSLATORS, change))
    with pytest.raises(InterruptedError):
        run(*made.command[:-1], config, f"--paths.runs={made.runs}", f"--trainer.default_root_dir={tmp_path}/run")
    assert (names != [made.translator.parent.name]) == others


@pytest.mark.parametrize("profile", names("profile"))
def test_bdl_begins_with_cyclegans_translators(profile: str) -> None:
    """The translators' folder is named after these: trained for one method, they are there for the other."""
    both = []
    for method in ("cyclegan", "bdl"):
        choices = {"profile": profile, "setting": "da_cariface", "method": method, "landmarker": "slpt"}
        config = merged(*(yaml.safe_load(path.read_text()) for path in config_files(choices)))
        both.append((config["translation"], config["model"]["init_args"]["translator"]))
    assert both[0] == both[1]


def test_translators_that_do_not_fit(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [f"--translation.checkpoint={made.translator}", f"--paths.runs={tmp_path}"]
    wider = "--model.init_args.translator.init_args.generator.init_args.width=8"
    message = refused(capsys, *made.command, *given, wider)
    assert (
        "does not fit Translator: generators.target.downs.0.0.weight: shape (4, 3, 4, 4) in the file, (8, 3" in message
    )
    landmarker = made.runs / RUN / "checkpoints/last.ckpt"
    message = refused(capsys, *made.command, f"--translation.checkpoint={landmarker}", f"--paths.runs={tmp_path}")
    assert "expected a Warpmark checkpoint with 'state_dict' and 'translator'" in message
    assert not (tmp_path / "pretrained").exists(), "before any time was spent"


def test_a_setting_without_a_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path / "tiny.yaml", TINY, TRANSLATORS, {"data": {"target": []}})
    message = refused(capsys, "train", "--setting=oracle", "--method=cyclegan", config, f"--paths.runs={tmp_path}")
    assert "CycleGAN learns from unlabelled stylised faces, and the setting has no target" in message


def _never(*args: Any) -> None:
    raise AssertionError("a training that was not to be")
