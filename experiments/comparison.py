"""A comparison: rows of choices, one budget, and each row's run as ``make train`` would do it."""

import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
import yaml

from experiments.cli import WarpmarkCLI
from experiments.errors import UsageError, nearest
from experiments.pretraining import provide_pretrained
from experiments.train import compose, parse
from lightning_modules.methods.base import FaceMethod
from lightning_modules.methods.supervised import Supervised

log = logging.getLogger(__name__)

COMPARISONS: Final = Path(__file__).with_name("comparisons")
KINDS: Final = ("setting", "method", "landmarker", "profile")
_TIMED_STEPS: Final = 6


@dataclass(frozen=True)
class Comparison:
    """What a comparison file says.

    Attributes:
        name: the file's, without suffix.
        names: the choices that all rows share: ``setting``, ``method``, ``landmarker``, ``profile``.
        seeds: of each row.
        budget: ``{minutes}`` of training for each run (METHOD=supervised), or ``{epochs, steps_per_epoch}``.
        rows: by name, the choices in which a row differs, and under ``config`` a configuration laid over them.
        option: an option that takes several values in each row; empty for none.
        values: its values.
        config: configuration laid over every row's choices.
    """

    name: str
    names: dict[str, str]
    seeds: list[int]
    budget: dict[str, float]
    rows: dict[str, dict[str, Any]]
    option: str = ""
    values: list[float] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One run of a comparison: a row, a value of the option (or None), and a seed."""

    row: str
    value: float | None
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        row = re.sub(r"\W+", "_", self.row)
        return "-".join([row, *([] if self.value is None else [f"{self.value:g}"]), f"seed{self.seed}"])


def read_comparison(name: str) -> Comparison:
    """Read a shipped comparison by its name, or a file.

    Raises:
        UsageError: there is none, or it is not as :class:`Comparison` says.
    """
    path = Path(name)
    path = path if path.suffix else COMPARISONS / f"{name}.yaml"
    if not path.is_file():
        raise UsageError(
            f"{path}: no such comparison. {nearest(path.stem, [f.stem for f in COMPARISONS.glob('*.yaml')])}"
        )
    content = yaml.safe_load(path.read_text())
    known = set(Comparison.__dataclass_fields__) - {"name"}
    needed = {"names", "seeds", "budget", "rows"}
    if not isinstance(content, dict) or not needed <= set(content) <= known:
        found = sorted(content) if isinstance(content, dict) else type(content).__name__
        optional = sorted(known - needed)
        raise UsageError(f"{path}: found {found}; expected the keys {sorted(needed)}, and possibly {optional}.")
    chosen = Comparison(name=path.stem, **content)
    if set(chosen.budget) not in ({"minutes"}, {"epochs", "steps_per_epoch"}):
        raise UsageError(f"{path}: budget is {chosen.budget}; expected {{minutes}}, or {{epochs, steps_per_epoch}}.")
    for row, choices in chosen.rows.items():
        if unknown := set(choices) - {*KINDS, "config"}:
            raise UsageError(f"{path}: row {row!r} has {sorted(unknown)}; expected {[*KINDS, 'config']}.")
    return chosen


def cells(chosen: Comparison, rows: list[str], seeds: list[int]) -> list[Cell]:
    """All runs of these rows and seeds, seed by seed."""
    values: list[float | None] = [*chosen.values] or [None]
    return [Cell(row, value, seed) for seed in seeds for row in rows for value in values]


def run_cell(chosen: Comparison, cell: Cell, folders: list[str], out: Path, threads: int) -> str:
    """Run a cell in a process of its own, unless it is done; returns what went wrong, or an empty text.

    Args:
        chosen: the comparison.
        cell: which run.
        folders: of the data, as ``train`` takes them.
        out: where cells lie, each in a folder of its name.
        threads: of torch.
    """
    folder = out / cell.name
    if (folder / "metrics.json").exists():
        return ""
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(threads)
    try:
        epochs, steps = _steps(chosen, cell, folders)
        start = provide_start(command_line(chosen, cell, folders))
    except SystemExit as refused:
        return f"{cell.name}: its options were refused with status {refused.code} and the message above"
    except Exception as error:  # whatever it is, other rows may be free of it
        log.debug("%s", cell.name, exc_info=True)
        return f"{cell.name} could not be begun: {type(error).__name__}: {error}"
    options = [f"--trainer.default_root_dir={folder}", f"--trainer.max_epochs={epochs}"]
    options += [f"--data.steps_per_epoch={steps}", "--trainer.enable_progress_bar=false"]
    options += [] if start is None else [f"--pretraining.checkpoint={start}"]
    named, layers = _arguments(chosen, cell, folders)
    said = folder.with_name(f"{cell.name}.log")
    with tempfile.TemporaryDirectory() as temporary, said.open("w") as output:
        command = [sys.executable, "-m", "experiments", "train", *named, *_write(Path(temporary), layers), *options]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        status = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment, check=False)
    if status.returncode:
        last = said.read_text().strip().splitlines()[-1:]
        return f"{cell.name} ended with status {status.returncode}: {last} ({said})"
    return ""


def provide_start(cli: WarpmarkCLI) -> Path | None:
    """The start that ``make train`` makes and uses, whatever the comparison's budget is; None where none is needed."""
    return provide_pretrained(
        cli.method,
        cli.data,
        cli.options.pretraining,
        Path(cli.options.paths.runs),
        cli.options.seed_everything,
        cli.landmarker_config,
        cli.trainer_config,
    )


def command_line(chosen: Comparison, cell: Cell, folders: list[str]) -> WarpmarkCLI:
    """Everything that a cell's run is made of, not yet run."""
    named, layers = _arguments(chosen, cell, folders)
    with tempfile.TemporaryDirectory() as temporary:
        options, rest = parse([*named, *_write(Path(temporary), layers)])
        return WarpmarkCLI([*compose(options), *rest], run=False)


def _arguments(chosen: Comparison, cell: Cell, folders: list[str]) -> tuple[list[str], list[Mapping[str, Any]]]:
    choices = {**chosen.names, **chosen.rows[cell.row]}
    layers = [chosen.config, choices.pop("config", {})]
    if cell.value is not None:
        layers.append(_nested(chosen.option, cell.value))
    named = [f"--{kind}={name}" for kind, name in choices.items()]
    return [*named, f"--seed={cell.seed}", *folders], [layer for layer in layers if layer]


def _nested(option: str, value: float) -> dict[str, Any]:
    first, _, rest = option.partition(".")
    return {first: _nested(rest, value) if rest else value}


def _write(folder: Path, layers: list[Mapping[str, Any]]) -> list[str]:
    files = [folder / f"{place}.yaml" for place in range(len(layers))]
    for file, layer in zip(files, layers, strict=True):
        file.write_text(yaml.safe_dump(dict(layer)))
    return [f"--config={file}" for file in files]


def _steps(chosen: Comparison, cell: Cell, folders: list[str]) -> tuple[int, int]:
    """Epochs, and steps of each, that fill the budget."""
    budget = chosen.budget
    if "minutes" not in budget:
        return int(budget["epochs"]), int(budget["steps_per_epoch"])
    cli = command_line(chosen, cell, folders)
    if not isinstance(cli.method, Supervised):
        raise UsageError(
            f"a budget in minutes is for METHOD=supervised, whose steps are all alike, not for "
            f"{type(cli.method).__name__}. Give the budget as {{epochs, steps_per_epoch}}."
        )
    return 1, max(3, round(60 * budget["minutes"] / seconds_per_step(cli.method, cli)))


def seconds_per_step(method: FaceMethod, cli: WarpmarkCLI) -> float:
    """What a supervised training step takes, loading included: CPU time of this process; by the clock on a GPU."""
    device = cli.trainer.strategy.root_device
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    landmarker = method.landmarker.to(device).train()
    optimizer = torch.optim.AdamW(landmarker.parameters(), lr=1e-6)
    cli.data.steps_per_epoch = 2 + _TIMED_STEPS
    cli.data.setup()
    landmarker.fit_shapes(cli.data.source_shapes().to(device))
    began = 0.0
    for step, batch in enumerate(cli.data.train_dataloader()):
        if step == 2:
            began = clock()
        source = batch.source.to(device)
        optimizer.zero_grad()
        loss = landmarker.loss(landmarker(source.images), source.landmarks)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's is
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return (clock() - began) / _TIMED_STEPS
