"""A paper's values beside a grid's own: what is filled in is checked, what is not at hand is not invented."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.errors import UsageError
from experiments.grids.grid import Cell, Grid
from experiments.grids.overview import UNKNOWN, grid_table
from experiments.grids.published import AVERAGE, read_published
from experiments.grids.results import Result

PAPER = "conditional_face_warping"
SUBSETS = ("300w_full", "cariface", "artiface")
ROW = {"setting": "gzsl_artiface", "300w_full": 3.0, "cariface": 7.0, "artiface": 4.5, "average": 5.085}
"""(689 · 3 + 800 · 7 + 160 · 4.5) / 1649 = 5.0861"""


def made_up(folder: Path, **rows: dict[str, Any]) -> str:
    """A paper with one table; returns the table's name."""
    table = {"caption": "Made up.", "columns": [*SUBSETS, AVERAGE], "rows": rows}
    faces = {
        "everywhere": {"300w_full": 689, "cariface": 800},
        "by_setting": {"gzsl_artiface": {"artiface": 160}, "oracle": {"artiface": 32}},
    }
    content = {"citation": "Nobody, 2000.", "faces": faces, "average_of": list(SUBSETS), "tables": {"table1": table}}
    path = folder / "experiments/grids/papers/mine.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))
    return "mine/table1"


@pytest.fixture(autouse=True)
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def result(
    row: str, setting: str = "gzsl_artiface", seed: int = 0, data: str = "files", **test: tuple[float, int]
) -> Result:
    scores = {name.replace("w300", "300w"): {"nme": nme, "n": n} for name, (nme, n) in test.items()}
    return Result(Cell(row, None, seed), {"setting": setting, "data": data, "profile": "quick", "test": scores})


def columns(grid: Grid, results: list[Result]) -> list[dict[str, str]]:
    table = grid_table(grid, results)
    return [dict(zip(table.head, map(str, row), strict=True)) for row in table.rows]


def test_the_shipped_tables_are_read() -> None:
    """Whatever is filled in agrees with its row's average: this is checked at reading."""
    tables = {name: read_published(f"{PAPER}/{name}") for name in ("table2", "table3", "table4", "table5", "table6")}
    assert "CVPR 2024" in tables["table2"].citation
    second = tables["table2"].rows
    misprints = {name: row.values[AVERAGE] for name, row in second.items() if row.misprint}
    assert misprints == {"CariFace: FDA": 7.984, "ArtiFace: ASN": 10.407}
    faces = {name: tables["table2"].faces.of(row.setting, "artiface") for name, row in second.items()}
    assert all(count == (160 if name.startswith("CariFace") else 32) for name, count in faces.items())


def test_averages_are_weighted_by_numbers_of_faces(outside: Path) -> None:
    table = read_published(made_up(outside, ours=ROW, oracle={**ROW, "setting": "oracle", "average": 5.135}))
    assert table.weighted_average(table.rows["ours"]) == pytest.approx((689 * 3 + 800 * 7 + 160 * 4.5) / 1649)
    assert table.weighted_average(table.rows["oracle"]) == pytest.approx((689 * 3 + 800 * 7 + 32 * 4.5) / 1521)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"average": 5.2}, "the average is 5.2; expected 5.086"),
        ({"setting": "oracle", "average": 5.2}, r"weighted by 689 \(300w_full\), 800 \(cariface\), 32 \(artiface\)"),
        ({"cariface": "7,0"}, "expected a number or null for each of"),
        ({"artface": 4.5}, "expected a number or null for each of"),
    ],
)
def test_what_does_not_agree_is_refused(outside: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_published(made_up(outside, ours={**ROW, **changes}))


def test_misprints_and_values_that_are_not_at_hand_are_accepted(outside: Path) -> None:
    misprint = {**ROW, "average": 7.984, "misprint": [AVERAGE]}
    table = read_published(made_up(outside, a=misprint, b={**ROW, "cariface": None, "average": 9.0}))
    assert table.weighted_average(table.rows["b"]) is None


def test_names_that_are_not_there(outside: Path) -> None:
    name = made_up(outside, ours=ROW)
    with pytest.raises(UsageError, match=r"PAPER=min is not known\. Did you mean 'mine'"):
        read_published("min/table1")
    with pytest.raises(UsageError, match=r"has no table 'table2'\. Did you mean 'table1'"):
        read_published("mine/table2")
    grid = Grid("some", {}, {"a": {"published": "our"}}, [0], published=name)
    with pytest.raises(UsageError, match=r"'our' is no row of mine/table1\. Did you mean 'ours'"):
        grid_table(grid, [])


def test_values_and_differences_beside_ones_own(outside: Path) -> None:
    misprint = {**ROW, "average": 7.984, "misprint": [AVERAGE]}
    name = made_up(outside, ours=ROW, odd=misprint, half={**ROW, "cariface": None, "average": None})
    rows = {"a": {"published": "ours"}, "b": {"published": "odd"}, "c": {"published": "half"}, "mine": {}, "gone": {}}
    grid = Grid("some", {}, rows, [0, 1], published=name)
    whole = {"w300_full": (3.0, 689), "cariface": (7.5, 800), "artiface": (4.0, 160)}
    results = [result(row, seed=0, **whole) for row in ("a", "b", "c", "mine")]
    results.append(result("a", seed=1, **{**whole, "cariface": (8.5, 800)}))
    a, b, c, mine, gone = columns(grid, results)
    assert (a["cariface, NME %"], a["cariface, paper"], a["cariface, difference"]) == ("8.00 ± 0.71", "7.00", "+1.00")
    assert a["artiface, difference"] == "-0.50"
    weighted = [(689 * 3 + 800 * nme + 160 * 4) / 1649 for nme in (7.5, 8.5)]
    assert a["average, NME %"].startswith(f"{sum(weighted) / 2:.2f} ± ")
    assert (a["average, paper"], a["seeds"], a["faces"]) == ("5.085", "2 of 2", "689, 800, 160")
    assert (b["average, paper"], b["average, difference"]) == ("7.984*", "None")
    assert (c["cariface, paper"], c["cariface, difference"], c["average, paper"]) == (UNKNOWN, "None", UNKNOWN)
    assert (mine["cariface, paper"], mine["remark"], gone["cariface, NME %"]) == ("", "not in the paper", "None")
    notes = " ".join(grid_table(grid, results).notes)
    assert "Nobody, 2000." in notes
    assert "A misprint" in notes
    assert "n/N" not in notes
    assert "No average" not in notes


def test_partial_sets_and_missing_ones_are_marked(outside: Path) -> None:
    """As the real faces at hand are: no challenge set, so no full one; fewer caricatures and paintings."""
    grid = Grid("some", {}, {"a": {"published": "ours"}}, [0], published=made_up(outside, ours=ROW))
    table = grid_table(grid, [result("a", w300_common=(3.1, 554), cariface=(9.0, 25), artiface=(4.4, 128))])
    (a,) = (dict(zip(table.head, map(str, row), strict=True)) for row in table.rows)
    assert (a["300w_full, NME %"], a["average, NME %"], a["faces"]) == ("None", "None", "0, 25/800, 128/160, 554")
    assert "No average of the paper's kind: there is no 300w_full." in table.notes
    assert any(note.startswith("n/N: n of the N published test faces") for note in table.notes)


def test_drawn_faces_are_not_held_against_a_paper(outside: Path) -> None:
    grid = Grid("some", {}, {"a": {"published": "ours"}}, [0], published=made_up(outside, ours=ROW))
    drawn = result("a", data="synthetic", w300_full=(3.0, 64), cariface=(7.5, 64), artiface=(4.0, 64))
    (a,) = columns(grid, [drawn])
    assert (a["cariface, paper"], a["faces"]) == ("7.00", "64, 64, 64")
    assert not any("difference" in name for name in a)
