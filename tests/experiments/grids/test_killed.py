"""Grids that are killed, and grids that share a folder: every cell is trained once, and to the same end."""

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from tests.experiments.grids.test_grid import ROWS, write
from tests.experiments.helpers import RESUMING, TINY, merged, metrics, run
from tests.experiments.processes.killing import run_in_two, run_until_killed

pytestmark = RESUMING

SPENT = ("CPU s / epoch", "peak MiB")
"""Columns of a table that no two runs share."""
KILLER = {"class_path": "tests.experiments.processes.killing.KillTheGrid"}


def table(out: Path) -> list[dict[str, str]]:
    with (out / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: text for name, text in row.items() if not name.startswith(SPENT)} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grid file, and in ``whole`` the grid that nothing disturbed."""
    top = tmp_path_factory.mktemp("killed")
    callbacks = [KILLER, *yaml.safe_load(Path("configs/base.yaml").read_text())["trainer"]["callbacks"]]
    config = merged(TINY, {"paths": {"runs": str(top / "runs")}, "trainer": {"callbacks": callbacks}})
    rows: dict[str, Any] = {"alone": ROWS["on, alone"], "warping": ROWS["warping"]}
    write(top / "some.yaml", config=config, rows=rows)
    run("grid", str(top / "some.yaml"), "--isolated=false", f"--out={top}/whole")
    return top


@pytest.mark.slow
def test_a_grid_killed_in_mid_cell_goes_on_to_the_same_table(whole: Path) -> None:
    """The cell, in a process of its own, kills the grid; and it is the grid's end that ends the cell."""
    command = ["grid", str(whole / "some.yaml"), f"--out={whole}/out"]
    run_until_killed(command, whole / "told")
    assert (whole / "told").exists()
    assert not list(whole.glob("out/*/metrics.json"))
    # The cell holds its lock until it has ended: this returns only if it is not left behind.
    with FileLock(whole / "out/alone-seed3.lock", timeout=60):
        pass
    run(*command, "--isolated=false")
    assert table(whole / "out") == table(whole / "whole")
    for name in ("alone-seed3", "warping-seed3"):
        assert metrics(whole / "out" / name) == metrics(whole / "whole" / name)
    assert not list(whole.glob("out/*earlier*")), "it went on where it was"
    trainings = {folder.parents[1].name: 0 for folder in whole.glob("out/*/csv/version_*")}
    assert set(trainings) == {"alone-seed3", "warping-seed3"}
    assert len(list(whole.glob("out/alone-seed3/csv/version_*"))) == 2, "until it was killed, and from there"


@pytest.mark.slow
def test_two_processes_on_one_folder_never_run_a_cell_twice(whole: Path) -> None:
    run_in_two(["grid", str(whole / "some.yaml"), "--isolated=false", f"--out={whole}/shared"])
    for name in ("alone-seed3", "warping-seed3"):
        assert metrics(whole / "shared" / name) == metrics(whole / "whole" / name)
    trainings = sorted(folder.parents[1].name for folder in whole.glob("shared/*/csv/version_*"))
    assert trainings == ["alone-seed3", "warping-seed3"]
    assert not list(whole.glob("shared/*earlier*"))
    # The one that came last to its end found all of them done.
    assert table(whole / "shared") == table(whole / "whole")
