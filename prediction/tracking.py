"""Faces that keep an identity from frame to frame."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import cv2
import numpy as np

from datamodules.faces import ByteArray
from datamodules.transforms import Square
from lightning_modules.landmarkers.recropping import plausible, recropped
from prediction.detection.base import overlap
from prediction.detection.turned import Place
from prediction.faces import Array, PredictedFace
from prediction.predictor import Predictor
from prediction.smoothing import OneEuro, Smoother, speed_unit
from prediction.views import eye_turn

_SHAPE: Final = 0.25
"""Largest mean distance of landmarks from the fitted mean face, over its side. On hand-labelled boxes the light
landmarker gives 0.12 at most on 25 caricatures and 0.08 on 25 photos; beside faces, 0.47 and more on 9 of 10."""
_DOUBT: Final = (12.0, 8.0)
"""Largest doubt, in %, of a face, and of one that the detector did not see lately. In the same places the light
landmarker gives 7.3 and 4.0 at most on faces; beside them, 10 and more on 9 of 10."""
_DOUBLED: Final = (2.0, 6.0)
"""How much larger than usual a face's doubt may be, and the doubt, in %, up to which it may be so: where another face
comes before it, its landmarks fall apart first."""
_UNSEEN: Final = 3
"""From how many detections in a row without a face it is not seen lately."""
_VISIBLE: Final = 0.5
"""Least share of a face's landmarks that lie in the picture."""
_LEVEL: Final = 20.0
"""Degrees from which a face is looked at turned: as in the predictor."""
_MEMORY: Final = 1.0
"""Seconds for which a lost face may come back as itself."""
_INERTIA: Final = 0.7
"""Share of a face's last velocity in its new one: landmarks jump a little from frame to frame."""
_SLOWLY: Final = 1 / 30
"""Share of a frame's doubt in the usual one."""
_REACH: Final = (0.5, 1.5)
"""How far from there it may come back, in sides of its box, and how much farther each second."""
_GROWTH: Final = 1.6
"""How much larger or smaller its box may be then."""
_THUMBNAIL: Final = (32, 24)
_CUT: Final = (24.0, 0.5)
"""Mean change of a small copy's values (0 to 255) and the colours' overlap (0 to 1) beyond which a frame begins
another scene."""


@dataclass(frozen=True)
class TrackedFace(PredictedFace):
    """A face in a frame; its score is that of its last detection.

    Attributes:
        track: whose face it is: a number from 1 on, the same in all frames; no other face ever has it.
    """

    track: int


@dataclass(frozen=True)
class Tracking:
    """How faces are tracked.

    Args:
        every: after how many frames the detector looks for new faces while there are some.
        seek: after how many frames it looks again while there is none, or one that was lost may come back.
        overlap: intersection over union from which a detection is a tracked face's.
        merged: intersection over union from which two tracks follow one face.
        smoothing: of the landmarks; None for none.

    Raises:
        ValueError: a number is out of its range; the message begins with its name.
    """

    every: int = 15
    seek: int = 3
    overlap: float = 0.3
    merged: float = 0.6
    smoothing: OneEuro | None = OneEuro()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        for name, frames in (("every", self.every), ("seek", self.seek)):
            if frames < 1:
                raise ValueError(f"{name}: found {frames}, expected a number of frames, 1 or more.")
        for name, value in (("overlap", self.overlap), ("merged", self.merged)):
            if not 0 < value < 1:
                raise ValueError(f"{name}: found {value:g}, expected a number between 0 and 1.")


class Finder(Protocol):
    """What a tracker asks of a :class:`prediction.predictor.Predictor`."""

    def find(self, image: ByteArray) -> list[Place]:
        """Where the detector finds faces."""

    def at(self, pictures: Iterable[tuple[ByteArray, Sequence[Place]]]) -> Iterator[list[PredictedFace]]:
        """The faces at places where they were detected."""

    def in_squares(
        self, image: ByteArray, squares: Sequence[Square], turns: Sequence[float] | None = None
    ) -> list[PredictedFace]:
        """The face in each square."""


def follower(predictor: Predictor) -> Predictor:
    """The predictor for faces whose place is known from the last frame: crops are cut again only after a fast move."""
    quick = replace(predictor.inference, recrop=min(predictor.inference.recrop, 1), tolerance=_FAST)
    return Predictor(predictor.landmarker, predictor.detector, quick, predictor.batch_size, predictor.turned)


_FAST: Final = 0.1
"""Change of a face's square from one frame to the next, as a share of its side, from which it is looked at again."""


@dataclass(eq=False)
class _Track:
    """A face's history: what was last found, unsmoothed, and how its box moves."""

    number: int
    face: PredictedFace
    time: float
    score: float
    smoother: Smoother | None
    velocity: Array = field(default_factory=lambda: np.zeros(2))
    unseen: int = 0
    usual: float = math.nan
    """Doubt over the last second or so, in %."""

    def __post_init__(self) -> None:
        self.usual = self.face.doubt

    @property
    def most_doubt(self) -> float:
        """Doubt, in %, beyond which the face is lost; a landmarker that tells none never loses it so."""
        most = _DOUBT[self.unseen >= _UNSEEN]
        return most if math.isnan(self.usual) else min(most, max(_DOUBLED[0] * self.usual, _DOUBLED[1]))

    @property
    def turn(self) -> float:
        """How far the face is turned, where it matters."""
        turn = eye_turn(self.face.landmarks)
        return turn if abs(turn) > _LEVEL else 0.0

    def square(self, image: ByteArray) -> Square:
        """Where to crop the face in the next frame."""
        last = Square.around(self.face.box)
        if self.turn:
            return last  # the fit of `recropped` is of any turn, but its box would be that of the turned face too
        return recropped(last, self.face.landmarks, image, turn=1)

    def box_at(self, time: float) -> Array:
        """Where the box is by now, if it moves on as it did."""
        return self.face.box + np.tile(self.velocity * (time - self.time), 2)

    def nearness(self, face: PredictedFace, time: float) -> float:
        """How near a face is to where this one, lost, may be by now: 1 at the place, 0 and less beyond reach."""
        side, other = (float((box[2:] - box[:2]).max()) for box in (self.face.box, face.box))
        if not 1 / _GROWTH < other / side < _GROWTH:
            return 0.0
        reach = side * (_REACH[0] + _REACH[1] * (time - self.time))
        # It may have stopped where it was lost, e.g. at the picture's edge, or have moved on.
        places = self.face.box, self.box_at(time)
        return 1 - min(float(np.linalg.norm(_centre(box) - _centre(face.box))) for box in places) / reach

    def move(self, face: PredictedFace, time: float) -> None:
        """Take what was found in the next frame."""
        step = time - self.time
        if step > 0:
            now = (_centre(face.box) - _centre(self.face.box)) / step
            self.velocity = _INERTIA * self.velocity + (1 - _INERTIA) * now
        self.face, self.time = face, max(time, self.time)
        self.usual += (face.doubt - self.usual) * _SLOWLY

    def told(self) -> TrackedFace:
        """The face as it is told, smoothed."""
        face = self.face
        unit = speed_unit(face.interocular, face.box)
        landmarks = face.landmarks if self.smoother is None else self.smoother(face.landmarks, self.time, unit)
        return TrackedFace(landmarks, face.uncertainty, face.detected, self.score, self.number)


class Tracker:
    """Finds the faces of a video's frames, one frame after the other, and tells which are the same.

    A face's landmarks in one frame say where to look in the next. The detector looks when there is no face, every few
    frames for new ones, and when a face was lost. A face is lost when the landmarker is in doubt, the landmarks are no
    face's, most of them left the picture, they are another face's too, or another scene begins. It may come back as
    itself within a second, near to where its movement would have taken it; later, and in another scene, it is a new
    face: faces are not recognised.

    Args:
        finder: finds faces, and landmarks at new ones.
        how: the choices.
        follow: finds landmarks where the last frame had a face; the finder if None.
    """

    def __init__(
        self,
        finder: Finder,
        how: Tracking = Tracking(),
        follow: Finder | None = None,
    ) -> None:
        self._finder, self._follow, self._how = finder, finder if follow is None else follow, how
        self._tracks: list[_Track] = []
        self._lost: list[_Track] = []
        self._made, self._since = 0, how.every
        self._scene: _Scene | None = None

    def __call__(self, image: ByteArray, time: float) -> list[TrackedFace]:
        """The faces of the next frame, those longest tracked first.

        Args:
            image: RGB, uint8, shape ``(H, W, 3)``.
            time: of the frame, in seconds; later than the last one's.
        """
        cut = self._another_scene(image)
        self._lost = [track for track in self._lost if time - track.time <= _MEMORY]
        lost = self._move(image, time)
        self._since += 1
        wait = self._how.every if self._tracks and not self._lost else self._how.seek
        if cut or lost or self._since >= wait:
            self._detect(image, time)
        return [track.told() for track in self._tracks]

    def _another_scene(self, image: ByteArray) -> bool:
        scene = _Scene.of(image)
        cut = self._scene is not None and scene.cut_from(self._scene)
        self._scene = scene
        if cut:
            self._tracks, self._lost = [], []
        return cut

    def _move(self, image: ByteArray, time: float) -> bool:
        """Follow all tracks into the frame; whether one was lost."""
        if not self._tracks:
            return False
        squares = [track.square(image) for track in self._tracks]
        faces = self._follow.in_squares(image, squares, [track.turn for track in self._tracks])
        good = [
            (track, face)
            for track, face in zip(self._tracks, faces, strict=True)
            if is_face(face, image, track.most_doubt)
        ]
        kept = self._one_each(good, time)
        lost = [track for track in self._tracks if track not in kept]
        for track, face in good:
            if track in kept:
                track.move(face, time)
        self._tracks, self._lost = kept, self._lost + lost
        return bool(lost)

    def _one_each(self, found: Sequence[tuple[_Track, PredictedFace]], time: float) -> list[_Track]:
        """The tracks without those that came upon another's face: of two, the one whose movement led there stays."""

        def strays(pair: tuple[_Track, PredictedFace]) -> float:
            track, face = pair
            return float(np.linalg.norm(_centre(track.box_at(time)) - _centre(face.box)))

        kept: list[tuple[_Track, PredictedFace]] = []
        for pair in sorted(found, key=strays):
            if all(overlap(pair[1].box, face.box) < self._how.merged for _, face in kept):
                kept.append(pair)
        return [track for track in self._tracks if any(track is one for one, _ in kept)]

    def _detect(self, image: ByteArray, time: float) -> None:
        """Look for new faces, and for lost ones."""
        self._since = 0
        places = self._finder.find(image)
        matches = matched([track.face.box for track in self._tracks], [p.box for p in places], self._how.overlap)
        for i, track in enumerate(self._tracks):
            track.unseen = 0 if i in matches else track.unseen + 1
            track.score = places[matches[i]].score if i in matches else track.score
        fresh = [place for j, place in enumerate(places) if j not in matches.values()]
        if fresh:
            (faces,) = self._finder.at([(image, fresh)])
            self._add([face for face in faces if is_face(face, image)], time)

    def _add(self, faces: Sequence[PredictedFace], time: float) -> None:
        """Begin tracks, or go on with lost ones, at faces that no track follows."""
        taken = [track.face.box for track in self._tracks]
        faces = [face for face in faces if all(overlap(face.box, box) < self._how.merged for box in taken)]
        pairs = [(t.nearness(face, time), i, j) for i, t in enumerate(self._lost) for j, face in enumerate(faces)]
        whose = {j: i for i, j in _greedy([pair for pair in pairs if pair[0] > 0]).items()}
        for j, face in enumerate(faces):
            track = self._lost[whose[j]] if j in whose else self._begun(face, time)
            track.face, track.time, track.score, track.unseen = face, time, face.score, 0
            track.usual = face.doubt
            self._tracks.append(track)
        self._lost = [track for track in self._lost if track not in self._tracks]
        self._tracks.sort(key=lambda track: track.number)

    def _begun(self, face: PredictedFace, time: float) -> _Track:
        self._made += 1
        smoothing = self._how.smoothing
        smoother = None if smoothing is None else Smoother(smoothing)
        return _Track(self._made, face, time, face.score, smoother)


def is_face(face: PredictedFace, image: ByteArray, doubt: float = _DOUBT[0]) -> bool:
    """Whether landmarks are to be believed: certain, in a face's shape, and most of them in the picture.

    Args:
        face: as the landmarker found it.
        image: where; only its shape ``(H, W, 3)`` is read.
        doubt: largest one, in %; a landmarker that tells none is not asked.
    """
    points = face.landmarks
    if not np.isfinite(points).all() or face.doubt > doubt:
        return False
    inside = ((points >= 0) & (points <= [image.shape[1] - 1, image.shape[0] - 1])).all(1)
    if inside.mean() < _VISIBLE:
        return False
    fitted = plausible(points, 0.0)
    side = float(np.ptp(fitted, axis=0).max())
    return float(np.linalg.norm(points - fitted, axis=1).mean()) <= _SHAPE * side


def matched(boxes: Sequence[Array], others: Sequence[Array], least: float) -> dict[int, int]:
    """Pairs of boxes that overlap, the most overlapping ones first, each box in one pair at most.

    Args:
        boxes: ``x0, y0, x1, y1`` each.
        others: likewise.
        least: intersection over union of a pair.

    Returns:
        The number of the other for the number of each box that has one.
    """
    pairs = [(float(overlap(box, other)), i, j) for i, box in enumerate(boxes) for j, other in enumerate(others)]
    return _greedy([pair for pair in pairs if pair[0] >= least])


def _greedy(pairs: Sequence[tuple[float, int, int]]) -> dict[int, int]:
    """Of pairs (how good, one, other), the best ones first, those in which none is in a better one."""
    found: dict[int, int] = {}
    for _, one, other in sorted(pairs, key=lambda pair: -pair[0]):
        if one not in found and other not in found.values():
            found[one] = other
    return found


def _centre(box: Array) -> Array:
    return (box[:2] + box[2:]) / 2


@dataclass(frozen=True)
class _Scene:
    """What tells one scene from another: a small copy, and how often which colours are in it."""

    small: Array
    colours: Array

    @classmethod
    def of(cls, image: ByteArray) -> "_Scene":
        # Every so many pixels first: averaging a large frame would take longer than finding a face in it.
        step = max(1, math.isqrt(image.shape[0] * image.shape[1] // 2**16))
        thin = np.ascontiguousarray(image[::step, ::step])
        small = cv2.resize(thin, _THUMBNAIL, interpolation=cv2.INTER_AREA)
        colours = cv2.calcHist([thin], [0, 1, 2], None, [6, 6, 6], [0, 256, 0, 256, 0, 256])
        return cls(np.asarray(small, dtype=np.float64), np.asarray(colours, dtype=np.float64) / colours.sum())

    def cut_from(self, last: "_Scene") -> bool:
        """Whether both the places and the amounts of colours changed; a moving camera changes the places only."""
        change, shared = np.abs(self.small - last.small).mean(), np.minimum(self.colours, last.colours).sum()
        return bool(change > _CUT[0] and shared < _CUT[1])
