"""The only entry point: ``train`` and ``evaluate`` are ours, ``fit``, ``test`` and so on the Lightning CLI's."""

import logging
import sys
import warnings
from collections.abc import Callable

from datamodules.faces import DataError
from experiments.errors import CheckpointError, UsageError, nearest

_HARMLESS = (
    "LightningCLI's args parameter is intended",  # `train` composes the CLI's arguments, on purpose
    ".*does not have many workers",  # on two cores they would take the training's place
    ".*exists and is not empty",  # a run's folder holds its configuration before its checkpoints
    ".*smaller than the logging interval",
    ".*your dataloader is not resumable",  # a batch depends on seed and step alone
    ".*It is recommended to use `self.log.*sync_dist=True",  # figures are the same on all processes already
    r".*isinstance\(treespec, LeafSpec\)",  # between Lightning and torch
)


_HELP = """python -m experiments COMMAND [OPTIONS]

  train       pretrain if needed, adapt, test: a whole experiment from names, as `make train` runs it
  evaluate    score a checkpoint on a labelled folder, as `make evaluate` does
  figure      a photo warped onto a stylised face, as a picture of all its steps, as `make figure` does
  curves      NME over the epochs of runs, as a picture, as `make curves` does
  import-weights
              an author's published weights under our names, checked tensor by tensor
  compare     many whole runs under one budget, and their table, as `make compare` does
  study       many short adaptations from one start, and their table
  fit, validate, test
              the Lightning CLI, e.g. fit --config=configs/base.yaml --config=… --model.init_args.…=…

Each command tells its options with --help. After its own options, `train` takes those of `fit`.
"""
_COMMANDS = ("train", "evaluate", "figure", "curves", "import-weights", "compare", "study", "fit", "validate", "test")


def main(arguments: list[str]) -> None:
    """Run a command; errors the user can mend end it with a message and exit status 2."""
    if arguments[:1] in ([], ["-h"], ["--help"]):
        print(_HELP)
        return
    _show_our_messages()
    for message in _HARMLESS:
        warnings.filterwarnings("ignore", message=message)
    from jsonargparse import auto_cli

    from experiments.cli import WarpmarkCLI
    from experiments.commands.curves import curves
    from experiments.commands.figure import figure
    from experiments.compare import compare
    from experiments.evaluate import evaluate
    from experiments.import_weights import import_weights
    from experiments.study import study
    from experiments.train import train
    from lightning_modules.weights import WeightsError

    ours: dict[str, Callable[[list[str]], object]] = {
        "train": train,
        "evaluate": evaluate,
        "figure": lambda options: auto_cli(figure, args=options, as_positional=False),
        "curves": lambda options: auto_cli(curves, args=_runs_first(options), as_positional=False),
        "import-weights": import_weights,
        "compare": compare,
        "study": study,
    }
    command, *options = arguments
    try:
        if command in ours:
            ours[command](options)
        elif command in _COMMANDS:
            WarpmarkCLI(arguments)
        else:
            raise UsageError(f"{command!r} is no command. {nearest(command, _COMMANDS)}")
    except ValueError as error:
        mendable = _mendable(error, (DataError, CheckpointError, UsageError, WeightsError))
        if mendable is None:
            raise
        print(f"error: {mendable}", file=sys.stderr)
        sys.exit(2)


def _runs_first(options: list[str]) -> list[str]:
    """``A B --out=X`` as ``--runs=[A,B] --out=X``."""
    count = next((i for i, option in enumerate(options) if option.startswith("-")), len(options))
    return [f"--runs=[{','.join(options[:count])}]", *options[count:]] if count else options


def _mendable(error: BaseException | None, kinds: tuple[type[Exception], ...]) -> BaseException | None:
    """The error the user can mend: itself, or what jsonargparse wrapped while it built what the options name."""
    while error is not None and not isinstance(error, kinds):
        error = error.__cause__
    return error


def _show_our_messages() -> None:
    """Print this project's log to the console; Lightning prints its own."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    for room in ("experiments", "callbacks", "lightning_modules", "datamodules"):
        logger = logging.getLogger(room)
        logger.setLevel(logging.INFO)
        logger.handlers = [handler]
    # Advertisements, and devices that were not found; `WarpmarkCLI.prepare` says which one is used.
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)


if __name__ == "__main__":
    main(sys.argv[1:])
