"""Bytes and text of single files, and the one form of all messages about files."""

import stat
import unicodedata
from pathlib import Path
from typing import Final

from datamodules.faces import DataError

LARGEST_TEXT: Final = 64 * 2**20
"""Bytes of the largest file of landmarks, names or boxes; real ones have some thousands."""

_BEGINNINGS: Final = (
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
    (b"GIF8", "a GIF picture"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"8BPS", "a Photoshop picture (PSD)"),
    (b"gimp xcf", "a GIMP picture (XCF)"),
    (b"v/1\x01", "an OpenEXR picture"),
    (b"<svg", "an SVG drawing"),
    (b"\x00\x00\x01\x00", "a Windows icon"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"MATLAB", "a MATLAB file"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"\x80", "a Python pickle"),
    (b"version https://git-lfs", "a Git LFS pointer in the place of the file"),
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
)
_BRANDS: Final = dict.fromkeys((b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis"), "a HEIC picture") | {
    b"avif": "an AVIF picture",
    b"avis": "an AVIF picture",
}
"""What follows ``ftyp`` in the files of the ISO family."""


def bad_file(path: str | Path, found: str, expected: str, remedy: str) -> DataError:
    """An error about one file, in the form common to all readers."""
    return DataError(f"{shown(path)}: found {found}, expected {expected}. {remedy}")


def shown(path: str | Path) -> str:
    r"""A path as text that can be printed anywhere: bytes that are not UTF-8 are written as ``\udcXX``."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def plain_name(name: str) -> str:
    """A name by which files are found: macOS writes ``é`` as two characters, others as one, which look alike."""
    return unicodedata.normalize("NFC", name)


def content_kind(data: bytes) -> str | None:
    """What a file is by how it begins, in words; None if unknown."""
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "a video (MP4 or its relatives)")
    beginning = data[:64].lstrip().lower()
    return next((words for begins, words in _BEGINNINGS if beginning.startswith(begins.lower())), None)


def begins_as_picture(path: Path) -> bool:
    """Whether a file looks like a picture by how it begins, whatever its suffix."""
    try:
        with path.open("rb") as file:
            kind = content_kind(file.read(64))
    except OSError:
        return False
    return kind is not None and kind.endswith(("picture", "(PSD)", "(XCF)", "drawing", "icon"))


def read_text(path: str | Path, expected: str) -> str:
    """Read a UTF-8 text file, with or without a byte-order mark; or UTF-16 with one, as Windows' editors write it.

    Args:
        path: the file.
        expected: what the file should be, for messages.

    Raises:
        DataError: the file is missing, unreadable, empty or not text.
    """
    data = read_bytes(path, expected)
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        kind = f" ({words})" if (words := content_kind(data)) else ""
        remedy = "Save it as UTF-8, or replace the file."
        raise bad_file(path, f"bytes that are not text{kind}", f"{expected}, as text (UTF-8)", remedy) from None


def read_bytes(path: str | Path, expected: str, most: int = LARGEST_TEXT) -> bytes:
    """The content of a regular file that is not empty.

    Args:
        path: the file.
        expected: what the file should be, for messages.
        most: bytes of the largest file that is read.

    Raises:
        DataError: there is no such file, it cannot be read, its name is not UTF-8, or it is empty, too large, or a pipe
            or device.
    """
    _check_name(path)
    try:
        status = Path(path).stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            # Reading a pipe waits for ever.
            raise bad_file(path, "a pipe or device", expected, "Put the file itself there.")
        if status.st_size > most and stat.S_ISREG(status.st_mode):
            found, remedy = f"a file of {status.st_size} bytes", "Check that it is the right file."
            raise bad_file(path, found, f"{expected}, of at most {most} bytes", remedy)
        data = Path(path).read_bytes()
    except FileNotFoundError:
        found = "a link to nothing" if Path(path).is_symlink() else "no such file"
        raise bad_file(path, found, expected, _where(path)) from None
    except PermissionError:
        remedy = f"Give yourself the right to read it, e.g. chmod u+r {path}"
        raise bad_file(path, "a file without read permission", expected, remedy) from None
    except OSError as error:
        found = f"something unreadable ({error.strerror})"
        raise bad_file(path, found, expected, "Check the path and the disk.") from error
    if not data:
        raise bad_file(path, "an empty file (0 bytes)", expected, "Fetch or write it again.")
    return data


def _check_name(path: str | Path) -> None:
    text = str(path)
    if "\0" in text:
        raise bad_file(text.replace("\0", "\\0"), "a name with a zero byte", "a file's name", "Correct the name.")
    try:
        text.encode()
    except UnicodeEncodeError:
        # Tables, logs and runs' files are UTF-8: such a name could be written into none of them.
        remedy = "Rename it, e.g. with convmv -f latin1 -t utf8 --notest, or leave it out."
        raise bad_file(path, "a file name that is not UTF-8", "a name in UTF-8", remedy) from None


def _where(path: str | Path) -> str:
    tilde = " The shell makes your home folder of a ~ only at the beginning of a word." if "~" in str(path) else ""
    return f"Check the name, or put the file there.{tilde}"
