"""Where the faces are without looking: the whole picture, or boxes that are given."""

from pathlib import Path

import numpy as np

from datamodules.faces import ByteArray
from datamodules.formats import bad_file
from datamodules.layout import list_folder, read_boxes
from datamodules.transforms import CROP_FACTOR, Square
from prediction.detection.base import NONE, Detections


class WholeImage:
    """The whole picture is one face's crop, as where a data set has no boxes."""

    def __call__(self, image: ByteArray) -> Detections:
        """One box, whose crop is :meth:`datamodules.transforms.Square.of_image`; without a score."""
        square = Square.of_image(image)
        half = square.side / CROP_FACTOR / 2
        box = np.array([[square.x - half, square.y - half, square.x + half, square.y + half]])
        return Detections(box, np.array([np.nan]))


class GivenBoxes:
    """The boxes of a folder's ``boxes.csv`` (header ``name,x0,y0,x1,y1``), one a picture.

    Args:
        folder: of the pictures; the file lies in it, or beside the folder if that is called ``images``.

    Raises:
        DataError: there is no such file, or it is malformed.
    """

    def __init__(self, folder: Path) -> None:
        file = next((file for file in self._places(folder) if file.is_file()), None)
        if file is None:
            remedy = "Write it, or choose another detector."
            raise bad_file(folder / "boxes.csv", "no such file", "a CSV with the header name,x0,y0,x1,y1", remedy)
        names = {path.name for path in list_folder(folder, "pictures", "")}
        self._boxes = read_boxes(file, names)

    @staticmethod
    def _places(folder: Path) -> list[Path]:
        beside = [folder.absolute().parent / "boxes.csv"] if folder.absolute().name == "images" else []
        return [folder / "boxes.csv", *beside]

    def of(self, path: Path) -> Detections:
        """The box of a picture, without a score; none if it is not in the list."""
        box = self._boxes.get(path.name)
        return NONE if box is None else Detections(box.astype(np.float64)[None], np.array([np.nan]))
