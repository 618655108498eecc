"""Errors a user can mend: printed without a traceback."""

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """A command that cannot be carried out as given. The message says what to change."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used. The message names the file, what was found and expected, and the remedy."""


def nearest(name: str, known: Iterable[str]) -> str:
    """``Did you mean 'X'? Known: …`` for a name that is not among ``known``."""
    names = sorted(known)
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.4)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(names)}."
