"""What papers printed in their tables, beside which a grid shows its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from experiments.catalogue import file_of, read_yaml
from experiments.errors import UsageError, nearest

AVERAGE: Final = "average"
"""The column of a table whose values are means over all faces of several subsets."""
ROUNDING: Final = 0.01
"""How far a printed average may be from that of the printed values, in % NME."""

_OF_PAPER: Final = {"citation", "faces", "average_of", "tables"}
_OF_TABLE: Final = {"caption", "columns", "rows"}
_OF_ROW: Final = {"setting", "misprint"}


@dataclass(frozen=True)
class Faces:
    """How many faces the published test sets have.

    Attributes:
        everywhere: by subset.
        by_setting: by setting and subset, where that depends on the setting.
    """

    everywhere: Mapping[str, int] = field(default_factory=dict)
    by_setting: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def of(self, setting: str, subset: str) -> int | None:
        """Of a subset in a setting; None where the papers do not say."""
        return self.by_setting.get(setting, {}).get(subset, self.everywhere.get(subset))


@dataclass(frozen=True)
class PublishedRow:
    """A row as it was printed.

    Attributes:
        values: by column, NME in %; None where it is not at hand.
        setting: that it was measured in.
        misprint: columns whose value does not agree with the others of the row.
    """

    values: Mapping[str, float | None]
    setting: str = ""
    misprint: Sequence[str] = ()


@dataclass(frozen=True)
class PublishedTable:
    """A table as it was printed.

    Attributes:
        name: ``PAPER/TABLE``.
        citation: of the paper.
        caption: what the table is of.
        columns: subsets, and :data:`AVERAGE`.
        rows: by name.
        faces: of the published test sets.
        average_of: the subsets whose faces the average is over.
    """

    name: str
    citation: str
    caption: str
    columns: Sequence[str]
    rows: Mapping[str, PublishedRow]
    faces: Faces
    average_of: Sequence[str]

    def row(self, name: str) -> PublishedRow:
        """A row.

        Raises:
            UsageError: there is none of this name; the message suggests the nearest.
        """
        if name not in self.rows:
            raise UsageError(f"published: {name!r} is no row of {self.name}. {nearest(name, self.rows)}")
        return self.rows[name]

    def weighted_average(self, row: PublishedRow) -> float | None:
        """The mean over all faces that a row's printed values come to; None where one of them is not at hand."""
        parts = [(row.values.get(name), self.faces.of(row.setting, name)) for name in self.average_of]
        known = [(nme, count) for nme, count in parts if nme is not None and count]
        if not known or len(known) < len(parts):
            return None
        return sum(nme * count for nme, count in known) / sum(count for _, count in known)


def read_published(name: str) -> PublishedTable:
    """Read a published table; every printed average is checked against the values of its row.

    Args:
        name: ``PAPER/TABLE``: a file of experiments/grids/papers, or of that folder below the current one.

    Raises:
        UsageError: there is none, the file is not as expected, or an average is not that of its row and is not marked
            as a misprint.
    """
    paper, _, table = name.partition("/")
    path = file_of("paper", paper)
    content = read_yaml(path, "published tables in YAML")
    _expect_keys(content, _OF_PAPER, str(path))
    if table not in content["tables"]:
        raise UsageError(f"published: {path} has no table {table!r}. {nearest(table, content['tables'])}")
    found = content["tables"][table]
    _expect_keys(found, _OF_TABLE, f"{path}: {table}")
    rows = {row: _row(values, found["columns"], f"{path}: {table}: {row!r}") for row, values in found["rows"].items()}
    faces = Faces(content["faces"]["everywhere"], content["faces"]["by_setting"])
    columns, of = list(found["columns"]), list(content["average_of"])
    read = PublishedTable(name, content["citation"], found["caption"], columns, rows, faces, of)
    _check_averages(read, path)
    return read


def _expect_keys(content: Any, expected: set[str], where: str) -> None:
    if not isinstance(content, dict) or set(content) != expected:
        found = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise UsageError(f"{where}: found {found}; expected the keys {sorted(expected)}. Correct the file.")


def _row(content: Mapping[str, Any], columns: Sequence[str], where: str) -> PublishedRow:
    values = {name: value for name, value in content.items() if name not in _OF_ROW}
    wrong = [value for value in values.values() if value is not None and not isinstance(value, int | float)]
    if set(values) != set(columns) or wrong:
        raise UsageError(f"{where}: found {values}; expected a number or null for each of {list(columns)}.")
    return PublishedRow(values, content.get("setting", ""), content.get("misprint", ()))


def _check_averages(table: PublishedTable, path: Path) -> None:
    for name, row in table.rows.items():
        printed, weighted = row.values.get(AVERAGE), table.weighted_average(row)
        if printed is None or weighted is None or AVERAGE in row.misprint:
            continue
        # Values are given to two or three digits: a hair more than the rounding is no error of the file.
        if abs(printed - weighted) > ROUNDING + 1e-9:
            raise UsageError(
                f"{path}: {table.name}: {name!r}: the average is {printed}; expected {weighted:.3f}, that of the row's "
                f"values weighted by {', '.join(f'{table.faces.of(row.setting, s)} ({s})' for s in table.average_of)}. "
                "Correct the values, or give the row misprint: [average] where the paper has it so."
            )
