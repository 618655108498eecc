"""Tables for the terminal, Markdown, CSV and LaTeX."""

import csv
import logging
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tabulate import tabulate

log = logging.getLogger(__name__)

_ENCODED: Final[Any] = {"encoding": "utf-8", "errors": "backslashreplace"}
"""Of files: names in them need not be UTF-8."""
MISSING = "–"
"""Shown for what was not measured."""


@dataclass(frozen=True)
class Stat:
    """A mean over n values and their standard deviation (of the sample; None for a single value).

    Attributes:
        mean: of the values; None if there is none.
        sd: their standard deviation.
        n: how many.
        digits: a format for both.
    """

    mean: float | None
    sd: float | None
    n: int
    digits: str = "2f"

    @classmethod
    def of(cls, values: Sequence[float], digits: str = "2f") -> "Stat":
        """The statistics of values."""
        mean = statistics.fmean(values) if values else None
        return cls(mean, statistics.stdev(values) if len(values) > 1 else None, len(values), digits)

    @property
    def parts(self) -> dict[str, float | None]:
        """What has a column of its own in CSV."""
        return {"": self.mean, "sd": self.sd, "n": self.n}

    def __str__(self) -> str:
        if self.mean is None:
            return MISSING
        mean = f"{self.mean:.{self.digits}}"
        # A deviation below the last digit shown says nothing.
        spread = f"{self.sd:.{self.digits}}" if self.sd is not None else ""
        return f"{mean} ± {spread}" if spread.strip("0.") else mean


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval.

    Attributes:
        mean: of the values.
        low: the interval's lower end.
        high: its upper end.
        signed: whether it is a difference, which is shown with its sign.
    """

    mean: float
    low: float
    high: float
    signed: bool = False

    @property
    def parts(self) -> dict[str, float | None]:
        """What has a column of its own in CSV."""
        return {"": self.mean, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        mean, low, high = (f"{value:{'+' * self.signed}.2f}" for value in (self.mean, self.low, self.high))
        return f"{mean} ({low} to {high})"


Entry = Stat | Interval | str | None
"""A number with its spread or its interval, a text, or None for what is missing."""


@dataclass(frozen=True)
class Table:
    """Rows of entries under a head.

    Attributes:
        title: says what it is of, and that it is of synthetic faces where it is.
        head: names of the columns.
        rows: as many entries each.
        notes: what a reader must know, below the table.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Entry]]
    notes: Sequence[str] = ()

    def text(self, style: str) -> str:
        """The table in one of tabulate's styles: ``github``, ``latex_booktabs``, ``rounded_outline``."""
        shown = [[MISSING if entry is None else str(entry) for entry in row] for row in self.rows]
        align = ["left", *["right"] * (len(self.head) - 1)]
        # In a terminal, a head of several lines lets more columns stand beside each other.
        widest = 14 if style == "rounded_outline" else None
        colalign = align if shown else None
        return tabulate(shown, self.head, style, disable_numparse=True, colalign=colalign, maxheadercolwidths=widest)

    def write(self, stem: Path) -> list[Path]:
        """Write ``STEM.md``, ``.csv`` and ``.tex``; in CSV a mean, its spread and its n have a column each."""
        stem.parent.mkdir(parents=True, exist_ok=True)
        files = [stem.with_name(stem.name + suffix) for suffix in (".md", ".csv", ".tex")]
        notes = "".join(f"\n- {note}" for note in self.notes)
        files[0].write_text(f"{self.title}\n\n{self.text('github')}\n{notes and notes + chr(10)}", **_ENCODED)
        remarks = "\n".join(f"% {line}" for line in (self.title, *self.notes))
        files[2].write_text(f"{remarks}\n{self.text('latex_booktabs')}\n", **_ENCODED)
        with files[1].open("w", newline="", **_ENCODED) as file:
            csv.writer(file).writerows(self._csv_lines())
        return files

    def show(self, stem: Path) -> Path:
        """Print the table and write it; returns the file in Markdown."""
        files = self.write(stem)
        print("\n".join([self.title, self.text("rounded_outline"), *self.notes]))
        log.info("wrote %s", ", ".join(map(str, files)))
        return files[0]

    def _csv_lines(self) -> list[list[str | float]]:
        measured = [self._parts(k) for k in range(len(self.head))]
        head = [
            f"{name}, {part}" if part else name
            for name, parts in zip(self.head, measured, strict=True)
            for part in parts
        ]
        lines = [
            [cell for entry, parts in zip(row, measured, strict=True) for cell in _csv(entry, parts)]
            for row in self.rows
        ]
        return [[*head], *lines]

    def _parts(self, column: int) -> Sequence[str]:
        """The parts of a column's numbers; one without a name for a column of texts."""
        numbers = (row[column] for row in self.rows)
        return next((list(entry.parts) for entry in numbers if isinstance(entry, Stat | Interval)), [""])


def _csv(entry: Entry, parts: Sequence[str]) -> list[str | float]:
    if isinstance(entry, Stat | Interval):
        values = (entry.parts[part] for part in parts)
        return ["" if value is None else value for value in values]
    return [entry or "", *[""] * (len(parts) - 1)]
