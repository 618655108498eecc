"""Pictures to faces: detection, crops, landmarks, in batches."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from datamodules.faces import ByteArray
from datamodules.transforms import Square
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.landmarkers.inference import Inference, find_in_images
from prediction.detection.base import Array, Detector, overlap
from prediction.detection.turned import Place, find_turned, places
from prediction.faces import PredictedFace
from prediction.views import View, eye_turn, view_of

_LEVEL = 20.0
"""Degrees up to which a landmarker may see a face turned: training turns faces by about as much."""
_MOST_TURNED = 110.0
"""Degrees beyond which a face is not taken to be turned, but its landmarks to be wrong."""
_TURNS = 2
"""How often at most a face's crop is turned level to the landmarks found."""
_ONE_FACE = 0.5
"""Intersection over union of two landmark boxes from which they are one face's."""
USUAL = Inference(recrop=2, tolerance=0.15)
"""Crops again only where a face's square is off by more than 15 % of its side: a good box takes one crop.

Through the default detector's boxes, that took 1.04 crops a face on 25 caricatures (NME 7.36 %; 7.24 % with a tolerance
of 0.01, in three times the time; 7.00 % from the annotated box), and 1.01 on 150 photos of 300W's common set (3.34 %;
3.32 %; 3.27 %)."""
_HELD = 256 * 2**20
"""Bytes of pictures that wait for others to fill a batch."""


@dataclass
class _Face:
    """A face on its way: of which of the waiting pictures, where it was detected, how it is looked at, what was found.

    A turned face is seen in a turned copy of its surroundings; all else is in the picture's pixels.
    """

    picture: int
    place: Place
    view: View
    found: PredictedFace | None = None

    @property
    def tilt(self) -> float:
        """How far the eyes found are from level in the view, in degrees."""
        return 0.0 if self.found is None else eye_turn(self.found.landmarks) - self.view.turn

    @property
    def tilted(self) -> bool:
        """Whether the face is to be looked at again with its eyes level; one on its head is not believed."""
        return abs(self.tilt) > _LEVEL and abs(self.view.turn + self.tilt) <= _MOST_TURNED

    def levelled(self, image: ByteArray) -> "_Face":
        """The face in a view of its picture in which the eyes found are level."""
        # A turned face's box is larger than that of the face upright, to which it will be cropped again.
        square = self.view.square if self.found is None else Square.around(self.found.box)
        return _Face(self.picture, self.place, view_of(image, square, self.view.turn + self.tilt))

    def improve(self, other: "_Face") -> None:
        """Take what was found in another view if the eyes are nearer to level there."""
        if abs(other.tilt) < abs(self.tilt):
            self.view, self.found = other.view, other.found


class Predictor:
    """A detector and a landmarker, one behind the other.

    Args:
        landmarker: what finds landmarks in crops.
        detector: what finds faces in pictures.
        inference: how landmarks are found in a picture, given a square around the face.
        batch_size: faces that the landmarker takes at once.
        turned: also find faces turned up to 90 degrees in the picture's plane, by turning the crop.

    Attributes:
        lost: how many faces of the picture given last the landmarker found landmarks of that are not finite. They are
            not among the picture's faces.
    """

    def __init__(
        self,
        landmarker: Landmarker,
        detector: Detector,
        inference: Inference = USUAL,
        batch_size: int = 16,
        turned: bool = True,
    ) -> None:
        self.landmarker, self.detector, self.inference = landmarker, detector, inference
        self.batch_size, self.turned = batch_size, turned
        self.lost = 0

    def __call__(self, image: ByteArray) -> list[PredictedFace]:
        """The faces of one picture (RGB, uint8, shape ``(H, W, 3)``), best first."""
        return next(self.many([image]))

    def many(self, images: Iterable[ByteArray]) -> Iterator[list[PredictedFace]]:
        """The faces of each picture, in order; faces of several pictures share a batch."""
        return self.at((image, self.find(image)) for image in images)

    def find(self, image: ByteArray) -> list[Place]:
        """Where the detector finds faces, upright or, if that is asked for, turned."""
        return find_turned(self.detector, image) if self.turned else places(self.detector(image))

    def at(self, pictures: Iterable[tuple[ByteArray, Sequence[Place]]]) -> Iterator[list[PredictedFace]]:
        """The faces of each picture at given places, in order; the steps of :meth:`many` apart, to detect ahead."""
        waiting: list[tuple[ByteArray, Sequence[Place]]] = []
        faces = held = 0
        for image, found in pictures:
            waiting.append((image, found))
            faces, held = faces + len(found), held + image.nbytes
            if faces >= self.batch_size or held >= _HELD:
                yield from self._faces(waiting)
                waiting, faces, held = [], 0, 0
        yield from self._faces(waiting)

    def in_squares(
        self, image: ByteArray, squares: Sequence[Square], turns: Sequence[float] | None = None
    ) -> list[PredictedFace]:
        """The face in each of the squares of one picture, without a detector: what a tracker asks.

        Args:
            image: RGB, uint8, shape ``(H, W, 3)``.
            squares: around each face, in its pixels.
            turns: how far each face is turned clockwise, in degrees; not at all if None.

        Returns:
            As many faces, in the order of the squares; without a score. Their landmarks are as the landmarker gives
            them, finite or not.
        """
        turns = [0.0] * len(squares) if turns is None else turns
        given = [Place(square, np.nan, turn) for square, turn in zip(squares, turns, strict=True)]
        return [found for face in self._found([(image, given)]) if (found := face.found) is not None]

    def in_boxes(self, image: ByteArray, boxes: Array) -> list[PredictedFace]:
        """The face in each of the boxes ``(N, 4)`` of one picture, in their order; without a score."""
        return self.in_squares(image, [Square.around(box) for box in boxes])

    def _faces(self, pictures: Sequence[tuple[ByteArray, Sequence[Place]]]) -> Iterator[list[PredictedFace]]:
        faces = self._found(pictures)
        for number in range(len(pictures)):
            found = [face.found for face in faces if face.picture == number and face.found is not None]
            known = [face for face in found if face.is_finite]
            self.lost = len(found) - len(known)
            yield _distinct(known)

    def _found(self, pictures: Sequence[tuple[ByteArray, Sequence[Place]]]) -> list[_Face]:
        faces = [
            _Face(number, place, view_of(image, place.square, place.turn))
            for number, (image, found) in enumerate(pictures)
            for place in found
        ]
        self._look(faces)
        for _ in range(_TURNS if self.turned else 0):
            tilted = [face for face in faces if face.tilted]
            levelled = [face.levelled(pictures[face.picture][0]) for face in tilted]
            self._look(levelled)
            for face, level in zip(tilted, levelled, strict=True):
                face.improve(level)
        return faces

    def _look(self, faces: Sequence[_Face]) -> None:
        """Find the landmarks of each face in its view, a batch at a time."""
        for start in range(0, len(faces), self.batch_size):
            batch = faces[start : start + self.batch_size]
            views = [face.view for face in batch]
            seen = find_in_images(
                self.landmarker, [view.image for view in views], [view.square for view in views], self.inference
            )
            for face, landmarks, spread in zip(batch, seen.pixels.cpu(), seen.uncertainty.cpu(), strict=True):
                pixels = face.view.to_picture(landmarks.double().numpy())
                uncertainty = spread.double().numpy() / face.view.scale
                face.found = PredictedFace(pixels, uncertainty, face.place.box, face.place.score)


def _distinct(faces: Sequence[PredictedFace]) -> list[PredictedFace]:
    """Faces without those that a better one has found already, best first."""
    kept: list[PredictedFace] = []
    for face in sorted(faces, key=lambda face: -np.nan_to_num(face.score, nan=1.0)):
        if not kept or overlap(np.stack([other.box for other in kept]), face.box).max() < _ONE_FACE:
            kept.append(face)
    return kept
