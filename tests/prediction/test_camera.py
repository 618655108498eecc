import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datamodules.faces import DataError
from prediction.camera import Camera, camera_number, latest, open_window, predict_camera
from tests.prediction.worlds import World, face_at

WORLD = World(lambda i: [face_at(100 + i, 120)])


class Pictures:
    """A camera that takes so many pictures; each after the last one was worked at, if it is to wait."""

    def __init__(self, count: int, wait: Callable[[int], object] = lambda i: None) -> None:
        self.count, self.wait, self.taken, self.closed = count, wait, 0, False

    def read(self) -> np.ndarray | None:
        self.wait(self.taken)
        if self.taken == self.count:
            return None
        self.taken += 1
        return WORLD.frame(self.taken - 1)

    def close(self) -> None:
        self.closed = True


class Shown:
    """A window that the user closes after so many pictures."""

    def __init__(self, count: int, then: Callable[[], object] = lambda: None) -> None:
        self.left, self.pictures, self.closed, self.then = count, [], False, then

    def show(self, image: np.ndarray) -> bool:
        self.pictures.append(image)
        self.then()
        return len(self.pictures) < self.left

    def close(self) -> None:
        self.closed = True


def lockstep(count: int) -> tuple[Pictures, threading.Semaphore]:
    """A camera that takes a picture when the semaphore is released."""
    gate = threading.Semaphore(1)
    return Pictures(count, lambda i: gate.acquire()), gate


def test_the_newest_picture_wins() -> None:
    passed = threading.Event()

    def wait(i: int) -> None:
        if i == 1:
            assert first.wait(10)
        if i == 6:  # five more were taken while the first one was worked at
            passed.set()
            assert second.wait(10)

    first, second = threading.Event(), threading.Event()
    source = Pictures(6, wait)
    ticks = iter(np.arange(100.0, 110.0, 0.5))
    frames = latest(source, lambda: float(next(ticks)))
    assert next(frames).index == 0
    first.set()
    assert passed.wait(10)
    frame = next(frames)
    assert (frame.index, frame.time) == (5, 2.5)
    second.set()
    assert list(frames) == []
    assert source.closed


def test_what_goes_wrong_in_the_camera_is_raised() -> None:
    def wait(i: int) -> None:
        raise OSError("unplugged")

    with pytest.raises(OSError, match="unplugged"):
        next(latest(Pictures(1, wait)))


def test_closing_the_window_ends_and_keeps_the_tables(tmp_path: Path) -> None:
    source, gate = lockstep(100)
    window = Shown(4, gate.release)
    before = threading.active_count()
    summary = predict_camera(WORLD, source, tmp_path / "out", outputs=("csv", "json"), window=window)
    assert (summary.frames, summary.faces) == (4, 1)
    assert window.closed
    assert source.closed
    assert threading.active_count() == before
    assert (window.pictures[0] != WORLD.frame(0)).any()  # landmarks are drawn in
    assert len((tmp_path / "out" / "frames.jsonl").read_text().splitlines()) == 4


def test_without_a_window_it_goes_on_to_the_cameras_end(tmp_path: Path) -> None:
    pytest.importorskip("av")
    source, gate = lockstep(5)
    summary = predict_camera(WORLD, source, tmp_path, progress=lambda *_: gate.release())
    assert summary.frames == 5
    assert (tmp_path / "overlay.mp4").stat().st_size > 0


def test_ctrl_c_ends_it_as_it_should(tmp_path: Path) -> None:
    source, gate = lockstep(100)

    def stop(done: int, _: int | None) -> None:
        gate.release()
        if done == 3:
            raise KeyboardInterrupt

    summary = predict_camera(WORLD, source, tmp_path, outputs=("json",), progress=stop)
    assert summary.frames == 3
    assert len((tmp_path / "frames.jsonl").read_text().splitlines()) == 3


def test_neither_window_nor_outputs_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no display and no outputs"):
        predict_camera(WORLD, Pictures(1), tmp_path, outputs=())


@pytest.mark.skipif(os.path.exists("/dev/video9"), reason="there is such a camera")  # noqa: PTH110
def test_no_camera_is_told_in_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match=r"camera 9: found none that gives pictures.*camera:1"):
        Camera(9)
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(bool(os.environ.get("DISPLAY")) or os.name == "nt", reason="there is a display")
def test_no_display_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert open_window() is None
    assert "no window" in caplog.text


def test_no_tkinter_is_said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "tkinter", None)
    with caplog.at_level(logging.WARNING):
        assert open_window() is None
    assert "tkinter is missing" in caplog.text


class FakeTk:
    """What of tkinter a window uses; the user does ``then`` at the second update."""

    TclError = type("TclError", (Exception,), {})

    def __init__(self, then: str) -> None:
        self.then, self.updates, self.handlers, self.gone = then, 0, {}, False

    def Tk(self) -> "FakeTk":  # noqa: N802
        return self

    def Label(self, *_: object, **__: object) -> "FakeTk":  # noqa: N802
        return self

    def title(self, text: str) -> None:
        assert "q" in text

    def protocol(self, name: str, handler: Callable[..., None]) -> None:
        self.handlers[name] = handler

    bind = protocol

    def pack(self) -> None: ...

    def configure(self, image: object) -> None:
        if self.gone:
            raise self.TclError("application has been destroyed")

    def update(self) -> None:
        self.updates += 1
        if self.updates == 2 and self.then in self.handlers:
            self.handlers[self.then]("event")
        self.gone = self.updates == 2 and self.then == "killed"

    def destroy(self) -> None:
        self.handlers.clear()


@pytest.mark.parametrize(("then", "shown"), [("q", 2), ("WM_DELETE_WINDOW", 2), ("killed", 3)])
def test_a_window_is_closed_by_its_user(monkeypatch: pytest.MonkeyPatch, then: str, shown: int) -> None:
    import sys

    from PIL import ImageTk

    tk = FakeTk(then)
    monkeypatch.setitem(sys.modules, "tkinter", tk)
    monkeypatch.setattr(ImageTk, "PhotoImage", lambda image, master: image)
    window = open_window()
    assert window is not None
    still_open = [window.show(WORLD.frame(i)) for i in range(shown)]
    assert still_open == [True] * (shown - 1) + [False]
    window.close()
    assert tk.handlers == {}


def test_cameras_have_numbers() -> None:
    assert [camera_number(source) for source in ("camera", "camera:0", "camera:12")] == [0, 0, 12]
    with pytest.raises(DataError, match="camera:front: found the camera 'front', expected its number"):
        camera_number("camera:front")


def test_time_is_the_pictures(tmp_path: Path) -> None:
    began = time.monotonic()
    times = [frame.time for frame in latest(Pictures(3, lambda i: time.sleep(0.02)))]
    assert times == sorted(times)
    assert times[0] == 0
    assert times[-1] <= time.monotonic() - began
