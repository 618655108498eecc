"""Tables: means and deviations over seeds, missing cells, and every format."""

import csv
from pathlib import Path
from typing import Any

import pytest

from experiments.bench.cost import LandmarkerCost
from experiments.errors import UsageError
from experiments.grids.grid import Cell, Grid
from experiments.grids.overview import grid_table
from experiments.grids.results import Result, read_results
from experiments.grids.tables import MISSING, Interval, Stat, Table


def result(row: str, value: float | None, seed: int, photos: float, drawings: float, **more: Any) -> Result:
    test = {"photos": {"nme": photos, "n": 7}, "drawings": {"nme": drawings, "n": 3}}
    cost = {"steps": 10, "epochs": 2, "cpu_seconds": 30.0, "peak_memory_mib": 1000.4}
    start = {"test": {"photos": {"nme": 5.0 + seed}, "drawings": {"nme": 12.0}}}
    return Result(Cell(row, value, seed), {"test": test, "data": "files", "source_only": start}, cost, **more)


def test_mean_and_deviation_of_the_sample() -> None:
    assert str(Stat.of([2.0, 2.5])) == "2.25 ± 0.35"
    assert str(Stat.of([2.0])) == "2.00"
    assert str(Stat.of([])) == MISSING
    assert Stat.of([1.0, 2.0, 4.0]).sd == pytest.approx(1.5275252)


def test_the_best_value_on_the_first_subset() -> None:
    grid = Grid("some", {}, {"a": {}, "missing": {}}, [0, 1], "model.rate", [0.1, 0.2], show="best")
    results = [
        *(result("a", 0.1, 0, 3, 9), result("a", 0.1, 1, 3, 9)),
        *(result("a", 0.2, 0, 2, 10), result("a", 0.2, 1, 2.5, 11)),
    ]
    cost = LandmarkerCost(3_000_000, 2_000_000_000, {1: 10.0, 16: 60.4})
    table = grid_table(grid, results, {"a": cost})
    start, best, *missing = table.rows
    assert [str(entry) for entry in start[2:4]] == ["5.50 ± 0.71", "12.00"]
    assert [str(entry) for entry in best] == [
        *("a", "0.2", "2.25 ± 0.35", "10.50 ± 0.71", "10", "15", "1000", "3.00", "2.00", "60", "10", "2 of 2", "7, 3"),
    ]
    assert [row[0] for row in missing] == ["missing", "missing"]
    assert {row[2] for row in missing} == {None}
    assert missing[0][-2:] == ["0 of 2", None]


def test_phases_and_logged_values() -> None:
    grid = Grid("some", {}, {"a": {}}, [0], phases=True, logged={"folded": "train/folded"})
    nme = {"warper": {"photos": 4.0, "drawings": 8.0}, "proximal": {"photos": 3.0, "drawings": 7.0}}
    table = grid_table(grid, [result("a", None, 0, 3, 7, nme=nme, logged={"folded": 0.5})])
    assert list(table.head[1:6]) == [
        *("photos, warper, NME %", "drawings, warper, NME %", "photos, proximal, NME %", "drawings, proximal, NME %"),
        "folded",
    ]
    assert [str(entry) for entry in table.rows[1][1:6]] == ["4.00", "8.00", "3.00", "7.00", "0.50"]


def test_every_format(tmp_path: Path) -> None:
    table = Table("a title", ["", "NME %", "note"], [["one & two", Stat.of([1.0, 2.0]), "x"], ["three", None, None]])
    markdown, comma, latex = table.write(tmp_path / "new/table")
    assert "| one & two | 1.50 ± 0.71 | " in " ".join(markdown.read_text().split())
    assert MISSING in markdown.read_text()
    assert r"one \& two" in latex.read_text()
    assert r"\toprule" in latex.read_text()
    with comma.open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (float(first["NME %"]), float(first["NME %, sd"]), first["NME %, n"]) == (1.5, pytest.approx(2**-0.5), "2")
    assert second["NME %"] == second["note"] == ""


def test_what_is_said_below_a_table_and_intervals(tmp_path: Path) -> None:
    rows = [["a", Interval(-0.2, -0.3, 0.1, signed=True)], ["b", None]]
    markdown, comma, latex = Table("t", ["", "difference"], rows, ["some faces are missing"]).write(tmp_path / "table")
    assert "-0.20 (-0.30 to +0.10)" in markdown.read_text()
    assert markdown.read_text().endswith("\n\n- some faces are missing\n")
    assert latex.read_text().startswith("% t\n% some faces are missing\n")
    assert comma.read_text().splitlines() == [
        ',difference,"difference, low","difference, high"',
        "a,-0.2,-0.3,0.1",
        "b,,,",
    ]


def test_the_start_has_a_line_only_where_it_is_one() -> None:
    grid = Grid("some", {}, {"a": {}, "b": {}}, [0])
    one, other = result("a", None, 0, 3, 9), result("b", None, 0, 4, 9)
    assert [row[0] for row in grid_table(grid, [one, other]).rows] == ["source only (the start)", "a", "b"]
    shown = {"photos": {"nme": 5.0}, "drawings": {"nme": 12.0}}
    untrained = Result(other.cell, {**other.metrics, "test": shown})
    assert [row[0] for row in grid_table(grid, [one, untrained]).rows] == ["a", "b"], "a row shows it already"
    start = {"test": {"photos": {"nme": 6.0}, "drawings": {"nme": 12.0}}}
    elsewhere = Result(other.cell, {**other.metrics, "source_only": start}, other.cost)
    assert [row[0] for row in grid_table(grid, [one, elsewhere]).rows] == ["a", "b"]


def test_profiles_are_marked_where_they_differ() -> None:
    grid = Grid("some", {}, {"a": {}, "b": {}}, [0])
    results = [result(name, None, 0, 3, 9) for name in "ab"]
    of = [Result(r.cell, {**r.metrics, "profile": p}, r.cost) for r, p in zip(results, ("quick", "paper"), strict=True)]
    table = grid_table(grid, of)
    assert (table.title, table.head[-1]) == ("some", "remark")
    assert [row[-1] for row in table.rows] == ["", "profile quick", "profile paper"]
    same = grid_table(grid, of[:1])
    assert (same.title, same.head[-1]) == ("some, profile quick", "faces")


def test_drawn_faces_and_files_are_not_mixed(tmp_path: Path) -> None:
    grid = Grid("some", {}, {"a": {}, "b": {}}, [0])
    for row, kind in (("a", "files"), ("b", "synthetic")):
        folder = tmp_path / f"{row}-seed0"
        folder.mkdir()
        (folder / "metrics.json").write_text(f'{{"data": "{kind}", "test": {{}}}}')
    with pytest.raises(UsageError, match="b-seed0 and others are of SYNTHETIC faces"):
        read_results(grid, tmp_path, grid.all_cells())
    assert len(read_results(grid, tmp_path, grid.all_cells(["a"]))) == 1


def test_a_table_of_drawn_faces_says_so() -> None:
    grid = Grid("some", {}, {"a": {}}, [0])
    drawn = Result(Cell("a", None, 0), {"test": {"x": {"nme": 1.0}}, "data": "synthetic"})
    assert "SYNTHETIC" in grid_table(grid, [drawn]).title
    assert "SYNTHETIC" not in grid_table(grid, [result("a", None, 0, 1, 2)]).title
