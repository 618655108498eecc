"""Pictures: any file that Pillow decodes as upright 8-bit RGB; and what is odd about one."""

import importlib
import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from datamodules.faces import ByteArray, DataError
from datamodules.formats.reading import bad_file, content_kind, read_bytes

IMAGE_SUFFIXES: Final = frozenset(
    {
        *(".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif"),
        *(".jp2", ".j2k", ".jpf", ".jpx", ".ppm", ".pgm", ".pnm"),
    }
)
"""Suffixes (lower case) of the files that are taken for images."""

# Files are decoded by their content, not by their suffix: downloaded ".jpg" files often hold another format.
_DECODERS: Final = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM", "HEIF")
Image.init()  # loads the decoders, which Image.open does not do when it is given a list of formats
MOST_PIXELS: Final = 200_000_000
"""Of a picture. Pillow's own limit, of 89 million, warns of a large scan."""
Image.MAX_IMAGE_PIXELS = 2 * MOST_PIXELS  # so that what is refused here is not warned of before
_LARGEST_FILE: Final = 2**30
_LARGE: Final = 20_000_000
_one_large = threading.Lock()
"""Pictures of more than ``_LARGE`` pixels are decoded one at a time, as their memory adds up."""
_QUARTER_TURNS: Final = frozenset({5, 6, 7, 8})
"""EXIF orientations that exchange width and height."""
_WITH_ALPHA: Final = frozenset({"RGBA", "LA", "PA", "RGBa", "La"})
_DEPTHS: Final = (8, 12, 16, 24, 32)
"""Bits a value, of cameras and of files."""
_DARK: Final = 16
_LEAST_SIDE: Final = 8
_LONGEST: Final = 8
"""Times that a picture's longer side is the shorter one, above which it hardly shows a face."""
_FLAT: Final = 2


class ImageCheck(NamedTuple):
    """What is known of an image that can be decoded.

    Attributes:
        width: of the upright image, in pixels.
        height: likewise.
        size: of the file, in bytes.
        oddity: why it may show no face, in words, or None: it is of one colour, tiny, or a strip.
    """

    width: int
    height: int
    size: int
    oddity: str | None


def read_image(path: str | Path) -> ByteArray:
    """Decode an image as RGB, upright.

    EXIF orientation is applied; grey, palette, CMYK and 16-bit pixels become 8-bit RGB; what is transparent becomes
    white, as on paper. Decoded by Pillow, which raises on a truncated file; OpenCV fills the missing part with grey and
    reports nothing.

    Returns:
        uint8 array of shape ``(H, W, 3)``.

    Raises:
        DataError: the file is missing, unreadable, empty, truncated, too large or not an image.
    """
    return read_picture(path)[0]


def read_picture(path: str | Path) -> tuple[ByteArray, int]:
    """What :func:`read_image` gives, and how many pictures follow one another in the file: more than 1 if it moves.

    Of several, the first is decoded.

    Raises:
        DataError: as :func:`read_image`.
    """
    with _opened(path) as (image, data):
        # A JPEG of several (MPO) holds other views of the same moment, as telephones make them.
        frames = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
        image.seek(0)
        decoded = _deep(image, data)
        ImageOps.exif_transpose(decoded, in_place=True)
        return np.array(_as_rgb(decoded), np.uint8), frames


def upright_rgb(image: Image.Image) -> ByteArray:
    """The pixels of a Pillow image as :func:`read_image` gives them, uint8, shape ``(H, W, 3)``.

    Raises:
        ValueError: its pixels are floating-point numbers.
        OSError: its file is damaged.
    """
    return np.array(_as_rgb(ImageOps.exif_transpose(image)), np.uint8)


def check_image(path: str | Path) -> ImageCheck:
    """Check that :func:`read_image` can decode an image.

    A JPEG is decoded at an eighth of its size, which still reads every byte but takes half the time.

    Raises:
        DataError: as :func:`read_image`.
    """
    with _opened(path) as (image, data):
        full_size = image.size
        image.draft(None, (1, 1))
        reduced = image.size != full_size
        decoded = _deep(image, data)
        # Pillow turns a TIFF upright while loading it: its size then changes and its orientation tag is removed.
        width, height = full_size if reduced else image.size
        if image.getexif().get(ExifTags.Base.Orientation) in _QUARTER_TURNS:
            width, height = height, width
        pixels = decoded if decoded.mode == "L" else _as_rgb(decoded)
        return ImageCheck(width, height, len(data), oddity_of(width, height, pixels))


def oddity_of(width: int, height: int, pixels: Image.Image) -> str | None:
    """Why a picture may show no face, in words, or None.

    Args:
        width: of the picture.
        height: likewise.
        pixels: the picture, possibly at a smaller size; ``L`` or ``RGB``.
    """
    longer, shorter = max(width, height), min(width, height)
    if shorter < _LEAST_SIDE or longer > _LONGEST * shorter:
        return f"{width}×{height} pixels"
    ranges: Any = pixels.getextrema() if pixels.mode != "L" else [pixels.getextrema()]
    return "one colour" if all(high - low <= _FLAT for low, high in ranges) else None


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion would clip at 255
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels")
    if image.mode in _WITH_ALPHA or (image.mode == "P" and "transparency" in image.info):
        return _on_white(image.convert("RGBA"))
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """What is transparent becomes white: beneath it drawing programs leave black, and ink would be lost in that."""
    paper = Image.new("RGB", image.size, "white")
    paper.paste(image, mask=image.getchannel("A"))
    return paper


def _eight_bits(values: npt.NDArray[np.integer]) -> ByteArray:
    """Whole numbers as bytes, by as many bits as they use: files of 16 bits often hold values of 8 or 12."""
    most = int(values.max(initial=0))
    depth = next(depth for depth in _DEPTHS if most < 2**depth)
    return (values.clip(0) >> (depth - 8)).astype(np.uint8)


def _deep(image: Image.Image, data: bytes) -> Image.Image:
    """The image, loaded; decoded again where Pillow would drop what colours of 16 bits hold in their lower byte."""
    deep = ";16" in str(getattr(image, "tile", "")) and not image.mode.startswith("I")
    turned = image.getexif().get(ExifTags.Base.Orientation) if deep else None
    image.load()
    if not deep or max(high for _, high in _colours(image)) >= _DARK:
        return image
    import cv2

    values: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        return image
    colours = Image.fromarray(np.ascontiguousarray(_eight_bits(values[..., :3])[..., ::-1]))
    if values.shape[2] == 4:
        colours.putalpha(Image.fromarray((values[..., 3] >> 8).astype(np.uint8)))
    if turned is not None:
        colours.getexif()[ExifTags.Base.Orientation] = turned
    return colours


def _colours(image: Image.Image) -> list[tuple[int, int]]:
    """Least and greatest value of each colour, without the opacity."""
    extrema: Any = image.getextrema()
    bands = extrema if isinstance(extrema[0], tuple) else [extrema]
    return list(bands[:-1] if image.mode in _WITH_ALPHA else bands)


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[Image.Image, bytes]]:
    data = read_bytes(path, "an image", _LARGEST_FILE)
    try:
        with Image.open(io.BytesIO(data), formats=_decoders(data)) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                found, remedy = f"{width}×{height} pixels", "Scale it down, and its landmarks with it."
                raise bad_file(path, found, f"at most {MOST_PIXELS // 10**6} million pixels", remedy)
            with _one_large if width * height > _LARGE else nullcontext():
                yield image, data
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error and others
        raise _undecodable(path, data, error) from error


def _undecodable(path: str | Path, data: bytes, error: Exception) -> DataError:
    reason = re.sub(r" <_io.BytesIO object at 0x[0-9a-f]+>", "", str(error)) or type(error).__name__
    reason = " ".join(reason.split())
    kind = content_kind(data)
    found = f"{len(data)} bytes that cannot be decoded ({reason})" + (f", {kind}" if kind else "")
    remedy = "It may be truncated or no image at all: fetch it again, convert it, or remove it."
    if kind == "a HEIC picture" and "HEIF" not in Image.OPEN:
        remedy = "Install pillow-heif (pip install pillow-heif), or convert it to jpg or png."
    return bad_file(path, found, "a complete jpg, png, bmp, webp or tif image", remedy)


def _decoders(data: bytes) -> list[str]:
    """Pillow's names of those that are installed."""
    if content_kind(data) == "a HEIC picture" and "HEIF" not in Image.OPEN:
        with suppress(ImportError):
            importlib.import_module("pillow_heif").register_heif_opener()
    return [name for name in _DECODERS if name in Image.OPEN]
