"""A camera's faces, live: in a window where there is a display, and as a video and tables."""

import logging
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from threading import Condition, Thread
from typing import Any, Final, Protocol, get_args

import cv2
import numpy as np
from PIL import Image

from datamodules.faces import ByteArray, DataError
from prediction.predictor import Predictor
from prediction.tracking import Finder, Tracking
from prediction.video import Frame, tracked
from prediction.video_outputs import FrameOutputName, Seen, VideoSummary, draw_tracked, frame_outputs, writing

_TITLE: Final = "warpmark: q or closing the window ends"
_WAIT: Final = 10.0
"""Seconds that a camera may take for a picture."""

_log = logging.getLogger(__name__)


class Source(Protocol):
    """Gives pictures as they are taken."""

    def read(self) -> ByteArray | None:
        """Wait for the next picture, RGB, uint8, shape ``(H, W, 3)``; None where there are no more."""

    def close(self) -> None:
        """Give the camera back."""


class Window(Protocol):
    """Shows pictures."""

    def show(self, image: ByteArray) -> bool:
        """Show a picture; False once the user has closed the window."""

    def close(self) -> None:
        """Close it."""


class Camera:
    """A camera, by OpenCV.

    Args:
        number: which one, from 0.

    Raises:
        DataError: there is none, or it gives no pictures.
    """

    def __init__(self, number: int = 0) -> None:
        self._name = f"camera {number}"
        logs = cv2.utils.logging
        level = logs.setLogLevel(logs.LOG_LEVEL_SILENT)  # what it says of all the ways it tried in vain
        try:
            self._capture = cv2.VideoCapture(number)
            opened = self._capture.isOpened() and self._capture.grab()
        finally:
            logs.setLogLevel(level)
        if not opened:
            self._capture.release()
            raise DataError(
                f"{self._name}: found none that gives pictures, expected a camera that this computer can use. Plug it "
                "in, close other programs that use it, allow its use, or give another number, e.g. camera:1."
            )

    def read(self) -> ByteArray | None:
        """The next picture; None, and the log says so, where the camera gives no more."""
        done, image = self._capture.read()
        if not done:
            _log.warning("%s gives no more pictures", self._name)
            return None
        return np.ascontiguousarray(image[:, :, ::-1], dtype=np.uint8)

    def close(self) -> None:
        """Give the camera back."""
        self._capture.release()


def camera_number(source: str) -> int:
    """The number in ``camera`` (the first, 0) or ``camera:1``.

    Raises:
        DataError: it is no number.
    """
    _, colon, number = source.partition(":")
    if not colon:
        return 0
    if not number.isdecimal():
        raise DataError(f"{source}: found the camera {number!r}, expected its number, as in camera:1.")
    return int(number)


class TkWindow:
    """A window of Tk, which Python brings with it on most computers; see :func:`open_window`."""

    def __init__(self, title: str = _TITLE) -> None:
        import tkinter

        from PIL import ImageTk

        root = tkinter.Tk()
        root.title(title)
        root.protocol("WM_DELETE_WINDOW", self._end)
        root.bind("q", self._end)
        self._root, self._label, self._photo = root, tkinter.Label(root, borderwidth=0), ImageTk.PhotoImage
        self._label.pack()
        self._open, self._gone = True, tkinter.TclError

    def show(self, image: ByteArray) -> bool:
        """Show a picture; False once the user has pressed q or closed the window."""
        try:
            self._shown = self._photo(Image.fromarray(image), master=self._root)  # kept: Tk does not
            self._label.configure(image=self._shown)
            self._root.update()
        except self._gone:
            self._open = False
        return self._open

    def close(self) -> None:
        """Close it."""
        try:
            self._root.destroy()
        except self._gone:
            return

    def _end(self, *_: Any) -> None:
        self._open = False


def open_window(make: Callable[[], Window] = TkWindow) -> Window | None:
    """A window, or None where there is no display, which the log says."""
    try:
        return make()
    except ImportError as error:
        _log.warning("no window: Python's tkinter is missing (%s); what is asked for is written to files only", error)
    except Exception as error:
        # Tk's TclError, which cannot be named where tkinter is missing.
        if type(error).__name__ != "TclError":
            raise
        _log.warning("no window: there is no display (%s); what is asked for is written to files only", error)
    return None


def latest(source: Source, clock: Callable[[], float] = time.monotonic) -> Generator[Frame, None, None]:
    """Pictures as they are taken, always the newest one: those taken while one was worked at are passed over.

    Args:
        source: is read in a thread, which has ended, and closed when the generator is.
        clock: tells the time, in seconds.

    Returns:
        Frames whose ``index`` counts the passed-over ones too; ``time`` is when it was taken, since the first one.
    """
    reader = _Reader(source, clock)
    try:
        while (frame := reader.newest()) is not None:
            yield frame
    finally:
        reader.stop()


class _Reader:
    """Reads a source in a thread and keeps its newest picture."""

    def __init__(self, source: Source, clock: Callable[[], float]) -> None:
        self._source, self._clock = source, clock
        self._changed = Condition()
        self._newest: Frame | None = None
        self._ended = self._stopped = False
        self._problem: BaseException | None = None
        self._thread = Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        start, index = 0.0, 0
        try:
            while not self._stopped and (image := self._source.read()) is not None:
                now = self._clock()
                start = now if index == 0 else start
                with self._changed:
                    self._newest = Frame(index, now - start, image)
                    self._changed.notify()
                index += 1
        except BaseException as problem:
            self._problem = problem
        with self._changed:
            self._ended = True
            self._changed.notify()

    def newest(self) -> Frame | None:
        """Wait for a picture that was not given yet; None where there are no more."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._newest is not None or self._ended, _WAIT):
                raise DataError(f"the camera: found no picture in {_WAIT:g} s, expected one. Plug it in again.")
            frame, self._newest = self._newest, None
        if frame is None and self._problem is not None:
            raise self._problem
        return frame

    def stop(self) -> None:
        """End the thread, and close the source."""
        self._stopped = True
        self._thread.join(_WAIT)  # a camera that hangs is left to itself
        if not self._thread.is_alive():
            self._source.close()


def predict_camera(
    predictor: Predictor | Finder,
    source: Source,
    out: str | Path,
    how: Tracking = Tracking(),  # noqa: B008 - frozen
    outputs: Sequence[FrameOutputName] = get_args(FrameOutputName),
    window: Window | None = None,
    progress: Callable[[int, int | None], object] | None = None,
) -> VideoSummary:
    """Find faces in a camera's pictures until the window is closed, the camera ends, or Ctrl-C.

    Args:
        predictor: finds the faces.
        source: the camera; it is closed in the end.
        out: folder to write to, made if it does not exist.
        how: how faces are tracked and smoothed.
        outputs: see :func:`prediction.video_outputs.predict_video`; none for the window only.
        window: shows the pictures with their landmarks; see :func:`open_window`.
        progress: as there.

    Raises:
        DataError: there is neither a window nor an output.
    """
    if window is None and not outputs:
        source.close()
        raise DataError("the camera: found no display and no outputs, expected one of them. Ask for outputs.")
    start, seen, folder = time.perf_counter(), Seen(), Path(out).expanduser()
    if outputs:
        folder.mkdir(parents=True, exist_ok=True)
    writers = frame_outputs(folder, outputs)
    try:
        with writing(writers), closing(tracked(predictor, latest(source), how)) as frames:
            for frame in frames:
                for writer in writers:
                    writer.add(frame)
                seen.add(frame)
                if progress is not None:
                    progress(seen.frames, None)
                if window is not None and not window.show(draw_tracked(frame)):
                    break
    except KeyboardInterrupt:
        _log.info("stopped")
    finally:
        if window is not None:
            window.close()
    return seen.summary(time.perf_counter() - start)
