"""Cells on a real Slurm of one node, and what is said where there is none."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.commands.grid import grid
from experiments.errors import UsageError
from experiments.grids.executors.slurm import slurm_options
from lightning_modules.weights import WeightsError
from tests.experiments.grids.executors.slurm_node import missing, one_node
from tests.experiments.grids.test_grid import ROWS, write
from tests.experiments.helpers import metrics, refused, run


@pytest.mark.slow
@pytest.mark.skipif(bool(missing()), reason=f"Slurm is not installed (Debian's slurm-wlm): no {', '.join(missing())}")
def test_two_cells_on_a_real_slurm(
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = write(
        tmp_path / "some.yaml",
        rows={"on, alone": ROWS["on, alone"]},
        seeds=[3, 4],
        budget={"epochs": 1, "steps_per_epoch": 1},
    )
    command = ["grid", str(file), f"--out={tmp_path}/out"]
    with one_node(tmp_path_factory.mktemp("slurm")) as environment:
        for name in ("PATH", "SLURM_CONF"):
            monkeypatch.setenv(name, environment[name])
        with caplog.at_level("INFO"):
            run(*command, "--slurm=partition=tests,time=10")
        message = caplog.text
        assert "submitted 2 cells to Slurm as array" in message
        array = message.split("as array ")[1].split(":")[0]
        # Returns when both have ended, however they did.
        after = ["srun", "--quiet", f"--dependency=afterany:{array}", "true"]
        subprocess.run(after, check=True, timeout=500)
    said = [path.read_text() for path in sorted((tmp_path / "out/slurm").glob("*_log.err"))]
    assert len(said) == 2
    for seed in (3, 4):
        assert (tmp_path / f"out/on_alone-seed{seed}/metrics.json").exists(), said
        assert metrics(tmp_path / f"out/on_alone-seed{seed}")["seed"] == seed
    caplog.clear()
    table = message.split("their table, at any time: ")[1].splitlines()[0]
    assert table == f"python -m experiments grid {file} --out={tmp_path}/out --threads=1 --table_only"
    run(*command, "--table_only")
    assert (tmp_path / "out/table.md").read_text().count("2 of 2 |") == 2, "the start, and its row"


def test_a_machine_without_slurm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    command = ["grid", str(write(tmp_path / "some.yaml")), f"--out={tmp_path}/out", "--slurm"]
    assert "Submit from a machine that has Slurm's srun" in refused(capsys, *command, "partition=gpu,time=60")
    assert "'particion' is no option of submitit's. Did you mean 'partition'" in refused(
        capsys, *command, "particion=gpu"
    )
    assert "time is '1:00:00'; expected whole minutes" in refused(capsys, *command, "time=1:00:00")
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(WeightsError, match=r"pip install submitit`.*\.\[slurm\]"):
        grid(str(tmp_path / "some.yaml"), out=str(tmp_path / "out"), slurm="partition=gpu")


def test_options(tmp_path: Path) -> None:
    assert slurm_options("partition=gpu,time=60,mem=8G") == {"partition": "gpu", "time": 60, "mem": "8G"}
    (tmp_path / "some.yaml").write_text("partition: gpu\nadditional_parameters: {reservation: mine}\n")
    options = {"partition": "gpu", "additional_parameters": {"reservation": "mine"}}
    assert slurm_options(str(tmp_path / "some.yaml")) == options
    for wrong in ("gpu", "partition=", str(tmp_path / "nowhere.yaml")):
        with pytest.raises(UsageError, match=r"expected name=value|expected Slurm's options"):
            slurm_options(wrong)
    (tmp_path / "some.yaml").write_text("- gpu\n")
    with pytest.raises(UsageError, match="found list"):
        slurm_options(str(tmp_path / "some.yaml"))
