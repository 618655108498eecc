"""Comparisons: rows of whole runs under one budget, and their table."""

import json
import subprocess
from pathlib import Path
from typing import IO, Any

import pytest
import torch
import yaml
from torch import nn

from experiments.catalogue import names
from experiments.comparison import Cell, Comparison, cells, command_line, read_comparison, seconds_per_step
from experiments.comparison_table import Result, comparison_table
from experiments.landmarker_cost import LandmarkerCost, landmarker_costs
from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput
from lightning_modules.methods import Supervised
from tests.experiments.helpers import TINY, merged, metrics, refused, run

CHOICES = {"setting": "da_cariface", "landmarker": "slpt", "profile": "quick"}
ROWS: dict[str, dict[str, Any]] = {
    "on, alone": {"method": "supervised", "config": {"model": {"init_args": {"continue_from_start": True}}}},
    "warping": {"method": "face_warping", "config": {"model": {"init_args": {"proximal_epochs": 1}}}},
}


def write(path: Path, **changes: Any) -> Path:
    content = {"names": CHOICES, "seeds": [3], "budget": {"epochs": 2, "steps_per_epoch": 3}, "rows": ROWS, **changes}
    path.write_text(yaml.safe_dump(content))
    return path


def tiny(runs: Path) -> dict[str, Any]:
    return merged(TINY, {"paths": {"runs": str(runs)}})


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison whose second run is in a process of its own, as all are; importing torch takes that one seconds."""
    top = tmp_path_factory.mktemp("compared")
    file = write(top / "some.yaml", config=tiny(top))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("experiments.comparison.subprocess.run", in_this_process)
        run("compare", str(file), "--out", str(top / "out"), "--rows", "on, alone")
    run("compare", str(file), "--out", str(top / "out"))
    return top


def in_this_process(command: list[str], stdout: IO[str], **_: Any) -> subprocess.CompletedProcess[str]:
    if any("dies-seed3" in option for option in command):
        stdout.write("first\nout of memory\n")
        return subprocess.CompletedProcess(command, 9)
    run(*command[3:])
    return subprocess.CompletedProcess(command, 0)


def test_each_row_is_a_run(compared: Path) -> None:
    for folder, method in (("on_alone-seed3", "supervised"), ("warping-seed3", "face_warping")):
        found = metrics(compared / "out" / folder)
        assert (found["method"], found["seed"], found["data"]) == (method, 3, "synthetic")
        cost = json.loads((compared / "out" / folder / "cost.json").read_text())
        assert (cost["epochs"], cost["steps"]) == (2, 6)
        assert cost["seconds"] > 0
        assert cost["cpu_seconds"] > 0
        assert cost["peak_memory_mib"] > 100


def test_all_rows_have_one_start(compared: Path) -> None:
    starts = [metrics(compared / "out" / folder)["source_only"] for folder in ("on_alone-seed3", "warping-seed3")]
    assert starts[0] == starts[1]
    assert len(list((compared / "pretrained").glob("*/landmarker.ckpt"))) == 1


def test_its_table(compared: Path) -> None:
    head, _, start, alone, warping = (compared / "out/table.md").read_text().splitlines()
    assert "photo NME %" in head
    assert "caricature NME %" in head
    found = metrics(compared / "out/warping-seed3")
    assert start.startswith("| source only (the start) | ")
    assert f"{found['source_only']['test']['photo']['nme']:.2f}" in start
    assert alone.startswith("| on, alone |")
    assert f"| {found['test']['caricature']['nme']:.2f} | 6 |" in warping


def test_what_is_done_is_not_done_again(compared: Path) -> None:
    before = (compared / "out/warping-seed3/metrics.json").stat().st_mtime_ns
    run("compare", str(compared / "some.yaml"), "--out", str(compared / "out"), "--rows", "warping")
    assert (compared / "out/warping-seed3/metrics.json").stat().st_mtime_ns == before


def test_runs_that_fail_are_named_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is refused by the command line, one has no start to begin from, one dies on the way."""
    monkeypatch.setattr("experiments.comparison.subprocess.run", in_this_process)
    rows: dict[str, dict[str, Any]] = {
        "wrong": {"method": "supervised", "config": {"model": {"init_args": {"warmups": 1}}}},
        "homeless": {"method": "face_warping", "config": {"pretraining": {"checkpoint": "nowhere.ckpt"}}},
        "dies": {"method": "supervised"},
        "right": {"method": "supervised"},
    }
    file = write(tmp_path / "some.yaml", config=tiny(tmp_path), rows=rows)
    message = refused(capsys, "compare", str(file), "--out", str(tmp_path / "out"))
    assert "3 runs failed" in message
    assert "wrong-seed3: its options were refused with status 2" in message
    assert "homeless-seed3 could not be begun: CheckpointError: " in message
    assert "dies-seed3 ended with status 9: ['out of memory']" in message
    assert metrics(tmp_path / "out/right-seed3")["seed"] == 3
    assert len((tmp_path / "out/table.md").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": {"epochs": 3}}, "budget is {'epochs': 3}; expected {minutes}, or {epochs, steps_per_epoch}"),
        ({"rows": {"a": {"net": "slpt"}}}, "row 'a' has ['net']"),
        ({"speeds": []}, "expected the keys ['budget', 'names', 'rows', 'seeds']"),
        (
            {"budget": {"minutes": 1}, "rows": {"warping": ROWS["warping"]}},
            "a budget in minutes is for METHOD=supervised",
        ),
    ],
)
def test_files_that_are_not_as_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    file = write(tmp_path / "some.yaml", **changes)
    assert message in refused(capsys, "compare", str(file), "--out", str(tmp_path / "out"))


def test_names_that_are_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'methods'" in refused(capsys, "compare", "metods")
    assert "'stylise' is no row of methods" in refused(capsys, "compare", "methods", "--rows", "stylise")


class TestShipped:
    def test_every_landmarker_is_compared(self) -> None:
        chosen = read_comparison("landmarkers")
        assert {row["landmarker"] for row in chosen.rows.values()} == set(names("landmarker"))

    def test_every_method_is_compared(self) -> None:
        assert {row["method"] for row in read_comparison("methods").rows.values()} == set(names("method"))

    @pytest.mark.parametrize("name", ["landmarkers", "methods"])
    def test_rows_that_say_more_than_names_can_be_made(self, name: str) -> None:
        chosen = read_comparison(name)
        rows = [row for row, choices in chosen.rows.items() if "config" in choices] or ["sbr"]
        for cell in cells(chosen, rows, chosen.seeds[:1])[:3]:
            line = command_line(chosen, cell, ["--source=photos", "--target=drawings"])
            assert line.options.run.profile == chosen.names["profile"]


def test_a_step_is_timed() -> None:
    chosen = Comparison("some", CHOICES, [0], {"minutes": 1}, {"a": {"method": "supervised"}}, config=TINY)
    cli = command_line(chosen, Cell("a", None, 0), [])
    assert isinstance(cli.method, Supervised)
    assert 0.001 < seconds_per_step(cli.method, cli) < 10


def test_a_table_shows_the_value_that_is_best_on_the_first_figure_and_all_seeds() -> None:
    chosen = Comparison("some", {}, [0, 1], {"minutes": 1}, {"a": {}}, "model.rate", [0.1, 0.2])

    def result(value: float, seed: int, photos: float, drawings: float) -> Result:
        test = {"photos": {"nme": photos}, "drawings": {"nme": drawings}}
        cost = {"steps": 10, "epochs": 2, "cpu_seconds": 30.0, "peak_memory_mib": 1000.4}
        return Result(Cell("a", value, seed), {"test": test}, cost)

    results = [result(0.1, 0, 3, 9), result(0.2, 0, 2, 10), result(0.1, 1, 3, 9), result(0.2, 1, 2.5, 11)]
    cost = LandmarkerCost(3_000_000, 2_000_000_000, {1: 10.0, 16: 60.4})
    *_, line = comparison_table(chosen, results, {"a": cost}).splitlines()
    assert line == "| a | 0.2 | 2.25 (2.00, 2.50) | 10.50 (10.00, 11.00) | 10 | 15 | 1000 | 3.00 | 2.00 | 60 | 10 |"


class _Shift(nn.Module):
    """A parameter of one module is another's argument, as in SLPT."""

    def forward(self, landmarks: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
        return landmarks + by


class _OneLayer(Landmarker):
    image_size = 8

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 64, 136, bias=False)
        self.shift = _Shift()
        self.by = nn.Parameter(torch.zeros(2))

    def forward(self, images: torch.Tensor) -> LandmarkerOutput:
        return LandmarkerOutput(self.shift(self.layer(images.flatten(1)).view(-1, 1, 68, 2), self.by))

    def loss(self, *args: Any) -> torch.Tensor:
        raise NotImplementedError


def test_the_cost_of_a_landmarker() -> None:
    cost = landmarker_costs({"one": _OneLayer()}, rounds=1)["one"]
    assert cost.parameters == 192 * 136 + 2
    assert cost.flops == 2 * 192 * 136
    assert cost.images_per_second[16] > 0
