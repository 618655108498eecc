"""Pictures as they come from a browser, and the drawn ones that the page offers."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from datamodules.faces import ByteArray, DataError
from datamodules.synthetic import Style, draw_face
from prediction.images import load_picture

_SIDE: Final = 384
"""Side of the drawn pictures, in pixels."""
_CALM: Final = 0.6
"""Factor on the spread of their poses and expressions."""


@dataclass(frozen=True)
class Example:
    """A face that this project draws.

    Attributes:
        style: how it looks.
        index: which of its series.
    """

    style: Style
    index: int

    def write(self, folder: Path) -> Path:
        """Draw it into a folder; returns the file."""
        image, _ = draw_face(self.style, 0, self.index, _SIDE, _CALM)
        file = folder / f"drawn {self.style} {self.index}.png"
        Image.fromarray(image).save(file)
        return file


SINGLE: Final[Sequence[Example]] = (
    Example("photo", 5),
    Example("photo", 2),
    Example("caricature", 2),
    Example("caricature", 5),
    Example("painting", 5),
)
"""Those offered to find landmarks on."""
PAIRS: Final[Sequence[tuple[Example, Example]]] = (
    (Example("photo", 5), Example("caricature", 2)),
    (Example("photo", 2), Example("painting", 5)),
    (Example("photo", 4), Example("caricature", 5)),
)
"""A photo and what it is warped onto."""


def read_upload(path: str | Path, most_megapixels: float) -> ByteArray:
    """Decode what a browser sent, as RGB and upright, shape ``(H, W, 3)``.

    Args:
        path: of the file on this machine.
        most_megapixels: pictures of more are refused before they are decoded.

    Raises:
        DataError: it is no picture, damaged, or too large. The message gives the file's name, not its place.
    """
    name = Path(path).name
    found = _too_many_pixels(path, most_megapixels)
    if found is not None:
        raise DataError(
            f"{name}: found {found}, expected at most {most_megapixels:g} megapixels. Make it smaller, or start the "
            "demo with a larger --megapixels."
        )
    try:
        return load_picture(path)
    except DataError as error:
        raise DataError(str(error).replace(str(path), name)) from error


def _too_many_pixels(path: str | Path, most_megapixels: float) -> str | None:
    """How many pixels, by the file's header, if they are too many; None also where decoding it will say what is wrong.

    Warnings are a process's own: no two threads may do this at once.
    """
    try:
        with warnings.catch_warnings():
            # We say it ourselves, in the page.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                width, height = image.size
    except Image.DecompressionBombError:
        return "far too many pixels"
    except Exception:  # Pillow's decoders raise OSError, SyntaxError, struct.error and others
        return None
    return f"{width} × {height} pixels" if width * height > most_megapixels * 1e6 else None
