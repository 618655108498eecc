"""Pictures to faces: detection, crops, landmarks, in batches."""

from collections.abc import Iterable, Iterator, Sequence

from datamodules.faces import ByteArray
from datamodules.transforms import Square
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.landmarkers.inference import Inference
from prediction.detection.base import Detector
from prediction.faces import PredictedFace


class Predictor:
    """A detector and a landmarker, one behind the other.

    Args:
        landmarker: what finds landmarks in crops.
        detector: what finds faces in pictures.
        inference: how landmarks are found in a picture, given a square around the face.
        batch_size: faces that the landmarker takes at once.
        turned: also find faces turned up to 90 degrees in the picture's plane, by turning the crop.
    """

    def __init__(
        self,
        landmarker: Landmarker,
        detector: Detector,
        inference: Inference = Inference(recrop=2),
        batch_size: int = 16,
        turned: bool = True,
    ) -> None:
        raise NotImplementedError  # helper B

    def __call__(self, image: ByteArray) -> list[PredictedFace]:
        """The faces of one picture (RGB, uint8, shape ``(H, W, 3)``), best first."""
        return next(self.many([image]))

    def many(self, images: Iterable[ByteArray]) -> Iterator[list[PredictedFace]]:
        """The faces of each picture, in order; faces of several pictures share a batch."""
        raise NotImplementedError  # helper B

    def in_squares(self, image: ByteArray, squares: Sequence[Square]) -> list[PredictedFace]:
        """The face in each of the squares of one picture, without a detector: what a tracker asks."""
        raise NotImplementedError  # helper B
