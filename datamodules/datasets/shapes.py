"""Landmarks of many faces in one file, without images."""

import io
from pathlib import Path
from typing import Final

import numpy as np

from datamodules.faces import FloatArray
from datamodules.formats import bad_file, read_bytes

_LARGEST: Final = 2**30
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
    data = read_bytes(path, expected, most=_LARGEST)
    try:
        content = np.load(io.BytesIO(data), allow_pickle=False)
        archive = isinstance(content, np.lib.npyio.NpzFile)
        name = next((name for name in _NAMES if name in content), None) if archive else None
        found = content[name] if name else None if archive else content
    except Exception as error:  # of damaged files, numpy, zipfile and zlib raise what has no common base
        raise bad_file(path, f"what numpy cannot read ({error})", expected, remedy) from error
    if found is None:
        raise bad_file(path, f"the arrays {list(content)}", expected, remedy)
    if found.dtype.kind not in "fiu" or found.ndim != 3 or found.shape[1:] != (68, 2):
        raise bad_file(path, f"an array {found.shape} of type {found.dtype}", expected, remedy)
    shapes = found.astype(np.float64).clip(-1e30, 1e30).astype(np.float32)
    if not np.isfinite(shapes).all():
        raise bad_file(path, f"an array {found.shape} with values that are not finite", expected, remedy)
    return np.asarray(shapes)
