"""The grids of the paper's tables: every printed row, and what a smoke run of some of them writes."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.catalogue import file_of
from experiments.commands.grid import grid
from experiments.grids.grid import read_grid
from experiments.grids.published import read_published
from tests.experiments.helpers import TINY_LANDMARKER, metrics

TABLES = [f"table{k}" for k in range(2, 7)]
ROWS = ("CariFace: SL", "CariFace: Ours")


@pytest.mark.parametrize("name", TABLES)
def test_every_printed_row_is_in_its_grid(name: str) -> None:
    shipped = read_grid(name)
    published = read_published(shipped.published)
    assert {row["published"] for row in shipped.rows.values() if "published" in row} == set(published.rows)
    for row, choices in shipped.rows.items():
        setting = {**shipped.choices, **choices}["setting"]
        assert "published" not in choices or published.rows[choices["published"]].setting == setting, row


@pytest.mark.parametrize("name", TABLES)
def test_profiles_of_a_table(name: str) -> None:
    """The published program is not cut; a smoke run has one seed."""
    quick, paper, smoke = (read_grid(name, profile) for profile in ("", "paper", "smoke"))
    assert quick.budget
    assert not paper.budget
    assert not {"pretraining", "trainer"} & set(paper.config)
    assert len(paper.seeds) == 3
    assert list(smoke.seeds) == [0]


def test_rows_that_are_starts_train_nothing_more() -> None:
    """Nor do they cut the training of the start itself."""
    for name in ("table2", "table3", "table4"):
        shipped = read_grid(name)
        starts = [cell for cell in shipped.all_cells(seeds=[0]) if "cells" in shipped.rows[cell.row]]
        assert len(starts) == {"table2": 3}.get(name, 6)
        for cell in starts:
            in_cell, of_start = (shipped.choices_of(cell, {}, further).config for further in ([], None))
            assert {"trainer": {"limit_train_batches": 0}} in in_cell
            assert all("limit_train_batches" not in str(layer) for layer in of_start)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Table 2 in the smallest form: two of its rows run, with a tiny landmarker."""
    top = tmp_path_factory.mktemp("table2")
    content = yaml.safe_load(file_of("grid", "table2").read_text())
    tiny = {
        "trainer": {"accelerator": "cpu"},
        "paths": {"runs": str(top / "runs")},
        "model": {"init_args": {"landmarker": TINY_LANDMARKER}},
        "data": {"limit": 8},
    }
    content["profiles"]["smoke"]["config"] = tiny
    (top / "table2.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    out = str(top / "out")
    grid(str(top / "table2.yaml"), profile="smoke", out=out, rows=ROWS, isolated=False, against="CariFace: SL")
    return top / "out"


def lines(file: Path) -> dict[str, dict[str, str]]:
    with file.open(newline="") as rows:
        return {row[""]: row for row in csv.DictReader(rows)}


def test_a_smoke_run_writes_every_row_in_every_format(smoke: Path) -> None:
    found = lines(smoke / "table.csv")
    assert list(found) == list(read_grid("table2").rows)
    for suffix in ("md", "tex"):
        text = (smoke / f"table.{suffix}").read_text().replace(r"\_", "_")
        assert all(row in text for row in found)
        assert "SYNTHETIC faces: not results. table2, profile smoke" in text
        assert "7.984*" in text
        assert "CVPR 2024" in text
    ours, missing = found["CariFace: Ours"], found["ArtiFace: FDA"]
    assert (ours["artiface, paper"], ours["cariface, paper"]) == ("3.95", "?")
    assert (missing["artiface, NME %"], missing["seeds"]) == ("", "0 of 1")
    assert found["CariFace: stylize"]["remark"] == "not in the paper"


def test_the_average_is_that_of_the_run(smoke: Path) -> None:
    """Over all faces of all sets, so weighted by their numbers; 300w_full holds the common and the challenging ones."""
    found = lines(smoke / "table.csv")["CariFace: Ours"]
    run = metrics(smoke / "CariFace_Ours-seed0")
    assert float(found["average, NME %"]) == pytest.approx(run["average_nme"])
    assert found["faces"] == "8, 8, 8, 7, 1"


def test_source_only_rows_are_the_start_of_the_others(smoke: Path) -> None:
    ours, start = (metrics(smoke / f"CariFace_{name}-seed0") for name in ("Ours", "SL"))
    scores = [run["test"] for run in (start, start["source_only"], ours["source_only"])]
    first, *others = ([values["nme"] for values in test.values()] for test in scores)
    assert all(other == pytest.approx(first, rel=1e-4) for other in others)
    assert ours["test"] != start["test"]
    assert not (smoke / "CariFace_SL-seed0/checkpoints/last.ckpt").exists()


def test_source_only_rows_can_be_compared_with(smoke: Path) -> None:
    found = lines(smoke / "tests.csv")
    assert list(found) == ["source only (the start)", *ROWS]
    first = next(name for name in found["CariFace: SL"] if name.startswith("cariface, "))
    assert 0 < float(found["CariFace: Ours"][first]) <= 1
    assert (found["CariFace: SL"][first], found["source only (the start)"][first]) == ("", "1.0000")


def test_a_shipped_grid_is_not_changed_by_being_read() -> None:
    shipped = read_grid("table2")
    assert replace(shipped) == read_grid("table2")


def test_smoke_cuts_every_training(smoke: Path) -> None:
    config: dict[str, Any] = yaml.safe_load((smoke / "CariFace_Ours-seed0/config.yaml").read_text())
    assert config["trainer"]["limit_train_batches"] == 2
    assert metrics(smoke / "CariFace_Ours-seed0")["profile"] == "smoke"
    assert '"steps": 8' in (smoke / "CariFace_Ours-seed0/cost.json").read_text()
