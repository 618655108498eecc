"""The wheel: what it holds, and that ``warpmark`` trains from a folder that knows nothing of the checkout."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from experiments.catalogue import CONFIGS
from lightning_modules.weights import shipped
from tests.experiments.helpers import TINY, metrics, write_config

ROOT = CONFIGS.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what git tracks, in this environment, whose setuptools serves."""
    top = tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in tracked.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (top / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (top / "source" / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(top), str(top / "source")]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = top.glob("*.whl")
    return path


def test_it_holds_the_choices_and_not_the_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    chosen = [*CONFIGS.rglob("*.yaml"), *(ROOT / "experiments").rglob("*.yaml")]
    assert {path.relative_to(ROOT).as_posix() for path in chosen} <= names
    assert not any(name.startswith(("tests/", "runs/")) for name in names)


def test_it_holds_the_shipped_weights_their_cards_and_figures(wheel: Path) -> None:
    assert shipped()
    with zipfile.ZipFile(wheel) as archive:
        for path in shipped().values():
            for file in (path, path.with_suffix(".md"), path.with_suffix(".json")):
                assert archive.read(file.relative_to(ROOT).as_posix()) == file.read_bytes()


@pytest.mark.slow
def test_warpmark_trains_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own that has the wheel; what it requires is this environment's."""
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    site = tmp_path / "env" / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    installed = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*installed, str(wheel)], check=True, capture_output=True)
    # After it, so that the checkout, which is installed for editing there, is not what runs.
    (site / "requirements.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    config = write_config(tmp_path / "tiny.yaml", TINY, {"trainer": {"max_epochs": 1}})
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(program: str, *words: str) -> str:
        command = [str(python.with_name(program)), *words]
        done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("warpmark", "train", "--setting=gzsl_artiface", config, "--paths.runs=here")
    assert metrics(empty / "here/gzsl_artiface/face_warping-slpt/seed0")["data"] == "synthetic"
    assert sorted(path.name for path in empty.iterdir()) == ["here"]
    assert str(site) in run("python", "-c", "import experiments; print(experiments.__file__)"), (
        "the wheel's is what ran"
    )
