"""Tables for the terminal, Markdown, CSV and LaTeX."""

import csv
import logging
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

log = logging.getLogger(__name__)

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

    def __str__(self) -> str:
        if self.mean is None:
            return MISSING
        mean = f"{self.mean:.{self.digits}}"
        # A deviation below the last digit shown says nothing.
        spread = f"{self.sd:.{self.digits}}" if self.sd is not None else ""
        return f"{mean} ± {spread}" if spread.strip("0.") else mean


Entry = Stat | str | None
"""A number with its spread, a text, or None for what is missing."""


@dataclass(frozen=True)
class Table:
    """Rows of entries under a head.

    Attributes:
        title: says what it is of, and that it is of synthetic faces where it is.
        head: names of the columns.
        rows: as many entries each.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Entry]]

    def text(self, style: str) -> str:
        """The table in one of tabulate's styles: ``github``, ``latex_booktabs``, ``rounded_outline``."""
        shown = [[MISSING if entry is None else str(entry) for entry in row] for row in self.rows]
        align = ["left", *["right"] * (len(self.head) - 1)]
        return tabulate(shown, self.head, style, disable_numparse=True, colalign=align if shown else None)

    def write(self, stem: Path) -> list[Path]:
        """Write ``STEM.md``, ``.csv`` and ``.tex``; in CSV a mean, its deviation and its n have a column each."""
        stem.parent.mkdir(parents=True, exist_ok=True)
        files = [stem.with_suffix(suffix) for suffix in (".md", ".csv", ".tex")]
        files[0].write_text(f"{self.title}\n\n{self.text('github')}\n")
        files[2].write_text(f"% {self.title}\n{self.text('latex_booktabs')}\n")
        with files[1].open("w", newline="") as file:
            csv.writer(file).writerows([self._csv_head(), *(self._csv_row(row) for row in self.rows)])
        return files

    def show(self, stem: Path) -> Path:
        """Print the table and write it; returns the file in Markdown."""
        files = self.write(stem)
        print(f"{self.title}\n{self.text('rounded_outline')}")
        log.info("wrote %s", ", ".join(map(str, files)))
        return files[0]

    def _csv_head(self) -> list[str]:
        return [part for k, name in enumerate(self.head) for part in self._parts(name, k)]

    def _csv_row(self, row: Sequence[Entry]) -> list[str | float]:
        cells: list[str | float] = []
        for k, entry in enumerate(row):
            stat = entry if isinstance(entry, Stat) else Stat(None, None, 0)
            plain = "" if entry is None else str(entry)
            cells += ["" if v is None else v for v in (stat.mean, stat.sd, stat.n)] if self._is_measured(k) else [plain]
        return cells

    def _parts(self, name: str, column: int) -> list[str]:
        return [name, f"{name}, sd", f"{name}, n"] if self._is_measured(column) else [name]

    def _is_measured(self, column: int) -> bool:
        return any(isinstance(row[column], Stat) for row in self.rows)
