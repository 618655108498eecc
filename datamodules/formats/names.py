"""Lists of image names."""

import re
from pathlib import Path

from datamodules.formats.images import IMAGE_SUFFIXES
from datamodules.formats.reading import bad_file, plain_name, read_text

_COLUMNS = re.compile(rf"\t|({'|'.join(map(re.escape, sorted(IMAGE_SUFFIXES)))})[\s,;]", re.IGNORECASE)
_WFLW = re.compile(r"^(-?\d+(\.\d+)?\s+){100,}")
"""A line that begins with more than a hundred numbers."""


def read_list(path: str | Path) -> dict[str, int]:
    """Read a list of image names, one per line; blank lines and space around a name are ignored.

    Names may contain spaces (300W has ``image_092 _01.jpg``).

    Returns:
        The names in the order of the file (accents as one character each), each with the number of its line (from 1).

    Raises:
        DataError: the file cannot be read, lists nothing, names an image twice, or has further columns.
    """
    lines: dict[str, int] = {}
    for number, line in enumerate(read_text(path, "a list of image names").splitlines(), start=1):
        name = plain_name(line.strip())
        if _WFLW.match(name):
            found = f"landmarks in line {number}, as WFLW's lists have them"
            raise bad_file(path, found, "one image name per line", "WFLW's 98 points are not iBUG-68: write names.")
        if _COLUMNS.search(name) or "\0" in name:
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
