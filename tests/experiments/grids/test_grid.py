"""Grids: cells that differ by their row alone, under one budget and from one start; and what is done about failures."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.catalogue import names
from experiments.commands.grid import grid
from experiments.commands.train import train
from experiments.errors import UsageError
from experiments.grids.cells import Runner, seconds_per_step
from experiments.grids.grid import Cell, Grid, read_grid
from experiments.scoring import LOOSE_CROPPED_AGAIN
from tests.experiments.helpers import PHASES, TINY, merged, metrics, refused

CHOICES = {"setting": "da_cariface", "landmarker": "slpt", "profile": "quick"}
ROWS: dict[str, dict[str, Any]] = {
    "on, alone": {"method": "supervised", "config": {"model": {"init_args": {"continue_from_start": True}}}},
    "warping": {"method": "face_warping", "config": PHASES},
}


def write(path: Path, **changes: Any) -> Path:
    """A grid file of two short rows; its runs go beside it."""
    config = merged(TINY, {"paths": {"runs": str(path.parent / "runs")}})
    content = {"choices": CHOICES, "rows": ROWS, "seeds": [3], "config": config}
    content |= {"budget": {"epochs": 2, "steps_per_epoch": 3}, **changes}
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return path


def cell_metrics(out: Path) -> dict[str, Any]:
    return {path.parent.name: metrics(path.parent) for path in out.glob("*/metrics.json")}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grid of which one row was run first, and then the rest (in processes of their own: test_killed.py)."""
    top = tmp_path_factory.mktemp("grid")
    file = write(top / "some.yaml")
    grid(str(file), out=str(top / "out"), rows=("on, alone",), isolated=False)
    grid(str(file), out=str(top / "out"), isolated=False)
    return top


def test_each_cell_is_a_run(done: Path) -> None:
    found = cell_metrics(done / "out")
    methods = {"on_alone-seed3": "supervised", "warping-seed3": "face_warping"}
    assert {name: cell["method"] for name, cell in found.items()} == methods
    for name, cell in found.items():
        assert (cell["seed"], cell["data"]) == (3, "synthetic")
        cost = json.loads((done / "out" / name / "cost.json").read_text())
        assert (cost["epochs"], cost["steps"]) == (2, 6)
        assert min(cost["seconds"], cost["cpu_seconds"], cost["peak_memory_mib"]) > 0


def test_all_cells_have_one_start(done: Path) -> None:
    first, second = cell_metrics(done / "out").values()
    assert first["source_only"] == second["source_only"]
    (start,) = (done / "runs/pretrained").glob("*/landmarker.ckpt")
    noted = {json.loads(path.read_text())["start"] for path in (done / "out").glob("*-seed3.json")}
    assert {(done / path).resolve() for path in noted} == {start.resolve()}


def test_its_table(done: Path) -> None:
    title, _, head, _, start, alone, warping, *_ = (done / "out/table.md").read_text().splitlines()
    assert "SYNTHETIC" in title
    assert "photo, NME %" in head
    found = cell_metrics(done / "out")["warping-seed3"]
    assert "source only (the start)" in start
    assert f"{found['source_only']['test']['photo']['nme']:.2f}" in start
    assert "on, alone" in alone
    assert f" {found['test']['caricature']['nme']:.2f} |" in warping
    assert (done / "out/table.csv").exists()
    assert (done / "out/table.tex").exists()


def test_rows_are_compared_face_by_face(done: Path) -> None:
    grid(str(done / "some.yaml"), out=str(done / "out"), table_only=True, against="on, alone")
    title, _, head, _, *lines = (done / "out/differences.md").read_text().partition("\n\n- ")[0].splitlines()
    assert "difference from on, alone" in title
    names, *columns = ([cell.strip() for cell in line.strip("|").split("|")] for line in (head, *lines))
    assert [line[0] for line in columns] == ["source only (the start)", "on, alone", "warping"]
    found = cell_metrics(done / "out")
    place = names.index("caricature, annotated box, one crop")
    alone, warping = (found[name]["test"]["caricature"]["nme"] for name in ("on_alone-seed3", "warping-seed3"))
    assert columns[1][place] == f"{alone:.2f}"
    mean, difference, interval = columns[2][place].split(" ", 2)
    assert mean == f"{warping:.2f}:"
    assert float(difference) == pytest.approx(warping - alone, abs=0.0051)
    low, high = map(float, interval.strip("()").split(" to "))
    assert low <= float(difference) <= high
    intervals, tests = ((done / f"out/{name}.md").read_text().splitlines() for name in ("intervals", "tests"))
    assert intervals[5].split("|")[place + 1].strip().startswith(f"{alone:.2f} (")
    assert 0 < float(tests[6].split("|")[place + 1]) <= 1
    assert tests[5].split("|")[place + 1].strip() == "–"
    loose = f"caricature, {LOOSE_CROPPED_AGAIN}"
    assert float(columns[1][names.index(loose)]) > 0
    # Measured once.
    kept = done / "out/warping-seed3/faces.csv"
    before = kept.stat().st_mtime_ns
    grid(str(done / "some.yaml"), out=str(done / "out"), table_only=True, against="warping")
    assert kept.stat().st_mtime_ns == before
    # Unless by other protocols, as an earlier version had them.
    whole = kept.read_text()
    kept.write_text(whole.replace(str(LOOSE_CROPPED_AGAIN), "some other box"))
    grid(str(done / "some.yaml"), out=str(done / "out"), table_only=True, against="warping")
    assert kept.read_text() == whole
    with pytest.raises(UsageError, match=r"--against=warp: no such row is done\. Did you mean 'warping'"):
        grid(str(done / "some.yaml"), out=str(done / "out"), table_only=True, against="warp")


def test_what_is_done_is_not_done_again_unless_it_is_made_of_something_else(done: Path) -> None:
    path = done / "out/warping-seed3/metrics.json"
    before = path.stat().st_mtime_ns
    grid(str(done / "some.yaml"), out=str(done / "out"), rows=("warping",), isolated=False)
    assert path.stat().st_mtime_ns == before
    changed = write(done / "changed.yaml", budget={"epochs": 2, "steps_per_epoch": 2})
    grid(str(changed), out=str(done / "out"), rows=("warping",), isolated=False)
    assert path.stat().st_mtime_ns != before
    assert (done / "out/warping-seed3-earlier1/metrics.json").stat().st_mtime_ns == before
    # The row that was not run again is of another budget: it has no place in this table.
    assert "| on, alone | –" in " ".join((done / "out/table.md").read_text().split())


def test_parts_are_the_whole_and_values_of_the_option_are_cells() -> None:
    some = Grid("some", {}, {"a": {}, "fixed": {}}, [0, 1], "model.rate", [0.1, 0.2], fixed_rows=["fixed"])
    cells = some.all_cells()
    assert len(cells) == len({cell.name for cell in cells}) == 2 * 3
    assert [cell.name for cell in cells[:3]] == ["a-0.1-seed0", "a-0.2-seed0", "fixed-0.1-seed0"]
    assert some.choices_of(cells[1], {}).overrides == {"model.rate": 0.2}
    with pytest.raises(UsageError, match="Did you mean 'fixed'"):
        some.all_cells(["fixd"])


def test_cells_have_what_the_start_has_not(tmp_path: Path) -> None:
    """``cells`` and the budget shorten cells, and leave the start the one that ``make train`` makes."""
    file = write(tmp_path / "some.yaml", cells={"data": {"batch_size": 2}})
    some = read_grid(str(file))
    cell = some.all_cells()[1]
    layers = [some.choices_of(cell, {}, further).config for further in (None, [])]
    assert [{"data": {"batch_size": 2}} in config for config in layers] == [False, True]


def test_a_profile_has_its_own_budget_and_seeds(tmp_path: Path) -> None:
    profiles = {
        "quick": {"budget": {"minutes": 1}, "config": {"pretraining": {"max_epochs": 2}}},
        "smoke": {"seeds": [7]},
    }
    config = {"pretraining": {"learning_rate": 0.1}}
    file = str(write(tmp_path / "some.yaml", budget=None, config=config, profiles=profiles))
    quick, smoke, paper = (read_grid(file, profile) for profile in ("", "smoke", "paper"))
    assert [grid.choices["profile"] for grid in (quick, smoke, paper)] == ["quick", "smoke", "paper"]
    assert [grid.budget for grid in (quick, smoke, paper)] == [{"minutes": 1}, {}, {}]
    assert [list(grid.seeds) for grid in (quick, smoke, paper)] == [[3], [7], [3]]
    assert quick.config == {"pretraining": {"learning_rate": 0.1, "max_epochs": 2}}
    assert smoke.config == paper.config == config


def test_failures_are_named_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One is refused by the command line, one has no start to begin from."""
    rows: dict[str, dict[str, Any]] = {
        "wrong": {"method": "supervised", "config": {"model": {"init_args": {"warmups": 1}}}},
        "homeless": {"method": "face_warping", "config": {"pretraining": {"checkpoint": "nowhere.ckpt"}}},
        "right": {"method": "supervised"},
    }
    file = write(tmp_path / "some.yaml", rows=rows)
    message = refused(capsys, "grid", str(file), "--isolated=false", "--out", str(tmp_path / "out"))
    assert "2 cells failed" in message
    assert "wrong-seed3 could not be run: UsageError: --model.init_args.warmups is no option of Supervised" in message
    assert "homeless-seed3 could not be run: CheckpointError: " in message
    table = " ".join((tmp_path / "out/table.md").read_text().split())
    assert "| wrong | –" in table
    assert "| right | –" not in table


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": {"epochs": 3}}, "expected {minutes}, or {epochs, steps_per_epoch}"),
        ({"rows": {"a": {"net": "slpt"}}}, "row 'a' has ['net']"),
        ({"speeds": []}, "expected the keys ['choices', 'rows', 'seeds']"),
        ({"rows": None}, "expected the keys ['choices', 'rows', 'seeds']"),
        ({"option": "model.rate"}, "expected option and values together"),
        ({"profiles": {"quik": {}}}, "profiles has 'quik'"),
        ({"profiles": {"quick": {"rows": {}}}}, "profiles has 'quick' with ['rows']; expected a profile"),
        ({"profiles": {"smoke": {"budget": {"steps": 3}}}}, "expected {minutes}, or {epochs, steps_per_epoch}"),
        ({"fixed_rows": ["nowhere"]}, "['nowhere'], which are no rows of it"),
        (
            {"budget": {"minutes": 1}, "rows": {"warping": ROWS["warping"]}},
            "budget in minutes is for METHOD",
        ),
    ],
)
def test_files_that_are_not_as_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    file = write(tmp_path / "some.yaml", **changes)
    assert message in refused(capsys, "grid", str(file), "--isolated=false", "--out", str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("metods", "Did you mean 'methods'"),
        ("methods --rows stylise", "'stylise' is no row of methods. Did you mean 'stylize'"),
        ("methods --part 3/2", "--part is '3/2'; expected k/n"),
        ("nowhere.yaml", "nowhere.yaml: no such grid"),
        ("methods --jobs 0", "--jobs is 0; expected 1 or more"),
        (
            "methods --cells face_warping-seed5",
            "'face_warping-seed5' is no cell of methods. Did you mean 'face_warping-",
        ),
    ],
)
def test_bad_commands(capsys: pytest.CaptureFixture[str], words: str, message: str) -> None:
    assert message in refused(capsys, "grid", *words.split())


@pytest.mark.slow
@pytest.mark.parametrize("name", names("grid"))
def test_every_row_of_a_shipped_grid_can_be_made(name: str) -> None:
    shipped = read_grid(name)
    cells = shipped.all_cells(seeds=shipped.seeds[:1])[:: max(1, len(shipped.values))]
    own = shipped.choices.get("setting") == "own"
    folders = {"source": "photos", "target": "drawings"} if own else {"data": "faces"}
    runner = Runner(shipped, folders, Path("nowhere"), train)
    for cell in cells:
        assert runner.grid.choices_of(cell, folders, []).arguments(), "its choices are known"
    # Landmarkers take seconds to build, and each row of theirs is a shipped one: rows with configurations of their own,
    # and of those that differ in numbers alone, one.
    kinds = {_without_numbers(shipped.rows[cell.row].get("config", {})): cell for cell in reversed(cells)}
    rows = [cell for config, cell in kinds.items() if config != "{}"]
    for cell in rows or cells[-1:]:
        assert runner.in_cell(cell).options.run.profile == shipped.choices["profile"]


def _without_numbers(config: dict[str, Any]) -> str:
    return re.sub(r"(?<=[ \[])(-?[\d.e+-]+|true|false)(?=[,}\]])", "0", json.dumps(config))


def test_every_landmarker_and_every_method_is_in_a_grid() -> None:
    for kind in ("landmarker", "method"):
        assert {row[kind] for row in read_grid(f"{kind}s").rows.values()} == set(names(kind))


def test_a_step_is_timed(tmp_path: Path) -> None:
    some = read_grid(str(write(tmp_path / "some.yaml", rows={"a": {"method": "supervised"}})))
    cli = Runner(some, {}, tmp_path, train).plain(Cell("a", None, 0))
    assert 0.001 < seconds_per_step(cli) < 10
