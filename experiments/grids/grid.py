"""What a grid file says."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from omegaconf import OmegaConf

from experiments.catalogue import file_of, names, read_yaml
from experiments.compose import Choices
from experiments.errors import UsageError, nearest

KINDS: Final = ("setting", "method", "landmarker", "profile")
_OF_ROW: Final = ("config", "cells", "published")
_OF_PROFILE: Final = {"budget", "seeds", "values", "config", "cells"}


@dataclass(frozen=True)
class Cell:
    """One run of a grid: a row, a value of the grid's option (None without one), and a seed."""

    row: str
    value: float | None
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        row = re.sub(r"\W+", "_", self.row)
        return "-".join([row, *([] if self.value is None else [f"{self.value:g}"]), f"seed{self.seed}"])


@dataclass(frozen=True)
class Grid:
    """Rows × values × seeds.

    Attributes:
        name: the file's, without suffix.
        choices: what all rows share of ``setting``, ``method``, ``landmarker`` and ``profile``.
        rows: by name, the choices in which a row differs; under ``config`` a configuration laid over them, under
            ``cells`` one laid over the grid's ``cells``, and under ``published`` the published row that it is to be
            compared with. There are none where the figure is all there is.
        seeds: of each row and value.
        option: a dotted option of the Lightning CLI that takes several values in each row; empty for none.
        values: its values.
        fixed_rows: rows on which the option has no effect: they take its first value only.
        show: ``all`` values in the table, or of each row the ``best`` on the first subset.
        config: configuration laid over the choices of every row.
        budget: ``{minutes}`` of training for each cell (METHOD=supervised), or ``{epochs, steps_per_epoch}``.
        cells: configuration laid over ``config`` in the cells. Their shared pretrained start is made without it and
            without the budget, so it is the one that ``make train`` makes and uses.
        phases: show the scores after each phase, not after the last epoch alone.
        logged: further columns: by title, a value that runs log (``csv/``), as it was last logged.
        published: ``PAPER/TABLE``, the published table beside whose values the grid's are shown
            (:mod:`experiments.grids.published`); empty for none.
        profiles: by profile, what a run under it has instead: ``budget``, ``seeds``, ``values``; or over the grid's:
            ``config``, ``cells``.
        figure: what is drawn of the finished cells: ``draw`` names a module of :mod:`experiments.grids.figures`, whose
            ``draw(runner, results, …)`` takes the rest as options.
    """

    name: str
    choices: Mapping[str, str]
    rows: Mapping[str, Mapping[str, Any]]
    seeds: Sequence[int]
    option: str = ""
    values: Sequence[float] = ()
    fixed_rows: Sequence[str] = ()
    show: str = "all"
    config: Mapping[str, Any] = field(default_factory=dict)
    budget: Mapping[str, float] = field(default_factory=dict)
    cells: Mapping[str, Any] = field(default_factory=dict)
    phases: bool = False
    logged: Mapping[str, str] = field(default_factory=dict)
    published: str = ""
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    figure: Mapping[str, Any] = field(default_factory=dict)

    def under(self, profile: str) -> "Grid":
        """The grid under a profile instead of its own; under its own where none is given."""
        choices = {**self.choices, **({"profile": profile} if profile else {})}
        own = dict(self.profiles.get(choices.get("profile", ""), {}))
        for name in ("config", "cells"):
            own[name] = OmegaConf.to_container(OmegaConf.merge(getattr(self, name), own.get(name, {})))
        return replace(self, choices=choices, profiles={}, **own)

    def all_cells(self, rows: Sequence[str] = (), seeds: Sequence[int] = ()) -> list[Cell]:
        """The cells of some rows and seeds (of all where none are named), seed by seed.

        Raises:
            UsageError: a row that the grid does not have; the message suggests the nearest.
        """
        for row in rows:
            if row not in self.rows:
                raise UsageError(f"{row!r} is no row of {self.name}. {nearest(row, self.rows)}")
        return [
            Cell(row, value, seed)
            for seed in seeds or self.seeds
            for row in rows or self.rows
            for value in self.values_of(row)
        ]

    def values_of(self, row: str) -> list[float | None]:
        """The option's values in a row; None alone for a grid without an option."""
        return [*(self.values[:1] if row in self.fixed_rows else self.values)] or [None]

    def choices_of(
        self, cell: Cell, folders: Mapping[str, str], further: Sequence[Mapping[str, Any]] | None = None
    ) -> Choices:
        """The choices of a cell's run, or of what its pretrained start is made by.

        Args:
            cell: which.
            folders: ``data``, ``source``, ``target`` and ``test``, where they are given.
            further: configurations laid over those of the grid, its ``cells`` and the row; None for the choices of the
                start, in which ``cells`` has no part.
        """
        row = {name: value for name, value in self.rows[cell.row].items() if name in KINDS}
        layers = [self.config, {} if further is None else self.cells, self.rows[cell.row].get("config", {})]
        layers += [] if further is None else [self.rows[cell.row].get("cells", {}), *further]
        overrides = {} if cell.value is None else {self.option: cell.value}
        names: dict[str, Any] = {**self.choices, **row, **folders}
        return Choices(**names, seed=cell.seed, config=[layer for layer in layers if layer], overrides=overrides)


def read_grid(name: str, profile: str = "") -> Grid:
    """Read a shipped grid by its name, or a file.

    Args:
        name: of a shipped one, or of one in ``./experiments/grids``; or a file's.
        profile: instead of the grid's own.

    Raises:
        UsageError: there is none, or it is not as :class:`Grid` says.
    """
    path = Path(name) if Path(name).suffix else file_of("grid", name)
    if not path.is_file():
        raise UsageError(f"{path}: no such grid. Give a file, or the name of one in experiments/grids.")
    content = read_yaml(path, "a grid in YAML")
    known = {f.name for f in fields(Grid)} - {"name"}
    needed = {"choices", "rows", "seeds"}
    found = set(content) if isinstance(content, dict) else set()
    if not needed <= found <= known:
        raise UsageError(
            f"{path}: found {sorted(found) or type(content).__name__}; expected the keys {sorted(needed)}, and "
            f"possibly {sorted(known - needed)}."
        )
    _check_types(content, path)
    grid = Grid(name=path.stem, **content)
    _check(grid, path)
    return grid.under(profile)


def _check_types(content: Mapping[str, Any], path: Path) -> None:
    for names_, kind, words in (
        (_MAPPINGS, dict, "a mapping"),
        (("seeds", "values", "fixed_rows"), list, "a list"),
        (("option", "show", "published"), str, "a text"),
    ):
        for name in names_:
            if name in content and not isinstance(content[name], kind):
                raise UsageError(f"{path}: {name} is {content[name]!r}; expected {words}. Correct the file.")
    for name in ("rows", "profiles"):
        for row, own in content.get(name, {}).items():
            if not isinstance(own, dict):
                raise UsageError(f"{path}: {name} has {row!r}: {own!r}; expected a mapping. Correct the file.")


_MAPPINGS: Final = ("choices", "rows", "config", "budget", "cells", "logged", "profiles", "figure")


def _check(grid: Grid, path: Path) -> None:
    for name, own in grid.profiles.items():
        if name not in names("profile") or set(own) - _OF_PROFILE:
            raise UsageError(
                f"{path}: profiles has {name!r} with {sorted(own)}; expected a profile ({', '.join(names('profile'))}) "
                f"with some of {sorted(_OF_PROFILE)}."
            )
    for budget in (grid.budget, *(own.get("budget") for own in grid.profiles.values())):
        if budget and set(budget) not in ({"minutes"}, {"epochs", "steps_per_epoch"}):
            raise UsageError(f"{path}: budget is {budget}; expected {{minutes}}, or {{epochs, steps_per_epoch}}.")
    for row, choices in grid.rows.items():
        if unknown := set(choices) - {*KINDS, *_OF_ROW}:
            raise UsageError(f"{path}: row {row!r} has {sorted(unknown)}; expected {[*KINDS, *_OF_ROW]}.")
    if bool(grid.option) != bool(grid.values) or grid.show not in ("all", "best"):
        raise UsageError(f"{path}: expected option and values together, and show to be all or best.")
    if not (grid.rows or grid.figure):
        raise UsageError(f"{path}: found neither rows nor a figure; expected one of them.")
    if stray := set(grid.fixed_rows) - set(grid.rows):
        raise UsageError(f"{path}: fixed_rows names {sorted(stray)}, which are no rows of it.")
