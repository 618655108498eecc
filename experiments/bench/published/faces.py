"""How the published program makes a crop: decoded from its file each time it is drawn, by one process."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import Compose, Normalize, ToTensor

from datamodules.faces import ByteArray, FaceSet, FloatArray, landmark_box
from datamodules.ibug68 import FLIP_PERMUTATION, NUM_LANDMARKS
from datamodules.transforms import CROP_FACTOR, Square

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Record:
    """What the program keeps of a face.

    Attributes:
        path: of the image.
        box: ``(x0, y0, x1, y1)``, image pixels.
        landmarks: image pixels, shape ``(68, 2)``; zeros where it has none.
    """

    path: str
    box: FloatArray
    landmarks: FloatArray


class Crop(NamedTuple):
    """A crop, or a batch of them as torch's own collation makes it.

    Attributes:
        image: RGB in [-1, 1], shape ``(3, S, S)``.
        landmarks: crop coordinates, float32, shape ``(68, 2)``.
        matrix: image pixels to crop pixels, shape ``(2, 3)``.
        path: of the image.
    """

    image: Tensor
    landmarks: FloatArray
    matrix: Matrix
    path: str


def read_records(faces: FaceSet) -> list[Record]:
    """Records of a set of faces in files; a face without landmarks and box is cropped to the whole image."""
    records = []
    for face in faces:
        square = Square.of_image(face.image)
        half = square.side / CROP_FACTOR / 2
        whole = np.array([square.x - half, square.y - half, square.x + half, square.y + half], np.float32)
        landmarks = np.zeros((NUM_LANDMARKS, 2), np.float32) if face.landmarks is None else face.landmarks
        box = landmark_box(landmarks) if face.landmarks is not None else face.box
        records.append(Record(face.path, whole if box is None else box, landmarks))
    return records


class PublishedFaces(Dataset[Crop]):
    """Crops of faces, plain or varied as in pretraining and in the proximal phase (configs/profiles/paper.yaml).

    Chance comes from numpy's global generator, as there.

    Args:
        records: the faces.
        size: side of the crops, in pixels.
        varied: turn, shift, scale, mirror, grey and cover them.
    """

    def __init__(self, records: Sequence[Record], size: int, varied: bool = False) -> None:
        self.records, self.size, self.varied = records, size, varied
        self.to_tensor = Compose([ToTensor(), Normalize([0.5] * 3, [0.5] * 3)])

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Crop:
        record = self.records[index]
        decoded = cv2.cvtColor(cv2.imread(record.path), cv2.COLOR_BGR2RGB)
        matrix = self._matrix(record.box)
        image = np.asarray(cv2.warpAffine(decoded, matrix, (self.size, self.size), flags=cv2.INTER_LINEAR), np.uint8)
        landmarks = record.landmarks.astype(np.float64)
        for i, point in enumerate(landmarks):  # one by one, as published
            landmarks[i] = matrix @ np.array([*point, 1.0])
        if self.varied:
            image, landmarks = self._vary(image, landmarks)
        return Crop(self.to_tensor(image), (landmarks / self.size).astype(np.float32), matrix, record.path)

    def _matrix(self, box: FloatArray) -> Matrix:
        """To the square about the box, 1.2 times its longer side; varied, turned and shifted by it."""
        factor, angle, shift = CROP_FACTOR, 0.0, np.zeros(2)
        if self.varied:
            draws = np.random.normal(size=4)  # noqa: NPY002 - as published
            angle = float(np.radians(15 * np.clip(draws[0], -2, 2)))
            factor += 0.05 * float(np.clip(draws[1], -1, 1))
            shift = 0.05 * np.clip(draws[2:], -1, 1)
        side = factor * float((box[2:] - box[:2]).max())
        centre = (box[:2] + box[2:]) / 2 + side * shift
        cosine, sine = np.cos(angle), np.sin(angle)
        linear = self.size / side * np.array([[cosine, sine], [-sine, cosine]])
        return np.hstack([linear, (self.size / 2 - linear @ centre)[:, None]])

    def _vary(self, image: ByteArray, landmarks: Matrix) -> tuple[ByteArray, Matrix]:
        """Mirror half of the crops, take the colours of a fifth, cover a rectangle in half."""
        random = np.random.randint
        if random(0, 2):
            image = image[:, ::-1].copy()
            landmarks = np.array([[self.size - 1 - landmarks[i][0], landmarks[i][1]] for i in FLIP_PERMUTATION])
        if random(0, 5) == 1:
            image = np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)
        if random(0, 2):
            width, height = (max(1, int(self.size * side)) for side in np.random.normal(0.2, 0.08, 2))  # noqa: NPY002
            left, top = random(0, self.size - width), random(0, self.size - height)
            image[top : top + height, left : left + width] = [random(0, 256) for _ in range(3)]
        return image, landmarks
