"""Landmarks as ``.pts`` files in a folder that is a labelled data set: to be corrected, tested on, trained on."""

import os
import shutil
from pathlib import Path

from PIL import Image

from datamodules.formats import IMAGE_SUFFIXES, write_pts
from prediction.outputs.base import Record, write_whole


class PointsOutput:
    """``landmarks/NAME.pts`` of each face (300W's format, which counts from 1), and its picture as ``images/NAME.jpg``.

    So the folder is one that SOURCE and TEST take. A picture is a hard link to the original where that is possible, and
    a copy elsewhere; a face of several has a link of its own. What a data set does not take (gif) becomes a png.

    Args:
        folder: exists; both folders are made in it.
    """

    def __init__(self, folder: Path) -> None:
        self._images, self._landmarks = folder / "images", folder / "landmarks"
        self._images.mkdir(exist_ok=True)
        self._landmarks.mkdir(exist_ok=True)

    def add(self, record: Record) -> None:
        """Write the files of each face."""
        for name, face in zip(record.names, record.result.faces, strict=True):
            self._link(record, name)
            write_whole(self._landmarks / f"{name}.pts", lambda path, face=face: write_pts(path, face.landmarks))  # type: ignore[misc]

    def _link(self, record: Record, name: str) -> None:
        original, image = record.result.path, record.result.image
        if original.suffix.lower() not in IMAGE_SUFFIXES and image is not None:
            write_whole(self._images / f"{name}.png", lambda path: Image.fromarray(image).save(path))
            return
        link = self._images / f"{name}{original.suffix}"
        link.unlink(missing_ok=True)
        try:
            os.link(original.resolve(), link)
        except OSError:  # another file system, or one without links
            write_whole(link, lambda path: shutil.copyfile(original, path))

    def close(self) -> None:
        """Nothing is left to do."""
