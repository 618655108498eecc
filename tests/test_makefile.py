"""What make hands to the program: each value as it was given, whatever is in it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
QUOTED = """make train METHOD=stylize ARGS="--trainer.max_epochs=3 --data.seed='1'" # `date` \\ ; 5"""


@pytest.fixture(autouse=True)
def nothing_from_make_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `make test` exports to these tests is not given by the user of the make that they run."""
    for name in ("SETTING", "PROFILE", "SEED", "GRID", "SWEEP", "ARGS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """An environment that is up to date, whose Python writes down its arguments."""
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    said = f"import json, sys; open({str(tmp_path / 'said.json')!r}, 'w').write(json.dumps(sys.argv[1:]))"
    python.write_text(f"#!{sys.executable}\n{said}\n")
    python.chmod(0o755)
    for stamp in (".ready", ".predict"):  # the latter last: it is made from the former
        (tmp_path / stamp).touch()
    return tmp_path


def make(venv: Path, *words: str) -> list[str]:
    """The words that ``python -m experiments`` is given."""
    done = run_make(venv, *words)
    assert done.returncode == 0, done.stderr
    module, name, *said = json.loads((venv / "said.json").read_text())
    assert (module, name) == ("-m", "experiments")
    return said  # type: ignore[no-any-return]


def run_make(venv: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *words, f"VENV={venv}"], cwd=ROOT, capture_output=True, text=True, check=False, env=clean
    )


def test_quotes_in_what_weights_are_packed_with(venv: Path) -> None:
    said = make(venv, "pack", "CKPT=a b.ckpt", "NAME=tiny", f"MADE_BY={QUOTED}", 'TRAINED_ON=2,012 "photos" of 300W\'s')
    assert said == [
        *("pack", "--ckpt", "a b.ckpt", "--name", "tiny", "--made-by", QUOTED),
        *("--trained-on", '2,012 "photos" of 300W\'s'),
    ]


@pytest.mark.parametrize("missing", ["CKPT", "NAME", "MADE_BY", "TRAINED_ON"])
def test_what_weights_are_packed_with_must_be_given(venv: Path, missing: str) -> None:
    given = [f"{name}=x" for name in ("CKPT", "NAME", "MADE_BY", "TRAINED_ON") if name != missing]
    done = run_make(venv, "pack", *given)
    assert done.returncode != 0
    assert "CKPT, NAME, MADE_BY and TRAINED_ON are not all set" in done.stderr
    assert not (venv / "said.json").exists()


def test_quotes_in_names_of_folders(venv: Path) -> None:
    odd = """my "best" faces, Anna's"""
    said = make(venv, "train", "SETTING=own", f"SOURCE={odd}", f"TARGET={odd}2", f"TEST={odd}3", "METHOD=stylize")
    assert said == [
        *("train", "--setting", "own", "--profile", "quick", "--seed", "0"),
        *("--method", "stylize", "--source", odd, "--target", f"{odd}2", "--test", f"{odd}3"),
    ]
    assert make(venv, "grid", f"GRID={odd}.yaml") == ["grid", f"{odd}.yaml"]
    assert make(venv, "import-weights", "LANDMARKER=star", f"FROM={odd}")[-1] == odd
    assert make(venv, "evaluate", f"TEST={odd}", f"OUT={odd}.json")[1:] == ["--test", odd, "--out", f"{odd}.json"]


@pytest.mark.parametrize(
    ("word", "given"),
    [("1", True), ("yes", True), ("True", True), ("on", True), ("0", False), ("off", False), ("", False)],
)
def test_truth_as_people_write_it(venv: Path, word: str, given: bool) -> None:
    assert ("--resume" in make(venv, "train", f"RESUME={word}")) == given
    assert ("--ema" in make(venv, "train", f"EMA={word}")) == given


def test_what_is_neither_true_nor_false(venv: Path) -> None:
    done = run_make(venv, "train", "RESUME=maybe")
    assert done.returncode != 0
    assert "RESUME=maybe is not understood: give RESUME=1, or leave it out" in done.stderr
    assert not (venv / "said.json").exists()


@pytest.mark.parametrize(
    ("variable", "nearest"), [("LANDMAKER", "LANDMARKER"), ("method", "METHOD"), ("SEEDS", "SEED"), ("OUTPUT", "OUT")]
)
def test_a_misspelt_variable_is_refused(venv: Path, variable: str, nearest: str) -> None:
    done = run_make(venv, "train", f"{variable}=x")
    assert done.returncode != 0
    assert f"{variable} is no variable of this Makefile. Did you mean {nearest}?" in done.stderr
    assert not (venv / "said.json").exists()


def test_variables_of_other_programs_are_let_through(venv: Path) -> None:
    assert make(venv, "train", "WANDB_MODE=offline", "CUDA_VISIBLE_DEVICES=0", "WANDB=1")[-1] == "--wandb"


def test_export(venv: Path) -> None:
    assert make(venv, "export") == ["export"]
    said = make(venv, "export", "CKPT=a b.ckpt", "OUT=m.onnx", "PRECISION=int8", "IMAGES=my faces")
    assert said == [
        *("export", "--ckpt", "a b.ckpt", "--out", "m.onnx", "--precision", "int8", "--images", "my faces"),
    ]


def test_peers(venv: Path) -> None:
    assert make(venv, "peers", "DATA=faces") == ["peers", "--data", "faces"]
    said = make(venv, "peers", "DATA=faces", "PEERS=theirs", "BESIDE=a.ckpt b.ckpt", "OUT=table")
    assert said == ["peers", "--data", "faces", "--peers", "theirs", "--beside", "a.ckpt", "b.ckpt", "--out", "table"]
    assert "DATA is not set" in run_make(venv, "peers").stderr


def test_demo_installs_what_it_needs_once(venv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installer = tmp_path / "path/uv"
    installer.parent.mkdir()
    installer.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/installed"\n')
    installer.chmod(0o755)
    monkeypatch.setenv("PATH", str(installer.parent), prepend=os.pathsep)
    assert make(venv, "demo") == ["demo"]
    assert make(venv, "demo", "CKPT=a.ckpt b.ckpt", "ARGS=--port 8000") == [
        *("demo", "--ckpt", "a.ckpt", "b.ckpt", "--port", "8000"),
    ]
    (line,) = (tmp_path / "installed").read_text().splitlines()
    assert line.startswith("pip install ")
    assert line.endswith("-e .[demo]")


def test_predict(venv: Path) -> None:
    assert make(venv, "predict", "INPUT=my faces") == ["predict", "--input", "my faces"]
    said = make(venv, "predict", "INPUT=a", "CKPT=b.ckpt", "OUT=c", "DETECTOR=whole", "OVERWRITE=1", "ARGS=--mirror")
    assert said == [
        *("predict", "--input", "a", "--ckpt", "b.ckpt", "--out", "c", "--detector", "whole"),
        *("--overwrite", "--mirror"),
    ]
    assert "INPUT is not set" in run_make(venv, "predict").stderr


def test_grids_and_sweeps(venv: Path) -> None:
    assert make(venv, "grid", "GRID=methods", "JOBS=4") == ["grid", "methods", "--jobs", "4"]
    assert make(venv, "sweep") == ["sweep", "stylize"]
    said = make(venv, "sweep", "SWEEP=my sweep.yaml", "DATA=my faces", "TRIALS=3", "JOBS=2", "OUT=here", "ARGS=--local")
    assert said == [
        *("sweep", "my sweep.yaml", "--data", "my faces", "--trials", "3", "--jobs", "2", "--out", "here", "--local"),
    ]


@pytest.mark.parametrize("name", [*(f"table{k}" for k in range(2, 7)), *(f"figure{k}" for k in (3, 5, 6, 7, 8))])
def test_the_papers_tables_and_figures_are_grids(venv: Path, name: str) -> None:
    assert make(venv, name) == ["grid", name]


def test_what_a_grid_is_given(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own profile stands unless another is given, on the command line or in the environment."""
    said = make(venv, "table2", "DATA=my faces", "PROFILE=smoke", "OUT=some where", "JOBS=2", "ARGS=--rows Oracle")
    given = ["--data", "my faces", "--profile", "smoke", "--out", "some where", "--jobs", "2", "--rows", "Oracle"]
    assert said == ["grid", "table2", *given]
    assert make(venv, "grid", "PROFILE=paper", "JOBS=3") == ["grid", "methods", "--profile", "paper", "--jobs", "3"]
    monkeypatch.setenv("PROFILE", "quick")
    assert make(venv, "table6") == ["grid", "table6", "--profile", "quick"]


def test_help_tells_of_them(venv: Path) -> None:
    said = run_make(venv, "help").stdout
    assert "make table2 … table6 the paper's tables" in said
    assert "make figure3, 5 … 8  the paper's figures" in said
