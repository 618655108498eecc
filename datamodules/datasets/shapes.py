"""Landmarks of many faces in one file, without images."""

from pathlib import Path
from typing import Final

import numpy as np

from datamodules.faces import FloatArray
from datamodules.formats import bad_file

_NAMES: Final = ("caricature", "landmarks")
"""Arrays of an ``.npz`` file that are taken, the first of them that is there."""


def read_shapes(path: str | Path) -> FloatArray:
    """The landmarks in a ``.npy`` file, or in an ``.npz`` file as ``caricature`` or ``landmarks``.

    Returns:
        (x, y) in any frame with y down, iBUG-68, shape ``(N, 68, 2)``.

    Raises:
        DataError: the file is missing, damaged, or holds no such array, or one that is not finite.
    """
    path = Path(path).expanduser()
    expected = f"shapes (N, 68, 2) as .npy, or as {' or '.join(map(repr, _NAMES))} in .npz"
    remedy = "Give a file of landmarks."
    try:
        content = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise bad_file(path, "no such file", expected, remedy) from None
    except (OSError, ValueError, EOFError) as error:
        raise bad_file(path, f"what numpy cannot read ({error})", expected, remedy) from error
    found = content
    if isinstance(content, np.lib.npyio.NpzFile):
        name = next((name for name in _NAMES if name in content), None)
        if name is None:
            raise bad_file(path, f"the arrays {list(content)}", expected, remedy)
        found = content[name]
    if found.ndim != 3 or found.shape[1:] != (68, 2) or not np.isfinite(found).all():
        kind = f"an array {found.shape}" + ("" if np.isfinite(found).all() else " with values that are not finite")
        raise bad_file(path, kind, expected, remedy)
    return np.asarray(found, np.float32)
