"""Reading and writing single files: ``.pts``, ``.npy``, lists of image names, images.

Landmarks are float32 arrays of shape ``(68, 2)`` in image pixels, zero-based. ``.pts`` files, as the 300W challenge
distributes them, count from 1; only this module converts between the two. Every reader raises
:class:`~datamodules.faces.DataError` naming the file, what was found, what was expected and what to do.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from datamodules.faces import ByteArray, DataError, FloatArray
from datamodules.ibug68 import NUM_LANDMARKS

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
"""Suffixes (lower case) of the files that are taken for images."""

# Files are decoded by their content, not by their suffix: downloaded ".jpg" files often hold another format.
_DECODERS: Final = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")
Image.init()  # loads the decoders, which Image.open does not do when it is given a list of formats
# Pillow's own limit, of 89 million, warns of a large scan. Beyond twice this one it refuses.
Image.MAX_IMAGE_PIXELS = 200_000_000
_QUARTER_TURNS: Final = frozenset({5, 6, 7, 8})
"""EXIF orientations that exchange width and height."""
_LANDMARKS: Final = f"{NUM_LANDMARKS} landmarks (iBUG-68)"


def bad_file(path: str | Path, found: str, expected: str, remedy: str) -> DataError:
    """An error about one file, in the form common to all readers."""
    return DataError(f"{path}: found {found}, expected {expected}. {remedy}")


def read_pts(path: str | Path) -> FloatArray:
    """Read a ``.pts`` file.

    Args:
        path: a file as in 300W: ``version: 1``, ``n_points: 68``, and 68 lines ``x y`` (counted from 1) in braces.

    Returns:
        Landmarks in image pixels, zero-based, shape ``(68, 2)``.

    Raises:
        DataError: the file cannot be read, or does not hold 68 finite points in braces.
    """
    numbered = enumerate(read_text(path, "a .pts file").splitlines(), start=1)
    lines = [(number, line.strip()) for number, line in numbered if line.strip()]
    texts = [text for _, text in lines]
    if texts.count("{") != 1 or texts.count("}") != 1 or texts.index("{") > texts.index("}"):
        found = f"{texts.count('{')} opening and {texts.count('}')} closing braces on lines of their own"
        raise bad_file(path, found, "the points in one pair of braces", "Write the file again in the 300W .pts format.")
    first, last = texts.index("{"), texts.index("}")
    points = [_point(path, number, text) for number, text in lines[first + 1 : last]]
    stated = re.search(r"^n_points:\s*(\d+)\s*$", "\n".join(texts[:first]), re.MULTILINE)
    if stated and int(stated[1]) != len(points):
        found = f"{len(points)} points where the header says {stated[1]}"
        raise bad_file(path, found, _LANDMARKS, "The file may be cut off; fetch or write it again.")
    return _checked_landmarks(path, np.array(points, np.float64).reshape(-1, 2)) - np.float32(1)


def _point(path: str | Path, number: int, text: str) -> tuple[float, float]:
    try:
        x, y = (float(word) for word in text.split())
    except ValueError:
        found = f"{text[:60]!r} in line {number}"
        raise bad_file(path, found, "two numbers, x and y", "Correct that line.") from None
    return x, y


def write_pts(path: str | Path, landmarks: npt.NDArray[np.floating]) -> None:
    """Write landmarks (image pixels, zero-based, shape ``(68, 2)``) as a ``.pts`` file, which counts from 1."""
    header = f"version: 1\nn_points:  {len(landmarks)}\n{{"
    np.savetxt(path, np.asarray(landmarks, np.float64) + 1, "%.6f", header=header, footer="}", comments="")


def read_npy(path: str | Path) -> FloatArray:
    """Read landmarks from an ``.npy`` file (CariFace's layout): shape ``(68, 2)``, image pixels, zero-based.

    Raises:
        DataError: the file cannot be read, is not a plain numeric array of that shape, or holds NaN or infinity.
    """
    remedy = "Save it with numpy.save as a 68×2 array of pixel coordinates."
    data = _read_bytes(path, "a .npy file")
    try:
        array: Any = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise bad_file(path, f"no plain .npy array ({error})", _LANDMARKS, remedy) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        kind = array.dtype if isinstance(array, np.ndarray) else "an archive"
        raise bad_file(path, f"values of type {kind}", "an array of numbers", remedy)
    return _checked_landmarks(path, array)


def write_npy(path: str | Path, landmarks: npt.NDArray[np.floating]) -> None:
    """Write landmarks (image pixels, zero-based, shape ``(68, 2)``) to exactly ``path``, without adding a suffix."""
    with Path(path).open("wb") as file:
        np.save(file, np.asarray(landmarks, np.float32), allow_pickle=False)


def _checked_landmarks(path: str | Path, array: npt.NDArray[Any]) -> FloatArray:
    if array.ndim == 2 and array.shape[1] == 2 and len(array) != NUM_LANDMARKS:
        remedy = "Only the 68-point iBUG annotation can be used; convert or annotate again."
        raise bad_file(path, f"{len(array)} points", _LANDMARKS, remedy)
    if array.shape != (NUM_LANDMARKS, 2):
        raise bad_file(path, f"an array of shape {array.shape}", "shape (68, 2)", "Reshape it to one row (x, y) each.")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        x, y = array[bad[0]]
        found = f"({x}, {y}) for landmark {bad[0]} (of 0…67)"
        raise bad_file(path, found, "finite coordinates", "Correct that landmark, or leave the file out.")
    return array.astype(np.float32)


def read_list(path: str | Path) -> dict[str, int]:
    """Read a list of image names, one per line; blank lines and space around a name are ignored.

    Names may contain spaces (300W has ``image_092 _01.jpg``).

    Returns:
        The names in the order of the file, each with the number of its line (from 1).

    Raises:
        DataError: the file cannot be read, lists nothing, names an image twice, or has further columns.
    """
    columns = re.compile(rf"\t|({'|'.join(map(re.escape, sorted(IMAGE_SUFFIXES)))})[\s,;]", re.IGNORECASE)
    lines: dict[str, int] = {}
    for number, line in enumerate(read_text(path, "a list of image names").splitlines(), start=1):
        name = line.strip()
        if columns.search(name):
            found = f"more than a name in line {number} ({name[:60]!r})"
            raise bad_file(path, found, "one image name per line", "Take the other columns out.")
        if name in lines:
            found = f"{name!r} in line {number} and in line {lines[name]}"
            raise bad_file(path, found, "each image once", "Take one of the lines out.")
        if name:
            lines[name] = number
    if not lines:
        raise bad_file(path, "no names", "one image name per line", "Fill the list or remove the file.")
    return lines


def read_image(path: str | Path) -> ByteArray:
    """Decode an image as RGB, upright.

    EXIF orientation is applied; grey, palette, CMYK and 16-bit pixels become 8-bit RGB; transparency is dropped.
    Decoded by Pillow, which raises on a truncated file; OpenCV fills the missing part with grey and reports nothing.

    Returns:
        uint8 array of shape ``(H, W, 3)``.

    Raises:
        DataError: the file is missing, unreadable, empty, truncated or not an image.
    """
    return read_picture(path)[0]


def read_picture(path: str | Path) -> tuple[ByteArray, int]:
    """What :func:`read_image` gives, and how many pictures follow one another in the file: more than 1 if it moves.

    Of several, the first is decoded.

    Raises:
        DataError: as :func:`read_image`.
    """
    with _opened(path) as image:
        # A JPEG of several (MPO) holds other views of the same moment, as telephones make them.
        frames = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
        image.seek(0)
        return upright_rgb(image), frames


def upright_rgb(image: Image.Image) -> ByteArray:
    """The pixels of a Pillow image as :func:`read_image` gives them, uint8, shape ``(H, W, 3)``.

    Raises:
        ValueError: its pixels are floating-point numbers.
        OSError: its file is damaged.
    """
    return np.array(_as_rgb(ImageOps.exif_transpose(image)), np.uint8)


def check_image(path: str | Path) -> tuple[int, int, int]:
    """Check that :func:`read_image` can decode an image.

    A JPEG is decoded at an eighth of its size, which still reads every byte but takes half the time.

    Returns:
        Width and height of the upright image in pixels, and the file's size in bytes.

    Raises:
        DataError: as :func:`read_image`.
    """
    with _opened(path) as image:
        full_size = image.size
        image.draft(None, (1, 1))
        reduced = image.size != full_size
        image.load()
        # Pillow turns a TIFF upright while loading it: its size then changes and its orientation tag is removed.
        width, height = full_size if reduced else image.size
        if image.getexif().get(ExifTags.Base.Orientation) in _QUARTER_TURNS:
            width, height = height, width
        if image.mode not in ("RGB", "L"):
            _as_rgb(image)
    return width, height, Path(path).stat().st_size


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion would clip at 255
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels")
    return image.convert("RGBA" if image.mode in ("P", "PA") else image.mode).convert("RGB")


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    data = _read_bytes(path, "an image")
    try:
        with Image.open(io.BytesIO(data), formats=_DECODERS) as image:
            yield image
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error and others
        reason = re.sub(r" <_io.BytesIO object at 0x[0-9a-f]+>", "", str(error)) or type(error).__name__
        found = f"{len(data)} bytes that cannot be decoded ({reason})"
        remedy = "It may be truncated or no image at all: fetch it again, convert it, or remove it."
        raise bad_file(path, found, "a complete jpg, png, bmp, webp or tif image", remedy) from error


def read_text(path: str | Path, expected: str) -> str:
    """Read a UTF-8 text file, with or without a byte-order mark.

    Args:
        path: the file.
        expected: what the file should be, for messages.

    Raises:
        DataError: the file is missing, unreadable, empty or not text.
    """
    data = _read_bytes(path, expected)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise bad_file(path, "bytes that are not text", f"{expected}, as text (UTF-8)", "Replace the file.") from None


def _read_bytes(path: str | Path, expected: str) -> bytes:
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        found = "a link to nothing" if Path(path).is_symlink() else "no such file"
        raise bad_file(path, found, expected, "Check the name, or put the file there.") from None
    except PermissionError:
        remedy = f"Give yourself the right to read it, e.g. chmod u+r {path}"
        raise bad_file(path, "a file without read permission", expected, remedy) from None
    except OSError as error:
        found = f"something unreadable ({error.strerror})"
        raise bad_file(path, found, expected, "Check the path and the disk.") from error
    if not data:
        raise bad_file(path, "an empty file (0 bytes)", expected, "Fetch or write it again.")
    return data
