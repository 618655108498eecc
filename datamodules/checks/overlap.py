"""Faces in two roles: a landmarker's error on faces that it was trained on says nothing."""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from datamodules.faces import DataError, FaceSet
from datamodules.formats import shown

_log = logging.getLogger(__name__)

_NAMED: Final = 5
_SPLIT: Final = (
    "A part of the source is kept for testing where its folder has test/ or test_list.txt, or else 1 of 10 by name."
)
_Identity = tuple[int, int]
"""Device and number of a file: the same by every name, link and spelling of its path."""


def check_roles(source: FaceSet, target: FaceSet | None, tests: Sequence[FaceSet]) -> None:
    """Refuse files that are trained on with labels and also something else; warn of equal pictures in other files.

    A target and a test set may share files: the target's labels are hidden. Only files of equal size are read.

    Raises:
        DataError: a file of the source is also one of the target or of a test set.
    """
    trained, unlabelled = _by_identity(source.files()), _by_identity(target.files() if target else ())
    tested = _by_identity([file for test in tests for file in test.files()])
    _refuse_shared(trained, unlabelled, "target", "Give another folder as TARGET.")
    _refuse_shared(trained, tested, "test", f"Give another folder as TEST. {_SPLIT}")
    _warn_of_copies(trained, tested, "a source photo")
    only = {identity: file for identity, file in unlabelled.items() if identity not in tested}
    _warn_of_copies(only, tested, "a target picture")


def _by_identity(files: Sequence[Path]) -> dict[_Identity, Path]:
    found: dict[_Identity, Path] = {}
    for file in files:
        status = file.stat()
        found.setdefault((status.st_dev, status.st_ino), file)
    return found


def _refuse_shared(trained: dict[_Identity, Path], others: dict[_Identity, Path], role: str, remedy: str) -> None:
    shared = [identity for identity in others if identity in trained]
    if not shared:
        return
    first, same = shown(others[shared[0]]), shown(trained[shared[0]])
    named = first if first == same else f"{first}, which is {same}"
    raise DataError(
        f"found {len(shared)} of {len(others)} {role} faces among the {len(trained)} source photos (the same files), "
        f"e.g. {named}; expected other faces than the source's. {remedy}"
    )


def _warn_of_copies(trained: dict[_Identity, Path], tested: dict[_Identity, Path], what: str) -> None:
    """Of the same content under two names, e.g. a photo in both splits."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for file in trained.values():
        by_size[file.stat().st_size].append(file)
    candidates = [file for file in tested.values() if file.stat().st_size in by_size]
    known: dict[int, dict[bytes, Path]] = {}
    pairs: list[tuple[Path, Path]] = []
    for file in candidates:
        size = file.stat().st_size
        if size not in known:
            known[size] = {_digest(other): other for other in by_size[size]}
        if other := known[size].get(_digest(file)):
            pairs.append((file, other))
    if pairs:
        named = "; ".join(f"{shown(file)} = {shown(other)}" for file, other in pairs[:_NAMED])
        more = f"; and {len(pairs) - _NAMED} more" if len(pairs) > _NAMED else ""
        _log.warning(
            "%d of %d test faces have the content of %s: %s%s. Their scores are of faces seen in training; take them "
            "out of one of the two",
            *(len(pairs), len(tested), what, named, more),
        )


def _digest(file: Path) -> bytes:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()
