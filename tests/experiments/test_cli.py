"""The command line: shipped choices, interpolation, messages, and configurations that rerun their runs."""

import re
import shutil
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from datamodules.datasets import ArtiFaceDataModule, CariFaceDataModule, FolderDataModule, W300DataModule
from experiments.catalogue import CONFIGS, command_modules, names
from experiments.checkpoints import shipped_spec
from experiments.cli import WarpmarkCLI
from experiments.command_line import LIGHTNING
from experiments.commands.train import train
from experiments.compose import Choices
from experiments.errors import UsageError
from lightning_modules.methods import (
    BDL,
    FDA,
    AdaptSegNet,
    CycleGAN,
    FaceWarping,
    RevGrad,
    SelfTraining,
    Stylize,
    Supervised,
)
from tests.experiments.conftest import FinishedRun
from tests.experiments.helpers import (
    PHASES,
    TINY,
    TINY_LANDMARKER,
    differences,
    fit_files,
    learned,
    metrics,
    refused,
    run,
    write_config,
)

SMALL = {"model": {"init_args": {"landmarker": TINY_LANDMARKER}}}


OWN = {"setting": "own", "source": "photos", "target": "paintings"}


def instantiated(*config: dict[str, Any], **chosen: Any) -> WarpmarkCLI:
    """Everything that ``train`` makes of its choices before it does anything."""
    overrides = {"trainer.accelerator": "cpu", **chosen.pop("overrides", {})}
    return WarpmarkCLI(Choices(**chosen, config=config, overrides=overrides).arguments(), run=False)


def members(cli: WarpmarkCLI) -> dict[str, list[type]]:
    return {role: [type(member) for member in getattr(cli.data, f"_{role}")] for role in ("source", "target", "tests")}


def root(cli: WarpmarkCLI, role: str) -> Path:
    """Where the last data set of a role lies."""
    return getattr(cli.data, f"_{role}")[-1].root  # type: ignore[no-any-return]


EPOCHS = {"paper": 300, "gpu": 60, "thorough": 30, "thorough_gpu": 31, "quick": 4, "smoke": 4}
SOURCES = {
    "da_cariface": ([W300DataModule], [CariFaceDataModule]),
    "da_artiface": ([W300DataModule], [ArtiFaceDataModule]),
    "gzsl_artiface": ([W300DataModule], [CariFaceDataModule]),
    "gzsl_cariface": ([W300DataModule], [ArtiFaceDataModule]),
    "oracle": ([W300DataModule, CariFaceDataModule, ArtiFaceDataModule], []),
    "own": ([FolderDataModule], [FolderDataModule]),
}
"""Source and target of each setting (the paper's Table 1)."""
METHODS = {
    "adaptsegnet": AdaptSegNet,
    "bdl": BDL,
    "cyclegan": CycleGAN,
    "face_warping": FaceWarping,
    "fda": FDA,
    "revgrad": RevGrad,
    "self_training": SelfTraining,
    "stylize": Stylize,
    "supervised": Supervised,
}
COMBINATIONS = sorted(
    {
        *product(names("setting"), names("method"), ["slpt"], ["quick"]),
        *product(["gzsl_artiface"], names("method"), ["slpt"], names("profile")),
        *product(names("setting"), ["face_warping"], ["slpt"], names("profile")),
        *product(["gzsl_artiface"], ["face_warping"], names("landmarker"), names("profile")),
    }
)
"""Every pair of choices, but for landmarkers with settings and methods, to which they are one argument."""


class TestShippedChoices:
    def test_there_are_no_others(self) -> None:
        assert set(names("setting")) == set(SOURCES)
        assert set(names("method")) >= set(METHODS)
        assert {"quick", "paper"} <= set(names("profile"))
        assert {"slpt", "hrnet", "star"} <= set(names("landmarker"))

    @pytest.mark.parametrize(("setting", "method", "landmarker", "profile"), COMBINATIONS)
    def test_each_combination_instantiates(self, setting: str, method: str, landmarker: str, profile: str) -> None:
        chosen = {"setting": setting, "method": method, "landmarker": landmarker, "profile": profile, "seed": 5}
        small = [SMALL] if landmarker == "slpt" else []
        cli = instantiated(*small, **{**OWN, **chosen} if setting == "own" else chosen)
        source, target = SOURCES[setting]
        assert members(cli)["source"] == source
        assert members(cli)["target"] == target
        assert members(cli)["tests"]
        if method in METHODS:
            assert type(cli.method) is METHODS[method]
        assert cli.data.oracle_box == (profile == "paper")
        assert cli.method.cuda_graphs == (profile in ("paper", "gpu", "thorough_gpu"))
        assert cli.data.image_size == cli.method.image_size
        assert cli.data.seed == 5
        assert cli.trainer.max_epochs == EPOCHS[profile]
        assert cli.trainer.default_root_dir == f"runs/{setting}/{method}-{landmarker}/seed5"

    @pytest.mark.parametrize("method", ["face_warping", "fda", "bdl"])
    def test_pseudo_landmarks_are_found_on_faces_cropped_again_on_request(self, method: str) -> None:
        for rounds in (0, 2):
            overrides = {"model.init_args.pseudo_recrop": rounds} if rounds else {}
            found: Any = instantiated(SMALL, method=method, overrides=overrides).method
            assert found.pseudo.how.recrop == rounds

    def test_a_profile_may_take_anothers_forms(self) -> None:
        """PROFILE=thorough has forms of its own for what it was made for, and light ones for the rest."""
        assert shipped_spec("slpt", "thorough") == shipped_spec("slpt", "quick") != shipped_spec("slpt", "paper")
        assert shipped_spec("integral", "thorough") != shipped_spec("integral", "quick")

    def test_the_strongest_recipe_differs_on_a_gpu_in_crops_and_backbone(self) -> None:
        light, full = (shipped_spec("integral", name)["init_args"] for name in ("thorough", "thorough_gpu"))
        changed = {"image_size": 256, "backbone": "tf_efficientnet_lite2"}
        assert full == light | changed != light
        methods = [instantiated(SMALL, method="stylize", profile=name).method for name in ("thorough", "thorough_gpu")]
        assert methods[0].stylization == methods[1].stylization
        assert methods[0].learning_rate == methods[1].learning_rate

    @pytest.mark.parametrize(
        ("setting", "method", "landmarker"),
        [
            ("oracle", "supervised", "slpt"),
            ("own", "stylize", "integral"),
            ("gzsl_artiface", "face_warping", "slpt"),
        ],
    )
    def test_settings_have_their_usual_choices(self, setting: str, method: str, landmarker: str) -> None:
        folders = {"source": "photos", "target": "paintings"} if setting == "own" else {}
        usual = Choices(setting, **folders).arguments()
        assert usual == Choices(setting, method, landmarker, **folders).arguments()
        other = Choices(setting, method="fda", landmarker="hrnet", **folders).arguments()
        assert f"--config={CONFIGS / 'methods/fda.yaml'}" in other
        assert f"--config={CONFIGS / 'landmarkers/hrnet.yaml'}" in other


class TestMessages:
    """One line each: what was given, and what could be."""

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ("train --setting=da_cariface2", "SETTING=da_cariface2 is not known. Did you mean 'da_cariface'?"),
            ("train --setting=DA_ArtiFace", "Did you mean 'da_artiface'?"),
            ("train --method=face-warping", "METHOD=face-warping is not known. Did you mean 'face_warping'?"),
            ("train --landmarker=sltp", "LANDMARKER=sltp is not known. Did you mean 'slpt'?"),
            (
                "train --profile=fast",
                "PROFILE=fast is not known. Known: gpu, paper, quick, smoke, thorough, thorough_gpu.",
            ),
            ("trian", "'trian' is no command. Did you mean 'train'?"),
            ("train --setting=own", "SETTING=own needs SOURCE and TARGET."),
            ("train --setting=own --source=photos", "SETTING=own needs TARGET."),
            ("train --source=photos", "SOURCE given with SETTING=gzsl_artiface. Your own folders need SETTING=own"),
            ("train --setting=own --source=a --target=b --data=c", "DATA=c given with SETTING=own"),
            ("train --seed=first", "--seed: found 'first', expected int."),
            ("train --landmaker=slpt", "--landmaker is no option. Did you mean --landmarker?"),
            ("train --trainer.max_epoch=3", "--trainer.max_epoch is no option. Did you mean --trainer.max_epochs?"),
            (
                "train --data.image_size=64",
                "cannot be given: give --model.init_args.landmarker.init_args.image_size.",
            ),
            (
                "train --data.seed=3",
                "--data.seed is set by another option and cannot be given: give --seed_everything.",
            ),
            ("train --trainer.default_root_dir=null", "--trainer.default_root_dir is null"),
            ("train --trainer.max_epochs=many", "--trainer.max_epochs: found 'many', expected int or null."),
            ("train --trainer.accelerator=gpus", "the trainer refuses its options: "),
            ("train --model.init_args.warper_epoch=3", "no option of FaceWarping. Did you mean 'warper_epochs'?"),
            (
                "train --model.init_args.landmarker.init_args.image_size=big",
                "--model.init_args.landmarker.init_args.image_size: found 'big', expected int.",
            ),
            ("train --config=nowhere.yaml", "nowhere.yaml"),
            ("train --data.batch_size 3 4", "--data.batch_size: found 2 values, expected one"),
            ("fit --trainer.max_epoch=3", "--trainer.max_epoch is no option. Did you mean --trainer.max_epochs?"),
            ("evaluate", "--test must be given."),
            ("pack --ckpt=a --name=b", "--made_by and --trained_on must be given."),
            (
                "evaluate --ckpt=a --test=b --on-error=stop",
                "--on_error: found 'stop', expected one of 'raise', 'skip'.",
            ),
            ("evaluate --ckp=a --test=b", "--ckp is no option. Did you mean --ckpt?"),
            ("train --resume maybe", "--resume: found 'maybe', expected true or false."),
            ("figure --photo=a --stylised=b --coarse=none", "--coarse: found 'none', expected int or null."),
            ("bench-warp --batches a", "--batches: found 'a', expected int."),
            ("train --pretraining=nowhere.yaml", "--pretraining"),
        ],
    )
    def test_mistakes(self, capsys: pytest.CaptureFixture[str], words: str, expected: str) -> None:
        message = refused(capsys, *words.split())
        assert expected in message
        (line,) = [line for line in message.splitlines() if line.startswith("error: ")]
        assert line == message.splitlines()[-1]

    def test_from_python_they_are_exceptions(self) -> None:
        with pytest.raises(UsageError, match="Did you mean 'own'"):
            train("owm")
        with pytest.raises(UsageError, match=r"Did you mean --trainer\.max_epochs"):
            train(**{"trainer.max_epoch": 3})

    @pytest.mark.parametrize("command", ["train", "fit"])
    def test_the_configuration_is_printed_and_nothing_else_done(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
    ) -> None:
        words = ["--setting=da_cariface"] if command == "train" else fit_files("face_warping")
        with pytest.raises(SystemExit) as exit_:
            run(command, *words, "--data.batch_size=5", f"--paths.runs={tmp_path}", "--print_config")
        assert exit_.value.code == 0
        printed = yaml.safe_load(capsys.readouterr().out)
        assert (printed["data"]["batch_size"], printed["run"]["setting"]) == (5, "da_cariface")
        assert list(tmp_path.iterdir()) == []

    def test_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        run("--help")
        overview = capsys.readouterr().out
        assert all(name in overview for name in (*command_modules(), *LIGHTNING))
        for command, option in {"train": "--landmarker", "evaluate": "--ckpt", "fit": "--trainer.max_epochs"}.items():
            with pytest.raises(SystemExit) as exit_:
                run(command, "--help")
            assert exit_.value.code == 0
            assert option in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("command", "words"),
        [("train", "thorough"), ("evaluate", "a YAML file that describes a landmarker"), ("peers", "YAML files")],
    )
    def test_help_tells_what_may_be_given(self, command: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            run(command, "--help")
        assert words in " ".join(capsys.readouterr().out.split())

    def test_make_help_names_everything(self) -> None:
        printed = subprocess.run(
            ["make", "help"], cwd=CONFIGS.parent, capture_output=True, text=True, check=True
        ).stdout
        assert all(f"make {target} " in printed for target in ("train", "test", "lint", "evaluate", "grid"))
        for kind in ("setting", "method", "landmarker", "profile", "grid"):
            (line,) = [line for line in printed.splitlines() if line.startswith(f"  {kind.upper()} ")]
            assert set(names(kind)) <= set(re.findall(r"\w+", line))


class TestInterpolation:
    def test_an_override_reaches_what_other_files_derive_from_it(self) -> None:
        cli = instantiated(SMALL, seed=3, data="faces", overrides={"paths.runs": "elsewhere", "run.method": "mine"})
        folder = "elsewhere/gzsl_artiface/mine-slpt/seed3"
        assert cli.trainer.default_root_dir == folder
        checkpoints: Any = cli.trainer.checkpoint_callback
        assert checkpoints.dirpath == str(Path(folder, "checkpoints").resolve())
        assert root(cli, "source") == Path("faces/300W")
        assert root(cli, "target") == Path("faces/CariFace_dataset")

    def test_fit_resolves_as_train_does(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(WarpmarkCLI, "_run_subcommand", lambda *_: None)
        extra = write_config(
            tmp_path / "small.yaml", SMALL, {"trainer": {"default_root_dir": "${paths.runs}/x${run.setting}"}}
        )
        cli = WarpmarkCLI(["fit", *fit_files("supervised"), extra, "--seed_everything=3", "--paths.runs=elsewhere"])
        assert cli.trainer.default_root_dir == "elsewhere/xda_cariface"

    def test_tests_of_own_folders_are_the_targets_unless_given(self) -> None:
        assert root(instantiated(SMALL, **OWN), "tests") == Path("paintings")
        assert root(instantiated(SMALL, **OWN, test="labelled"), "tests") == Path("labelled")

    def test_lists_are_added_to_and_layers_come_in_order(self) -> None:
        added = {
            "trainer.callbacks+": [
                "callbacks.weight_average.WeightAverage",
                "lightning.pytorch.callbacks.DeviceStatsMonitor",
            ]
        }
        layers = [{"trainer": {"max_epochs": 7}, "data": {"batch_size": 5}}, {"trainer": {"max_epochs": 9}}]
        cli = instantiated(SMALL, *layers, overrides={**added, "data.batch_size": 3})
        found = [type(callback).__name__ for callback in cli.trainer.callbacks]  # type: ignore[attr-defined]
        assert {"CostReport", "WeightAverage", "DeviceStatsMonitor"} <= set(found)
        assert (cli.trainer.max_epochs, cli.data.batch_size) == (9, 3)

    def test_weights_are_averaged_once(self) -> None:
        names = {"method": "stylize", "landmarker": "integral", "profile": "thorough"}
        with pytest.raises(UsageError, match=r"2 averages of the weights .* leave EMA out"):
            instantiated(SMALL, **names, ema=True)

    def test_a_progress_bar_can_be_switched_off(self) -> None:
        cli = instantiated(SMALL, overrides={"trainer.enable_progress_bar": False})
        assert cli.trainer.progress_bar_callback is None


def test_the_configuration_of_a_run_reruns_it(tmp_path: Path) -> None:
    """``fit`` with nothing but ``config.yaml`` pretrains as well, and learns the same bit for bit."""
    config = write_config(tmp_path / "tiny.yaml", TINY, PHASES)
    run("train", "--setting=da_cariface", "--seed=4", config, f"--paths.runs={tmp_path}/runs")
    folder = tmp_path / "runs/da_cariface/face_warping-slpt/seed4"
    shutil.rmtree(tmp_path / "runs/pretrained")

    run("fit", f"--config={folder}/config.yaml")

    earlier = folder.with_name("seed4-earlier1")
    assert (earlier / "metrics.json").exists()
    last = "checkpoints/last.ckpt"
    assert list(differences(learned(folder / last), learned(earlier / last))) == []
    # `fit` has two options more: which checkpoint to go on from, and how to read it.
    assert _config(folder) == {**_config(earlier), "ckpt_path": None, "weights_only": None}


def test_a_run_is_tested_again_by_lightnings_command(
    drawn_run: FinishedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    config, last = drawn_run.folder / "config.yaml", drawn_run.folder / "checkpoints/last.ckpt"
    before = config.read_text()
    run("test", f"--config={config}", f"--ckpt_path={last}", "--verbose=true")
    found = re.findall(r"test/average_nme +│ +([0-9.]+)", capsys.readouterr().out)
    assert [float(one) for one in found] == [pytest.approx(metrics(drawn_run.folder)["average_nme"], rel=1e-6)]
    assert config.read_text() == before, "which it would take to rerun the run"


def _config(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "config.yaml").read_text())  # type: ignore[no-any-return]
