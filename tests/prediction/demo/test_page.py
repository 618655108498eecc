"""The page's parts and what is put into them; tests/experiments/commands/test_demo.py looks at it in a browser."""

import asyncio
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datamodules.faces import ByteArray
from datamodules.synthetic import draw_face
from prediction.demo import page
from prediction.demo.answers import Demo
from prediction.faces import PredictedFace

gradio = pytest.importorskip("gradio")


def one_face(image: ByteArray) -> Sequence[PredictedFace]:
    landmarks = draw_face("photo", 0, 5, len(image), 0.6)[1].landmarks.astype(np.float64)
    return [PredictedFace(landmarks, np.full(68, 1.0), np.zeros(4), 0.9)]


def faulty(image: ByteArray) -> Sequence[PredictedFace]:
    raise RuntimeError("secret <detail>")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where gradio puts the examples."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    return Demo({"ours": one_face, "theirs": lambda image: []}, tmp_path)


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.fromarray(draw_face("photo", 0, 5, 96, 0.6)[0]).save(tmp_path / "face <1>.png")
    return str(tmp_path / "face <1>.png")


def built(demo: Demo) -> Any:
    """The page, made within an event loop: without one gradio makes its own, which it never closes."""

    async def build() -> Any:
        return page.build(demo)

    return asyncio.run(build())


def parts(blocks: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = blocks.get_config_file()["components"]
    return found


def test_each_checkpoint_has_its_panel(demo: Demo) -> None:
    labels = [part["props"].get("label") for part in parts(built(demo))]
    assert labels.count("ours") == labels.count("theirs") == 1
    assert labels.count("Points as .pts (zip)") == labels.count("Points as .json") == 2


def test_one_landmarker_does_one_thing_at_a_time(demo: Demo) -> None:
    events = [event for event in built(demo).fns.values() if isinstance(event.fn, partial)]
    assert len(events) == 2
    assert {(event.concurrency_id, event.concurrency_limit) for event in events} == {("landmarker", 1)}


def test_nothing_on_the_page_names_another_machine(demo: Demo) -> None:
    blocks = built(demo)
    assert not blocks.analytics_enabled
    assert re.findall(r"https?://[^\s\"']+", str([part["props"] for part in parts(blocks)])) == []


def test_answers_go_to_the_panels_in_their_order(demo: Demo, picture: str) -> None:
    said, *shown = page._find(gradio, demo, picture)
    assert "ours: 1 face" in said
    assert "theirs: no face" in said
    assert len(shown) == 2 * 4
    assert shown[0].shape == shown[4].shape == (480, 480, 3)
    assert shown[1].count("<tr>") == 2
    assert shown[5] == ""


def test_no_picture_is_no_error(demo: Demo, picture: str) -> None:
    for values in (page._find(gradio, demo, None), page._warp(gradio, demo, None, None, 0.0, "ours")):
        assert 'role="status"' in values[0]
        assert values[1] is None
    assert "Now give a drawing." in page._warp(gradio, demo, picture, None, 0.0, "ours")[0]
    assert "Now give a photo." in page._warp(gradio, demo, None, picture, 0.0, "ours")[0]


def test_a_pair_is_warped(demo: Demo, picture: str) -> None:
    said, field, marked, (drawing, warped) = page._warp(gradio, demo, picture, picture, 0.0, "ours")
    assert "folds over 0.00 % of the crop." in said
    assert field.shape == marked.shape
    np.testing.assert_allclose(drawing.astype(int), warped.astype(int), atol=1)


def test_what_a_visitor_sends_is_not_taken_for_html(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "<b>.png").write_text("no picture")
    said = page._find(gradio, demo, str(tmp_path / "<b>.png"))[0]
    assert "&lt;b&gt;.png: found" in said
    assert "<b>" not in said


def test_a_fault_of_ours_is_told_without_its_inside(
    tmp_path: Path, picture: str, caplog: pytest.LogCaptureFixture
) -> None:
    said, *shown = page._find(gradio, Demo({"ours": faulty}, tmp_path), picture)
    assert "Something went wrong in the program" in said
    assert 'role="alert"' in said
    assert "secret" not in said
    assert shown[0] is None
    assert "RuntimeError: secret" in caplog.text
