"""The command line: shipped choices, interpolation, messages, and configurations that rerun their runs."""

import shutil
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from datamodules.datasets import ArtiFaceDataModule, CariFaceDataModule, FolderDataModule, W300DataModule
from experiments.catalogue import CONFIGS, config_files, names
from experiments.cli import WarpmarkCLI
from experiments.train import compose, parse
from lightning_modules.landmarkers import SLPT
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
    learned,
    metrics,
    refused,
    run,
    write_config,
)

SMALL = {"model": {"init_args": {"landmarker": TINY_LANDMARKER}}}


def instantiated(*arguments: str) -> WarpmarkCLI:
    """Everything that ``train`` makes of its arguments before it does anything."""
    options, rest = parse(list(arguments))
    return WarpmarkCLI([*compose(options), *rest], run=False)


def members(cli: WarpmarkCLI) -> dict[str, list[type]]:
    return {role: [type(member) for member in sets] for role, sets in cli.data._members.items()}


def root(cli: WarpmarkCLI, role: str) -> Path:
    """Where the last data set of a role lies."""
    return cli.data._members[role][-1].root  # type: ignore[attr-defined, no-any-return]


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
COMBINATIONS = [
    *product(names("setting"), names("method"), ["slpt"], names("profile")),
    *product(["gzsl_artiface"], ["face_warping"], sorted({*names("landmarker")} - {"slpt"}), names("profile")),
]
"""Every choice with every other, but for the landmarkers, which take seconds to build and are one argument to all."""


class TestShippedChoices:
    def test_there_are_no_others(self) -> None:
        assert set(names("setting")) == set(SOURCES)
        assert set(names("method")) >= set(METHODS)
        assert {"quick", "paper"} <= set(names("profile"))
        assert {"slpt", "hrnet", "star"} <= set(names("landmarker"))

    @pytest.mark.parametrize(("setting", "method", "landmarker", "profile"), COMBINATIONS)
    def test_each_combination_instantiates(
        self, tmp_path: Path, setting: str, method: str, landmarker: str, profile: str
    ) -> None:
        folders = ["--source=photos", "--target=paintings"] if setting == "own" else []
        small = [write_config(tmp_path / "small.yaml", SMALL)] if landmarker == "slpt" else []
        chosen = [f"--setting={setting}", f"--method={method}", f"--landmarker={landmarker}", f"--profile={profile}"]
        cli = instantiated(*chosen, *folders, *small, "--seed=5", "--trainer.accelerator=cpu")
        source, target = SOURCES[setting]
        assert members(cli)["source"] == source
        assert members(cli)["target"] == target
        assert members(cli)["tests"]
        if method in METHODS:
            assert type(cli.method) is METHODS[method]
        assert cli.data.oracle_box == (profile == "paper")
        assert cli.data.image_size == cli.method.image_size
        assert cli.data.seed == 5
        assert cli.trainer.max_epochs == (300 if profile == "paper" else 4)
        assert cli.trainer.default_root_dir == f"runs/{setting}/{method}-{landmarker}/seed5"

    def test_the_published_slpt(self) -> None:
        """13,195,394 parameters in the published program's network with 12 layers of 6 distinct ones (golden/)."""
        cli = instantiated("--profile=paper", "--trainer.accelerator=cpu")
        landmarker = cli.method.landmarker
        assert isinstance(landmarker, SLPT)
        assert landmarker.image_size == cli.data.image_size == 256
        assert 13.0e6 < sum(p.numel() for p in landmarker.parameters()) < 13.4e6
        assert isinstance(cli.method, FaceWarping)
        phases = (cli.method.warper_epochs, cli.method.proximal_epochs)
        assert phases == (5, 5)
        assert cli.method.learning_rates == {0: 1e-4, 1: 1e-3}
        assert cli.method.stylization.exaggeration is None

    def test_the_oracle_is_supervised_unless_told_otherwise(self) -> None:
        options, _ = parse(["--setting=oracle"])
        assert f"--config={CONFIGS / 'methods/supervised.yaml'}" in compose(options)


class TestMessages:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["train", "--setting=da_cariface2"], "SETTING=da_cariface2 is not known. Did you mean 'da_cariface'?"),
            (["train", "--setting=DA_ArtiFace"], "Did you mean 'da_artiface'?"),
            (["train", "--method=face-warping"], "METHOD=face-warping is not known. Did you mean 'face_warping'?"),
            (["train", "--landmarker=sltp"], "LANDMARKER=sltp is not known. Did you mean 'slpt'?"),
            (["train", "--profile=fast"], "PROFILE=fast is not known. Known: paper, quick."),
            (["trian"], "'trian' is no command. Did you mean 'train'?"),
            (["train", "--setting=own"], "SETTING=own needs SOURCE and TARGET."),
            (["train", "--setting=own", "--source=photos"], "SETTING=own needs TARGET."),
            (
                ["train", "--source=photos"],
                "SOURCE given with SETTING=gzsl_artiface. Your own folders need SETTING=own",
            ),
            (["train", "--setting=own", "--source=a", "--target=b", "--data=c"], "DATA=c given with SETTING=own"),
        ],
    )
    def test_mistakes(self, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str) -> None:
        assert expected in refused(capsys, *arguments)

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["train", "--seed=first"], "invalid int value: 'first'"),
            (["train", "--trainer.max_epochs=many"], "trainer.max_epochs"),
            (["train", "--model.init_args.warper_epoch=3"], "warper_epoch"),
            (["train", "--config=nowhere.yaml"], "nowhere.yaml"),
            (["evaluate"], "the following arguments are required: --ckpt, --test"),
        ],
    )
    def test_options_that_do_not_exist(
        self, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
    ) -> None:
        assert expected in refused(capsys, *arguments)

    def test_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        run("--help")
        overview = capsys.readouterr().out
        assert all(f"  {command}" in overview for command in ("train", "evaluate", "fit"))
        expected = {"train": "--landmarker", "evaluate": "--ckpt", "fit": "--trainer.max_epochs"}
        for command, option in expected.items():
            with pytest.raises(SystemExit) as exit_:
                run(command, "--help")
            assert exit_.value.code == 0
            assert option in capsys.readouterr().out


class TestInterpolation:
    def test_an_override_reaches_what_other_files_derive_from_it(self, tmp_path: Path) -> None:
        small = write_config(tmp_path / "small.yaml", SMALL)
        cli = instantiated("--seed=3", small, "--paths.runs=elsewhere", "--run.method=mine", "--data=faces")
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
        files = [f"--config={file}" for file in config_files("da_artiface", "supervised", "slpt", "quick")]
        cli = WarpmarkCLI(["fit", *files, extra, "--seed_everything=3", "--paths.runs=elsewhere"])
        assert cli.trainer.default_root_dir == "elsewhere/xda_artiface"

    def test_tests_of_own_folders_are_the_targets_unless_given(self) -> None:
        arguments = ["--setting=own", "--source=photos", "--target=paintings", "--trainer.accelerator=cpu"]
        assert root(instantiated(*arguments), "tests") == Path("paintings")
        assert root(instantiated(*arguments, "--test=labelled"), "tests") == Path("labelled")

    def test_a_progress_bar_can_be_switched_off(self, tmp_path: Path) -> None:
        cli = instantiated(write_config(tmp_path / "small.yaml", SMALL), "--trainer.enable_progress_bar=false")
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
    assert f"{metrics(drawn_run.folder)['average_nme']:.6f}"[:7] in capsys.readouterr().out
    assert config.read_text() == before, "which it would take to rerun the run"


def _config(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "config.yaml").read_text())  # type: ignore[no-any-return]
