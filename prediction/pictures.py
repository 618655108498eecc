"""Picture files to faces: read and searched ahead in threads, while the landmarker works on others."""

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datamodules.faces import ByteArray, DataError
from prediction.detection.fixed import GivenBoxes
from prediction.detection.turned import Place, places
from prediction.faces import PredictedFace
from prediction.images import ahead, load_picture
from prediction.predictor import Predictor

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PictureFaces:
    """What was found in a picture file.

    Attributes:
        number: its place among all.
        path: the file.
        image: RGB, uint8, shape ``(H, W, 3)``; empty where it could not be read.
        faces: best first.
        problem: why it could not be read, or None.
    """

    number: int
    path: Path
    image: ByteArray | None
    faces: list[PredictedFace] = field(default_factory=list)
    problem: DataError | None = None


@dataclass(frozen=True)
class _Read:
    number: int
    path: Path
    image: ByteArray | None
    found: list[Place] = field(default_factory=list)
    problem: DataError | None = None


def predict_pictures(
    predictor: Predictor, paths: Sequence[Path], given: GivenBoxes | None = None, threads: int = 2
) -> Iterator[PictureFaces]:
    """The faces of picture files; one that cannot be read is told in its turn, and the rest goes on.

    Args:
        predictor: finds them.
        paths: of the files.
        given: boxes of the files, in the place of the predictor's detector.
        threads: that read files and run the detector.

    Returns:
        One for each file; unreadable ones may come a little earlier than in their order.
    """

    def read(item: tuple[int, Path]) -> _Read:
        number, path = item
        try:
            image = load_picture(path)
        except DataError as problem:
            return _Read(number, path, None, problem=problem)
        return _Read(number, path, image, predictor.find(image) if given is None else places(given.of(path)))

    waiting: deque[_Read] = deque()
    bad: deque[_Read] = deque()

    def readable() -> Iterator[tuple[ByteArray, list[Place]]]:
        for one in ahead(read, enumerate(paths), threads):
            if one.image is None:
                bad.append(one)
            else:
                waiting.append(one)
                yield one.image, one.found

    for faces in predictor.at(readable()):
        yield from _told(bad)
        one = waiting.popleft()
        if predictor.lost:
            _log.warning(
                "%s: left out %d of %d faces, whose landmarks are not finite; expected numbers of the landmarker. Use "
                "weights of a run that did not diverge.",
                *(one.path, predictor.lost, len(one.found)),
            )
        yield PictureFaces(one.number, one.path, one.image, faces)
    yield from _told(bad)


def _told(bad: deque[_Read]) -> Iterator[PictureFaces]:
    while bad:
        one = bad.popleft()
        _log.warning("%s", one.problem)
        yield PictureFaces(one.number, one.path, None, problem=one.problem)
