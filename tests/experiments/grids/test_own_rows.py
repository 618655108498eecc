"""A new method's row and a user's own data set in a table beside printed values: by YAML, and the method's module."""

from pathlib import Path

import pytest
import yaml

from tests.experiments.helpers import run
from tests.experiments.test_extension import outside

__all__ = ["outside"]

GRID = {
    "choices": {"setting": "busts", "landmarker": "moved_mean_face", "profile": "smoke"},
    "published": "mine/busts",
    "seeds": [0],
    "config": {"trainer": {"accelerator": "cpu"}},
    "rows": {
        "labels alone": {
            "method": "supervised",
            "published": "theirs",
            "config": {"model": {"init_args": {"continue_from_start": True}}},
            "cells": {"trainer": {"limit_train_batches": 0}},
        },
        "mean agreement": {"method": "mean_agreement"},
    },
}
PAPER = {
    "citation": "Nobody, 2000.",
    "faces": {"everywhere": {"busts": 2}, "by_setting": {}},
    "average_of": ["busts"],
    "tables": {
        "busts": {"caption": "Busts.", "columns": ["busts"], "rows": {"theirs": {"setting": "busts", "busts": 1.25}}}
    },
}


def test_a_row_and_a_data_set_of_ones_own(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grids = outside / "experiments/grids"
    (grids / "papers").mkdir(parents=True)
    (grids / "busts.yaml").write_text(yaml.safe_dump(GRID, sort_keys=False))
    (grids / "papers/mine.yaml").write_text(yaml.safe_dump(PAPER))
    run("grid", "busts", "--isolated=false", "--out", outside / "out")
    head, _, theirs, mine = (outside / "out/table.md").read_text().splitlines()[2:6]
    names = [name.strip() for name in head.split("|")]
    line = dict(zip(names, (entry.strip() for entry in theirs.split("|")), strict=True))
    assert (line["busts, paper"], line["faces"], line["seeds"]) == ("1.25", "3/2", "1 of 1")
    nme, difference = float(line["busts, NME %"]), float(line["busts, difference"])
    assert difference == pytest.approx(nme - 1.25, abs=0.011)
    assert "| mean agreement " in mine
    assert "not in the paper" in mine
    assert "Nobody, 2000." in capsys.readouterr().out
