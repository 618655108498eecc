"""Rows against one of them: on the same faces and seeds alone; and a start is asked for no more often than needed."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.grids import differences
from experiments.grids.cells import Runner
from experiments.grids.differences import Comparison, FaceErrors, compare
from experiments.grids.grid import Cell, Grid

BOX = "annotated box"
COLUMN = (BOX, "paintings")


def errors(mean: float, count: int = 40, prefix: str = "a") -> dict[tuple[str, str], FaceErrors]:
    values = mean + np.random.default_rng(0).normal(0, 0.1, count)
    return {COLUMN: FaceErrors(values, [f"{prefix}{k}" for k in range(count)])}


def shown(table: Any) -> dict[str, str]:
    return {row[0]: str(row[1]) for row in table.rows}


def test_only_the_same_faces_are_compared() -> None:
    """A row that was tested on 32 paintings is no pair of one that was on 160, nor of one on 40 others."""
    rows = {"a": {0: errors(4.0)}, "few": {0: errors(5.0, 8)}, "others": {0: errors(5.0, 40, "b")}}
    found = Comparison("some", "a", {**rows, "old": {0: errors(4.5, 40, "")}, "unmeasured": {0: {}}})
    found.errors["old"][0][COLUMN].faces[:] = [""] * 40  # type: ignore[index]
    assert shown(found.tests()) | {"old": ""} == {
        **dict.fromkeys(("a", "few", "others", "unmeasured"), "None"),
        "old": "",
    }
    difference = shown(found.differences())
    assert difference["few"] == difference["others"] == difference["unmeasured"] == "None"
    assert difference["old"].endswith("+0.50 (+0.50 to +0.50)"), "a file without names is taken at its word"
    assert shown(found.intervals())["few"].startswith("5.")


def test_only_seeds_of_both_are_compared() -> None:
    found = Comparison("some", "a", {"a": {0: errors(4.0), 1: errors(9.0)}, "b": {0: errors(4.5), 2: errors(1.0)}})
    assert shown(found.differences())["b"].endswith(": +0.50 (+0.50 to +0.50)")
    assert [row[-1] for row in found.differences().rows] == ["2", "1"]


def test_p_is_corrected_over_rows() -> None:
    """Three rows without an effect and one with a small one, which alone would be below 0.05."""
    generator = np.random.default_rng(1)
    base = errors(4.0)[COLUMN]
    moved = {f"r{k}": base.nme + generator.normal(0.35 * (k == 0), 1, 40) for k in range(4)}
    rows = {name: {0: {COLUMN: FaceErrors(nme, base.faces)}} for name, nme in moved.items()}
    p = shown(Comparison("some", "base", {"base": {0: {COLUMN: base}}, **rows}).tests())
    alone = shown(Comparison("some", "base", {"base": {0: {COLUMN: base}}, "r0": rows["r0"]}).tests())
    assert float(p["r0"]) == pytest.approx(4 * float(alone["r0"]), abs=2e-4)
    assert p["base"] == "None"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    """The cells whose start was asked for."""
    cells: list[Cell] = []

    def start_of(self: Runner, cell: Cell) -> Path:
        cells.append(cell)
        return Path(f"start-{self.grid.rows[cell.row].get('landmarker', '')}{cell.seed}/landmarker.ckpt")

    monkeypatch.setattr(Runner, "start_of", start_of)
    monkeypatch.setattr(differences, "_kept", lambda *_: errors(4.0))
    return cells


def runner(tmp_path: Path, rows: dict[str, dict[str, Any]]) -> Runner:
    grid = Grid("some", {"setting": "gzsl_artiface", "profile": "quick"}, rows, [0, 1, 2])
    for cell in grid.all_cells():
        (tmp_path / cell.name / "checkpoints").mkdir(parents=True)
        (tmp_path / cell.name / "checkpoints/last.ckpt").touch()
    return Runner(grid, {}, tmp_path, train=lambda: tmp_path)


def test_a_start_is_asked_for_once_per_seed(tmp_path: Path, asked: list[Cell]) -> None:
    methods = ("fda", "revgrad", "stylize", "bdl", "cyclegan", "self_training", "supervised", "face_warping")
    rows = {name: {"method": name, "config": {"model": {"init_args": {"learning_rate": 1e-4}}}} for name in methods}
    some = runner(tmp_path, rows)
    found = compare(some, some.grid.all_cells(), "fda")
    assert [cell.seed for cell in asked] == [0, 1, 2]
    assert list(found.errors) == ["source only (the start)", *methods]
    # A row that shows the start itself has trained nothing: its errors are the start's.
    shutil.rmtree(tmp_path / "bdl-seed1/checkpoints")
    asked.clear()
    compare(some, some.grid.all_cells(), "fda")
    assert sorted(cell.row for cell in asked if cell.row == "bdl") == ["bdl"]


def test_several_starts_are_none(tmp_path: Path, asked: list[Cell]) -> None:
    some = runner(tmp_path, {"a": {"landmarker": "slpt"}, "b": {"landmarker": "hrnet"}})
    assert list(compare(some, some.grid.all_cells(), "a").errors) == ["a", "b"]
