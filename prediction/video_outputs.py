"""What is written about a video: itself with the landmarks drawn in, and tables of each frame's faces."""

import csv
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal, Protocol, get_args

import cv2

from datamodules.faces import ByteArray, DataError
from prediction.outputs.overlays import draw_faces
from prediction.outputs.tables import FACE_COLUMNS, face_as_dict, face_row
from prediction.predictor import Predictor
from prediction.tracking import Finder, Tracking
from prediction.video import Video, VideoFrame, VideoWriter, in_thread, tracked

FrameOutputName = Literal["overlay", "csv", "json"]

FRAME_FILES: Final[dict[FrameOutputName, str]] = {
    "overlay": "overlay.mp4",
    "csv": "frames.csv",
    "json": "frames.jsonl",
}
"""The file in the output folder of each kind of output."""
_SECONDS: Final = 6
"""Digits of a frame's time."""


class FrameOutput(Protocol):
    """Writes one file about a video."""

    def add(self, frame: VideoFrame) -> None:
        """Take the next frame."""

    def close(self) -> None:
        """Finish the file."""

    def discard(self) -> None:
        """Leave nothing behind."""


class _Part:
    """A file that is written under a hidden name and gets its own when it is whole."""

    def __init__(self, path: Path) -> None:
        self.whole, self.path = path, path.with_name(f".part-{path.name}")

    def done(self) -> None:
        self.path.replace(self.whole)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)


class OverlayVideo:
    """``overlay.mp4``: the video with each face's landmarks and the number of its track, at the source's times.

    Args:
        folder: exists.
        rate: frames a second on average, or None.
        base: seconds of a tick of the source's clock.
        pixel: width of a pixel over its height.
    """

    def __init__(
        self,
        folder: Path,
        rate: Fraction | None = None,
        base: Fraction = Fraction(1, 90000),
        pixel: Fraction = Fraction(1),
    ) -> None:
        self._part = _Part(folder / FRAME_FILES["overlay"])
        self._clock, self._pixel = (rate, base), pixel
        self._writer: VideoWriter | None = None

    def add(self, frame: VideoFrame) -> None:
        """Draw and write a frame."""
        if self._writer is None:
            height, width = frame.image.shape[:2]
            self._writer = VideoWriter(self._part.path, width, height, *self._clock, self._pixel)
        self._writer.add(draw_tracked(frame), frame.time)

    def close(self) -> None:
        """Finish the file; there is none without a frame."""
        if self._writer is not None:
            self._writer.close()
            self._part.done()

    def discard(self) -> None:
        """Leave nothing behind."""
        if self._writer is not None:
            self._writer.abandon()
        self._part.discard()


def draw_tracked(frame: VideoFrame) -> ByteArray:
    """A copy of a frame with its faces' landmarks and, above each, the number of its track."""
    drawn = draw_faces(frame.image, frame.faces, boxes=False)
    for face in frame.faces:
        x0, y0, x1, _ = face.box
        scale = max(0.4, (x1 - x0) / 250)
        at = round(x0), max(round(y0 - 8 * scale), round(22 * scale))
        for colour, thickness in ((0, 0, 0), 4), ((255, 255, 255), 1):
            width = max(1, round(thickness * scale))
            cv2.putText(drawn, str(face.track), at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, width, cv2.LINE_AA)
    return drawn


class _TextFile:
    """A text file that is written line by line."""

    def __init__(self, path: Path) -> None:
        self._part = _Part(path)
        self._file = self._part.path.open("w", newline="", encoding="utf-8", errors="backslashreplace")

    def close(self) -> None:
        """Finish the file."""
        self._file.close()
        self._part.done()

    def discard(self) -> None:
        """Leave nothing behind."""
        self._file.close()
        self._part.discard()


class FrameTable(_TextFile):
    """``frames.csv``: a row for each face of each frame; a frame without a face has a row without one.

    ``frame``, ``time`` in seconds and ``track``, then the columns of the pictures' table: ``score``, ``doubt``, the
    boxes, and the landmarks as ``x0,y0,u0`` to ``x67,y67,u67``. Pixels count from 0; what is not known is empty.

    Args:
        folder: exists.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / FRAME_FILES["csv"])
        self._rows = csv.writer(self._file)
        self._header = ["frame", "time", "track", *FACE_COLUMNS]
        self._rows.writerow(self._header)

    def add(self, frame: VideoFrame) -> None:
        """Write a frame's rows."""
        start: list[float | None] = [frame.index, round(frame.time, _SECONDS)]
        rows = [[*start, face.track, *face_row(face)] for face in frame.faces] or [start]
        self._rows.writerows([row + [""] * (len(self._header) - len(row)) for row in rows])


class FrameLines(_TextFile):
    """``frames.jsonl``: a line of JSON for each frame: ``{"frame", "time", "faces": [{"track", "score", …}]}``.

    A face is as in the pictures' ``predictions.json``, with its track for a name.

    Args:
        folder: exists.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / FRAME_FILES["json"])

    def add(self, frame: VideoFrame) -> None:
        """Write a frame's line."""
        faces = []
        for face in frame.faces:
            told = face_as_dict(face, "")
            del told["name"]
            faces.append({"track": face.track, **told})
        line = {"frame": frame.index, "time": round(frame.time, _SECONDS), "faces": faces}
        self._file.write(json.dumps(line, allow_nan=False) + "\n")


def frame_outputs(
    folder: Path,
    names: Sequence[FrameOutputName] = get_args(FrameOutputName),
    rate: Fraction | None = None,
    base: Fraction = Fraction(1, 90000),
    pixel: Fraction = Fraction(1),
) -> list[FrameOutput]:
    """The outputs of some names, which write to a folder that exists; for the others see :class:`OverlayVideo`."""
    makers: dict[FrameOutputName, Callable[[], FrameOutput]] = {
        "overlay": lambda: OverlayVideo(folder, rate, base, pixel),
        "csv": lambda: FrameTable(folder),
        "json": lambda: FrameLines(folder),
    }
    return [makers[name]() for name in dict.fromkeys(names)]


@contextmanager
def writing(outputs: Sequence[FrameOutput]) -> Iterator[None]:
    """Finish outputs at the end, also after Ctrl-C; where an error ended it, leave nothing behind."""
    try:
        yield
    except KeyboardInterrupt:
        for output in outputs:
            output.close()
        raise
    except BaseException:
        for output in outputs:
            output.discard()
        raise
    for output in outputs:
        output.close()


@dataclass(frozen=True)
class VideoSummary:
    """What was found in a video.

    Attributes:
        frames: how many were decoded.
        without: how many of them have no face.
        faces: how many different faces (tracks).
        seconds: that it took.
        problems: errors about places that could not be decoded.
    """

    frames: int
    without: int
    faces: int
    seconds: float
    problems: tuple[DataError, ...]

    def __str__(self) -> str:
        """In words, for a log."""
        rate = f"; {self.frames / self.seconds:.1f} frames a second" if self.seconds > 0 else ""
        return f"{self.faces} faces in {self.frames} frames, {self.without} without a face{rate}"


def predict_video(
    predictor: Predictor | Finder,
    source: str | Path,
    out: str | Path,
    how: Tracking = Tracking(),  # noqa: B008 - frozen
    outputs: Sequence[FrameOutputName] = get_args(FrameOutputName),
    progress: Callable[[int, int | None], object] | None = None,
) -> VideoSummary:
    """Find the faces of a video's frames and write what is asked for.

    Each file is there whole or not at all; after Ctrl-C, with the frames until then. What cannot be decoded is logged
    and left out.

    Args:
        predictor: finds the faces.
        source: the video file.
        out: folder to write to, made if it does not exist; files of :data:`FRAME_FILES` in it are replaced.
        how: how faces are tracked and smoothed.
        outputs: ``overlay`` (the video with landmarks drawn in), ``csv``, ``json`` (lines).
        progress: is called after each frame with the number of frames done and of all, None where that is not known.

    Raises:
        DataError: the file is no video, or nothing of it can be decoded; nothing is written then.
        WeightsError: PyAV is not installed.
    """
    start = time.perf_counter()
    with Video.open(source) as video:
        folder = Path(out).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        seen = Seen()
        writers = frame_outputs(folder, outputs, video.rate, video.base, video.pixel)
        # Three threads: one decodes, one finds faces, this one draws and encodes.
        frames = in_thread(tracked(predictor, in_thread(video.frames()), how), lead=4)
        with writing(writers), closing(frames):
            for frame in frames:
                for writer in writers:
                    writer.add(frame)
                seen.add(frame)
                if progress is not None:
                    progress(seen.frames, video.length)
        return seen.summary(time.perf_counter() - start, video.problems)


@dataclass
class Seen:
    """Counts frames and faces."""

    frames: int = 0
    without: int = 0
    tracks: set[int] = field(default_factory=set)

    def add(self, frame: VideoFrame) -> None:
        """Count a frame."""
        self.frames += 1
        self.without += not frame.faces
        self.tracks |= {face.track for face in frame.faces}

    def summary(self, seconds: float, problems: Sequence[DataError] = ()) -> VideoSummary:
        """What was counted."""
        return VideoSummary(self.frames, self.without, len(self.tracks), seconds, tuple(problems))
