"""Frames whose faces are known, and a predictor that sees just those: for what is around the real one."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from datamodules.transforms import Square
from lightning_modules.landmarkers.reference_shape import MEAN_FACE
from prediction.detection.turned import Place
from prediction.faces import PredictedFace

_SHAPE = (np.array(MEAN_FACE) - np.array(MEAN_FACE).min(0)) / np.ptp(np.array(MEAN_FACE), axis=0).max()
WIDTH, HEIGHT = 320, 240


def face_at(x: float, y: float, side: float = 60.0, score: float = 0.9, doubt: float = 3.0) -> PredictedFace:
    """A mean face whose box's centre is there, certain as said."""
    points = _SHAPE * side
    points = points - (points.min(0) + points.max(0)) / 2 + [x, y]
    interocular = float(np.linalg.norm(points[36] - points[45]))
    box = np.concatenate([points.min(0), points.max(0)])
    return PredictedFace(points, np.full(68, doubt / 100 * interocular), box, score)


@dataclass
class World:
    """``faces(i)`` are the faces to be seen in frame i; the frame itself says which it is by its first pixel."""

    faces: Callable[[int], list[PredictedFace]]
    scene: Callable[[int], tuple[int, int, int]] = lambda i: (90, 120, 100)

    def __post_init__(self) -> None:
        self.detected: list[int] = []
        self.asked: list[list[Square]] = []

    def frame(self, i: int) -> np.ndarray:
        image = np.full((HEIGHT, WIDTH, 3), self.scene(i), dtype=np.uint8)
        image[0, 0] = i % 256, i // 256, 0
        return image

    def _seen(self, image: np.ndarray) -> tuple[int, list[PredictedFace]]:
        i = int(image[0, 0, 0]) + 256 * int(image[0, 0, 1])
        return i, self.faces(i)

    def find(self, image: np.ndarray) -> list[Place]:
        i, faces = self._seen(image)
        self.detected.append(i)
        return [Place(Square.around(face.box), face.score) for face in faces]

    def at(self, pictures: Iterable[tuple[np.ndarray, Sequence[Place]]]) -> Iterator[list[PredictedFace]]:
        for image, places in pictures:
            faces = self.in_squares(image, [place.square for place in places])
            yield [
                PredictedFace(f.landmarks, f.uncertainty, f.detected, place.score)
                for f, place in zip(faces, places, strict=True)
            ]

    def in_squares(
        self, image: np.ndarray, squares: Sequence[Square], turns: Sequence[float] | None = None
    ) -> list[PredictedFace]:
        """The face nearest to each square's centre; where none is near, a doubtful one in its middle."""
        self.asked.append(list(squares))
        faces, found = self._seen(image)[1], []
        for square in squares:
            far = [np.hypot(*((f.box[:2] + f.box[2:]) / 2 - square[:2])) for f in faces]
            near = bool(far) and min(far) < 0.5 * square.side
            face = faces[int(np.argmin(far))] if near else face_at(square.x, square.y, square.side / 1.2, doubt=40)
            found.append(PredictedFace(face.landmarks, face.uncertainty, face.detected, np.nan))
        return found
