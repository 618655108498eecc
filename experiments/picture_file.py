"""The file that a command writes its picture to."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from experiments.errors import UsageError
from experiments.run_folder import require_writable

FORMATS: Final = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
"""What a picture can be written as, by suffix."""


def picture_file(out: str, inputs: Sequence[str] = ()) -> Path:
    """The file to write, found writable before any work is done.

    Args:
        out: its name.
        inputs: files that the command reads, which must not be overwritten.

    Raises:
        UsageError: it has another suffix than :data:`FORMATS`, is one of the inputs, or cannot be written.
    """
    file = Path(out).expanduser()
    if file.suffix.lower() not in FORMATS:
        found = f"the suffix {file.suffix!r}" if file.suffix else "no suffix"
        raise UsageError(f"{file}: found {found}, expected one of {', '.join(FORMATS)}. Give another OUT.")
    if file.resolve() in [Path(name).expanduser().resolve() for name in inputs]:
        raise UsageError(f"{file}: is an image to read, and would be overwritten. Give another OUT.")
    if file.is_dir():
        raise UsageError(f"{file}: found a folder, expected a file's name. Give another OUT.")
    try:
        require_writable(file.parent)
    except OSError as error:
        raise UsageError(f"{file}: cannot be written ({error.strerror}). Give another OUT.") from error
    return file


def write_picture(picture: Figure, file: Path) -> None:
    """Write a picture in the format that the file's suffix says.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        picture.savefig(file)
    except OSError as error:
        raise UsageError(f"{file}: cannot be written ({error.strerror or error}). Give another OUT.") from error
