"""The scripts in examples/ run as they stand, on small faces."""

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from datamodules.synthetic import draw_face
from tests.experiments.conftest import OwnFolders, own_folders
from tests.experiments.helpers import TINY, merged, metrics, run

__all__ = ["own_folders"]
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to run scripts in; they are found as by ``python examples/NAME.py``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield tmp_path
    for path in EXAMPLES.glob("*.py"):
        sys.modules.pop(path.stem, None)


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


def test_adapting_to_a_folder(place: Path, own_folders: OwnFolders, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = merged({key: TINY[key] for key in ("trainer", "pretraining", "model")}, {"data": {"batch_size": 3}})
    main = script("adapt_to_a_folder").main
    folder = main(str(own_folders.source), str(own_folders.target), method="face_warping", config=[tiny])
    assert metrics(folder)["setting"] == "own"
    assert capsys.readouterr().out.count("the tip of the nose is at") == 5


def test_a_method_of_ones_own(place: Path) -> None:
    folder = script("own_method").main(merged(TINY, {"trainer": {"max_epochs": 1}}))
    assert metrics(folder)["method"] == "mirror_agreement"
    assert "agreement: 1.0" in (folder / "config.yaml").read_text()
    assert "stylization" not in (folder / "config.yaml").read_text()


def test_warping_a_photo(place: Path) -> None:
    for name, style in (("photo.png", "photo"), ("drawing.png", "caricature")):
        Image.fromarray(draw_face(style, 7, 2, 256)[0]).save(name)
    script("warp_a_photo").main("photo.png", "drawing.png", "warped.png")
    with Image.open("warped.png") as warped:
        assert warped.size == (384, 384)


def test_what_the_readme_does_with_a_picture(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its first command for a picture of one's own, and its lines of Python."""
    readme = (EXAMPLES.parent / "README.md").read_text()
    (picture,) = re.findall(r"^make predict INPUT=(\S+)", readme, re.MULTILINE)
    run("predict", "--input", str(EXAMPLES.parent / picture))
    assert Path("predictions/index.html").is_file()
    assert len(json.loads(Path("predictions/predictions.json").read_text())["pictures"][0]["faces"]) == 1

    (program,) = re.findall(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    Image.open(EXAMPLES / "drawing.png").convert("RGB").save("portrait.jpg")
    capsys.readouterr()
    exec(program, {})
    assert len(capsys.readouterr().out.splitlines()) == 1
