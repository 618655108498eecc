"""Pictures as they come: which files there are, and any of them as an array."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from datamodules.faces import ByteArray, DataError
from datamodules.formats import IMAGE_SUFFIXES, bad_file, check_image, oddity_of, read_picture, shown
from datamodules.layout import images_folder, list_folder

PICTURE_SUFFIXES: Final = IMAGE_SUFFIXES
"""Suffixes (lower case) of the files of a folder that are taken for pictures."""

InputKind = Literal["pictures", "video", "camera"]

_log = logging.getLogger(__name__)
_In = TypeVar("_In")
_Out = TypeVar("_Out")


def kind_of(source: str) -> InputKind:
    """What is to be looked at: a camera (``camera``, ``camera:1``), a picture or a folder of such, or a video.

    A file whose suffix is none of a picture's is a picture if it can be decoded as one, else a video.

    Raises:
        DataError: there is no such file or folder.
    """
    if source.partition(":")[0] == "camera":
        return "camera"
    path = Path(source).expanduser()
    if path.is_dir() or path.suffix.lower() in PICTURE_SUFFIXES:
        return "pictures"
    if not path.is_file():
        remedy = "Check the name, or give camera for the first camera."
        raise bad_file(path, "no such file", "a picture, a folder of pictures, or a video", remedy)
    try:
        check_image(path)
    except DataError:
        return "video"
    return "pictures"


def list_pictures(source: str | Path) -> list[Path]:
    """The pictures of a folder, sorted by name; of ``folder/images`` where there is one. Or the one picture given.

    Raises:
        DataError: there is no such folder, or it holds no picture.
    """
    path = Path(source).expanduser()
    if path.is_file() or path.suffix.lower() in PICTURE_SUFFIXES:
        return [path]
    expected = "a folder of pictures (jpg, png, bmp, webp, tif, gif)"
    list_folder(path, expected, "Check the name.")
    folder = images_folder(path)
    files = [file for file in list_folder(folder, expected, "Check the name.") if not file.is_dir()]
    pictures = [file for file in files if file.suffix.lower() in PICTURE_SUFFIXES]
    if not pictures:
        found = f"no picture but {', '.join(file.name for file in files[:5])}" if files else "no picture"
        raise bad_file(folder, found, expected, "Give the folder that holds the pictures; others are not searched.")
    if len(pictures) < len(files):
        _log.info("%s: %d files are no pictures and are left out", folder, len(files) - len(pictures))
    return pictures


def load_picture(path: str | Path) -> ByteArray:
    """Any picture as RGB, upright, uint8, shape ``(H, W, 3)``; see :func:`datamodules.formats.read_image`.

    Of an animation it is the first frame, which the log says.

    Raises:
        DataError: the file is missing, unreadable, empty, truncated or no picture.
    """
    image, frames = read_picture(path)
    if oddity := oddity_of(image.shape[1], image.shape[0], Image.fromarray(image)):
        _log.warning("%s: can hardly show a face (%s)", shown(path), oddity)
    if frames > 1:
        _log.warning("%s: holds %d pictures; the first is used", path, frames)
    return image


def as_picture(image: npt.NDArray[np.generic]) -> ByteArray:
    """An array as a picture.

    Args:
        image: RGB of shape ``(H, W, 3)``, grey of shape ``(H, W)`` or ``(H, W, 1)``, or with alpha ``(H, W, 4)``, which
            is dropped; uint8.

    Raises:
        DataError: it is of another shape or type.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape or image.shape[2:] not in _CHANNELS:
        raise DataError(
            f"the picture: found an array of shape {image.shape} and type {image.dtype}, expected (H, W, 3), RGB, of "
            "type uint8 (0 to 255). Convert it, e.g. (255 * image).astype(numpy.uint8)."
        )
    if image.ndim == 2 or image.shape[2] == 1:
        image = np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(image[:, :, :3], dtype=np.uint8)


_CHANNELS: Final = ((), (1,), (3,), (4,))


def ahead(work: Callable[[_In], _Out], items: Iterable[_In], threads: int = 2, lead: int = 8) -> Iterator[_Out]:
    """What ``work`` makes of each item, in order, made in threads while the last ones are used.

    Args:
        work: is called in a thread; what it raises is raised here.
        items: are taken as they are needed.
        threads: how many.
        lead: how many results at most are made before they are asked for.
    """
    with ThreadPoolExecutor(threads) as pool:
        coming: deque[Future[_Out]] = deque()
        try:
            for item in items:
                coming.append(pool.submit(work, item))
                if len(coming) >= lead:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
        finally:
            for future in coming:
                future.cancel()
