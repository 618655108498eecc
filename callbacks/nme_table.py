"""The scores of every test set, each validation epoch: a console table and a CSV file."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.table import Table
from typing_extensions import override

from callbacks.progress import epoch_of
from lightning_modules.methods.base import FaceMethod

COLUMNS = ("epoch", "phase", "subset", "nme", "fr@8", "auc@8", "n")


class NMETable(Callback):
    """Prints NME, FR@8 and AUC@8 of every subset after each validation epoch and appends them to a CSV file.

    Args:
        path: the CSV file, under the run's folder.
    """

    def __init__(self, path: str = "nme.csv") -> None:
        self.path = path

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop rows of epochs that a resumed run will repeat; before this hook the resumed epoch is not known."""
        path = self._file(trainer)
        if trainer.is_global_zero and path.exists():
            rows = [row for row in read_rows(path) if int(row["epoch"]) < trainer.current_epoch]
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(rows)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        method = cast(FaceMethod, pl_module)
        if trainer.sanity_checking or not trainer.is_global_zero or not method.scores:
            return
        title = f"{epoch_of(trainer)} ({method.phase})"
        print_scores(method.scores, method.average_nme, title, getattr(trainer, "datamodule", None))
        path = self._file(trainer)
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(COLUMNS)
            for name, v in method.scores.items():
                row = [trainer.current_epoch, method.phase, name, *(f"{v[k]:.6f}" for k in ("nme", "fr@8", "auc@8"))]
                writer.writerow([*row, int(v["n"])])

    def _file(self, trainer: Trainer) -> Path:
        return Path(trainer.default_root_dir) / self.path


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a run's CSV file, by the names of :data:`COLUMNS`."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if "figure" in row:  # the name of the column ``subset`` in earlier versions
            row["subset"] = row.pop("figure")
    return rows


@dataclass(frozen=True)
class ProtocolScores:
    """What a crop protocol comes to on the same faces.

    Attributes:
        protocol: in words.
        average_nme: mean NME over all faces, in %.
        crops_per_face: how often a face was cropped, on average.
        ms_per_face: time for cropping and the landmarker, in milliseconds.
        more_than_first: by how many % the mean NME is above that of the first protocol.
    """

    protocol: str
    average_nme: float
    crops_per_face: float
    ms_per_face: float
    more_than_first: float


def print_protocols(rows: Sequence[ProtocolScores]) -> None:
    """Print crop protocols below each other, with their scores and what they cost."""
    table = Table("protocol")
    for column in ("NME %", "against the first", "crops a face", "ms a face"):
        table.add_column(column, justify="right")
    for row in rows:
        more = f"{row.more_than_first:+.1f} %"
        figures = (f"{row.average_nme:.2f}", more, f"{row.crops_per_face:.2f}", f"{row.ms_per_face:.1f}")
        table.add_row(row.protocol, *figures)
    Console().print(table)


def print_scores(scores: dict[str, dict[str, float]], average: float, title: str, data: object = None) -> None:
    """Print scores as a table, marked if they are of synthetic faces.

    Args:
        scores: of each subset, ``nme``, ``fr@8`` and ``auc@8`` in %, and the number of faces ``n``.
        average: mean NME over all faces, in %.
        title: of the table.
        data: the data module, whose ``synthetic`` attribute says whether faces are drawn.
    """
    if getattr(data, "synthetic", False):
        title += " · SYNTHETIC faces, not results"
    table = Table()
    table.add_column("test set")
    for column in ("NME %", "FR@8 %", "AUC@8 %", "faces"):
        table.add_column(column, justify="right")
    for name, v in scores.items():
        table.add_row(name, f"{v['nme']:.2f}", f"{v['fr@8']:.2f}", f"{v['auc@8']:.2f}", str(int(v["n"])))
    table.add_row("average", f"{average:.2f}", "", "", "")
    console = Console()
    console.print(title, style="bold", markup=False)
    console.print(table)
