"""Videos: their frames with their times, the faces of each, and videos written with the same timing.

PyAV (FFmpeg's libraries) reads and writes; it is imported when it is needed.
"""

import logging
import math
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from queue import Full, Queue
from threading import Event, Thread
from typing import Any, Final, TypeVar

import cv2
import numpy as np

from datamodules.faces import ByteArray, DataError
from datamodules.formats import bad_file
from lightning_modules.landmarkers.fixed import not_installed
from prediction.predictor import Predictor
from prediction.tracking import Finder, TrackedFace, Tracker, Tracking, follower

_EXPECTED: Final = "a video (mp4, mov, mkv, webm, avi and what else FFmpeg decodes)"
_LEAD: Final = 8
"""Frames that are decoded before they are asked for."""
_LARGEST_BASE: Final = 65535
"""Of MPEG-4's time base: ticks a second."""
_NAMED: Final = 20
"""Broken places of a video that are named one by one."""

_log = logging.getLogger(__name__)
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Frame:
    """A video's picture.

    Attributes:
        index: its place among the frames that could be decoded, from 0.
        time: when it is shown, in seconds after the first one.
        image: RGB, uint8, shape ``(H, W, 3)``, upright as the video's display matrix says.
    """

    index: int
    time: float
    image: ByteArray


@dataclass(frozen=True)
class VideoFrame(Frame):
    """A video's picture with its faces, in its pixels (pixel centres at integers), those longest tracked first."""

    faces: list[TrackedFace]


@dataclass
class Video:
    """A video file that is read from its beginning to its end; a context manager.

    What cannot be decoded is logged, kept in ``problems``, and left out; the rest goes on. Sound is not read.

    Attributes:
        path: the file.
        width, height: of its upright frames, in pixels, as the file's head has them.
        rate: frames a second on average; None where the file does not tell.
        base: seconds of a tick of its clock.
        length: how many frames it should have; None where the file does not tell.
        pixel: width of a pixel over its height.
        problems: errors about broken places, as they were met.
    """

    path: Path
    width: int
    height: int
    rate: Fraction | None
    base: Fraction
    length: int | None
    pixel: Fraction
    container: Any
    stream: Any
    problems: list[DataError] = field(default_factory=list)
    _lost: int = 0

    @classmethod
    def open(cls, source: str | Path) -> "Video":
        """Open a file.

        Raises:
            DataError: it is missing, empty, cut off at its head, no video, or has sound only.
            WeightsError: PyAV is not installed.
        """
        av, path = pyav(), Path(source).expanduser()
        if not path.is_file():
            raise bad_file(path, "a folder" if path.is_dir() else "no such file", _EXPECTED, "Check the name.")
        if path.stat().st_size == 0:
            raise bad_file(path, "0 bytes", _EXPECTED, "Copy or download it again.")
        try:
            container = av.open(str(path))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            found = f"what FFmpeg cannot open ({_said(error)})"
            raise bad_file(path, found, _EXPECTED, "Copy it again if it was cut off; else convert it.") from error
        try:
            return cls._opened(path, container)
        except BaseException:
            container.close()
            raise

    @classmethod
    def _opened(cls, path: Path, container: Any) -> "Video":
        # A song's cover is a stream of video to FFmpeg.
        cover = pyav().stream.Disposition.attached_pic
        shown = [stream for stream in container.streams.video if not stream.disposition & cover]
        if not shown:
            found = "sound only" if container.streams.audio else "no pictures"
            raise bad_file(path, found, _EXPECTED, "Give a file with pictures.")
        stream = shown[0]
        if stream.codec_context is None or not stream.codec_context.width:
            raise bad_file(path, "pictures that cannot be decoded", _EXPECTED, "Convert it, or copy it again.")
        codec = stream.codec_context
        pixel = stream.sample_aspect_ratio or codec.sample_aspect_ratio or Fraction(1)
        rate, base = stream.average_rate or stream.guessed_rate, stream.time_base or Fraction(1, 1000)
        length = stream.frames or None
        return cls(path, codec.width, codec.height, rate, base, length, pixel, container, stream)

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    def frames(self) -> Generator[Frame, None, None]:
        """All frames that can be decoded, in the order in which they are shown.

        Raises:
            DataError: there was none.
        """
        first: float | None = None
        last, index = -math.inf, 0
        for decoded in self._decoded():
            time = decoded.time
            if time is None or time <= last:  # a broken clock: go on at the usual rate
                time = last + float(1 / (self.rate or 25)) if index else 0.0
            first, last = time if first is None else first, time
            image = upright(decoded.to_ndarray(format="rgb24"), display_matrix(decoded))
            if index == 0:
                self._look_at_first(image, decoded)
            yield Frame(index, time - first, image)
            index += 1
        if not index:
            raise bad_file(self.path, "no picture that can be decoded", _EXPECTED, "Copy or download it again.")
        if self.length is not None and index + self._lost < self.length:
            self._tell(f"ends after {index} of {self.length} frames")

    def _look_at_first(self, image: ByteArray, decoded: Any) -> None:
        turned = image.shape[:2] != (decoded.height, decoded.width)
        self.height, self.width = image.shape[:2]
        self.pixel = 1 / self.pixel if turned else self.pixel

    def _decoded(self) -> Iterator[Any]:
        """Frames as PyAV gives them, of all packets that can be decoded."""
        error = pyav().error
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets, None)
            except (error.FFmpegError, OSError) as problem:
                self._tell(f"cannot be read to its end ({_said(problem)})")
                yield from self.stream.codec_context.decode(None)
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except (error.FFmpegError, ValueError) as problem:
                self._lost += 1
                when = "" if packet.pts is None else f" at {float(packet.pts * self.base):.3f} s"
                self._tell(f"a frame{when} cannot be decoded ({_said(problem)})")
                continue
            for frame in frames:
                if frame.is_corrupt:
                    when = "" if frame.time is None else f" at {frame.time:.3f} s"
                    self._tell(f"a frame{when} is damaged")
                yield frame

    def _tell(self, found: str) -> None:
        problem = bad_file(
            self.path, found, "frames that can be decoded", "The others are used; mend or copy it again."
        )
        self.problems.append(problem)
        if len(self.problems) <= _NAMED:
            _log.warning("%s", problem)


def faces_in_video(
    predictor: Predictor | Finder,
    source: str | Path,
    how: Tracking = Tracking(),  # noqa: B008 - frozen
) -> Iterator[VideoFrame]:
    """The frames of a video file with their faces, which keep their ``track`` from frame to frame.

    Broken frames are logged and left out. Frames are decoded in a thread ahead of those asked for.

    Args:
        predictor: finds the faces.
        source: the file.
        how: how they are tracked and smoothed.

    Raises:
        DataError: the file is no video, or nothing of it can be decoded.
        WeightsError: PyAV is not installed.
    """
    with Video.open(source) as video:
        yield from tracked(predictor, in_thread(video.frames()), how)


def tracked(
    predictor: Predictor | Finder, frames: Generator[Frame, None, None], how: Tracking
) -> Generator[VideoFrame, None, None]:
    """Frames, in their order, with their faces; ``frames`` are closed with this generator."""
    tracker = Tracker(predictor, how, follower(predictor) if isinstance(predictor, Predictor) else None)
    with closing(frames):
        for frame in frames:
            yield VideoFrame(frame.index, frame.time, frame.image, tracker(frame.image, frame.time))


def in_thread(items: Generator[_Item, None, None], lead: int = _LEAD) -> Generator[_Item, None, None]:
    """The same items, taken in a thread before they are asked for; it has ended when this generator is closed.

    Args:
        items: what it raises is raised here, in its turn.
        lead: how many at most are held.
    """
    coming: Queue[_Item | _End] = Queue(lead)
    stop = Event()

    def put(item: "_Item | _End") -> None:
        while not stop.is_set():
            try:
                coming.put(item, timeout=0.1)
            except Full:
                continue
            return

    def take() -> None:
        problem: BaseException | None = None
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    items.close()
                    break
        except BaseException as error:
            problem = error
        put(_End(problem))

    thread = Thread(target=take, daemon=True)
    thread.start()
    try:
        while not isinstance(item := coming.get(), _End):
            yield item
        if item.problem is not None:
            raise item.problem
    finally:
        stop.set()
        thread.join()


@dataclass(frozen=True)
class _End:
    problem: BaseException | None


def display_matrix(frame: Any) -> tuple[int, int, int, int]:
    """How a frame's picture is to be turned to be upright: ``a, b, c, d`` of x' = a x + c y, y' = b x + d y.

    Source: libavutil/display.h; a phone that was held on its side writes one.
    """
    kind = pyav().sidedata.sidedata.Type.DISPLAYMATRIX
    for data in frame.side_data:
        if data.type == kind:
            a, b, _, c, d = np.frombuffer(bytes(data), dtype="<i4")[:5].tolist()
            return a, b, c, d
    return 1, 0, 0, 1


def upright(image: ByteArray, matrix: tuple[int, int, int, int]) -> ByteArray:
    """A picture ``(H, W, 3)`` turned by quarters and mirrored as its display matrix says, ``(H, W, 3)`` or (W, H, 3)``.

    A turn that is no multiple of a quarter is rounded to the nearest.
    """
    a, b, c, d = matrix
    if abs(a) + abs(d) < abs(b) + abs(c):
        image, across, down = image.transpose(1, 0, 2), c, b
    else:
        across, down = a, d
    image = image[:, ::-1] if across < 0 else image
    return np.ascontiguousarray(image[::-1] if down < 0 else image)


class VideoWriter:
    """Writes an MP4 file: H.264 where the installed PyAV has it, else MPEG-4; without sound.

    Args:
        path: the file; it is there when :meth:`close` has been called.
        width: of the pictures; an odd one gets a column more, which both codecs want.
        height: likewise.
        rate: frames a second on average.
        base: seconds of a tick of the clock that pictures are shown by.
        pixel: width of a pixel over its height.
        codec: FFmpeg's name of an encoder; ``libx264``, else ``mpeg4`` if None.

    Raises:
        DataError: the pictures cannot be encoded at that size.
        WeightsError: PyAV is not installed.
    """

    def __init__(
        self,
        path: Path,
        width: int,
        height: int,
        rate: Fraction | None = None,
        base: Fraction = Fraction(1, 90000),
        pixel: Fraction = Fraction(1),
        codec: str | None = None,
    ) -> None:
        av = pyav()
        self._path, self._size, self._last = path, (width, height), -1
        codec = codec or _encoder()
        self._base = base if base.denominator <= _LARGEST_BASE or codec != "mpeg4" else Fraction(1, 60000)
        self._container = av.open(str(path), "w", format="mp4")
        self._stream = self._container.add_stream(codec, rate=(rate or Fraction(25)).limit_denominator(_LARGEST_BASE))
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.time_base, context.sample_aspect_ratio = self._base, pixel
        if codec == "libx264":
            context.options = {"preset": "veryfast", "crf": "18"}
        else:
            context.bit_rate = max(10**6, 8 * width * height)
        try:
            context.open(strict=False)
        except av.error.FFmpegError as error:
            self._container.close()
            found = f"pictures of {width}×{height} pixels, which {codec} cannot encode ({_said(error)})"
            raise bad_file(path, found, "a size that a video can have", "Ask for the tables only.") from error

    def add(self, image: ByteArray, time: float) -> None:
        """Write a picture.

        Args:
            image: RGB, uint8, shape ``(H, W, 3)``; one of another size than the first is scaled to it.
            time: when it is shown, in seconds; later than the last one.
        """
        if (image.shape[1], image.shape[0]) != self._size:
            image = np.asarray(cv2.resize(image, self._size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        odd = image.shape[0] % 2, image.shape[1] % 2
        if any(odd):
            padded = cv2.copyMakeBorder(image, 0, odd[0], 0, odd[1], cv2.BORDER_REPLICATE)
            image = np.asarray(padded, dtype=np.uint8)
        frame = pyav().VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        self._last = max(self._last + 1, round(time / self._base))
        frame.pts, frame.time_base = self._last, self._base
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what is left, and the file's head."""
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def abandon(self) -> None:
        """Close the file as it is; it cannot be used."""
        self._container.close()


def _encoder() -> str:
    av = pyav()
    try:
        av.codec.Codec("libx264", "w")
    except (av.error.FFmpegError, ValueError):
        return "mpeg4"
    return "libx264"


def pyav() -> Any:
    """The package ``av``.

    Raises:
        WeightsError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise not_installed("av", "video", "a video") from error
    # Its decoders write to the terminal themselves; what matters is told with the file's name.
    av.logging.set_level(av.logging.PANIC)
    return av


def _said(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())
