"""The table of a study, in Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from experiments.pointing import Pointing


@dataclass(frozen=True)
class Cell:
    """What one cell of a study found.

    Attributes:
        row: the configuration's name.
        value: of the study's option.
        seed: of start and batches.
        nme: by phase (``start``, ``warper``, ``proximal``) and figure, in %.
        folded: share of the warps, at the warper phase's last step, that folds over.
        seconds: of training and scoring.
    """

    row: str
    value: float
    seed: int
    nme: dict[str, dict[str, float]]
    folded: float
    seconds: float


def study_table(rows: Iterable[str], values: Sequence[float], cells: Iterable[Cell]) -> str:
    """NME of each figure after each phase, the mean over seeds with each seed's in brackets; the start as first line.

    Args:
        rows: in the order they shall have.
        values: of the study's option, likewise.
        cells: in any order; rows and values without a cell are left out.
    """
    by_place: dict[tuple[str, float], list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.seed):
        by_place.setdefault((cell.row, cell.value), []).append(cell)
    everything = [cell for found in by_place.values() for cell in found]
    if not everything:
        return "no cell is done\n"
    figures = list(everything[0].nme["start"])
    phases = [phase for phase in everything[0].nme if phase != "start"]
    starts = list({cell.seed: cell for cell in everything}.values())
    columns = [f"{figure}, {phase}" for phase in phases for figure in figures]
    lines = [
        "| " + " | ".join(["", "step", *columns, "folded %"]) + " |",
        "|" + "---|" * (len(columns) + 3),
        _line("start", "", [[cell.nme["start"][f] for cell in starts] for _ in phases for f in figures], ""),
    ]
    for row in rows:
        for value in values:
            if found := by_place.get((row, value)):
                entries = [[cell.nme[phase][figure] for cell in found] for phase in phases for figure in figures]
                folded = 100 * sum(cell.folded for cell in found) / len(found)
                lines.append(_line(row, f"{value:g}", entries, f"{folded:.1f}"))
    return "\n".join(lines) + "\n"


def pointing_table(found: Mapping[str, Pointing]) -> str:
    """What each row's image term says of labelled stylised faces."""
    titles = ("cosine with the way to the labels", "faces pointed %", "pairs ranked %", "faces ranked %")
    lines = ["| | " + " | ".join(titles) + " |", "|" + "---|" * 5]
    for row, p in found.items():
        shares = [f"{100 * share:.0f}" for share in (p.faces_pointed, p.pairs_ranked, p.faces_ranked)]
        lines.append("| " + " | ".join([row, f"{p.cosine:+.3f}", *shares]) + " |")
    return "\n".join(lines) + "\n"


def _line(name: str, value: str, entries: list[list[float]], folded: str) -> str:
    shown = [
        f"{sum(seeds) / len(seeds):.2f}" + (f" ({', '.join(f'{v:.2f}' for v in seeds)})" if len(seeds) > 1 else "")
        for seeds in entries
    ]
    return "| " + " | ".join([name, value, *shown, folded]) + " |"
