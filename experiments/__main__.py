"""The only entry point: ``train`` and ``evaluate`` are ours, ``fit``, ``test`` and so on the Lightning CLI's."""

import logging
import sys
import warnings

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
  fit, validate, test
              the Lightning CLI, e.g. fit --config=configs/base.yaml --config=… --model.init_args.…=…

Each command tells its options with --help. After its own options, `train` takes those of `fit`.
"""
_COMMANDS = ("train", "evaluate", "fit", "validate", "test")


def main(arguments: list[str]) -> None:
    """Run a command; errors the user can mend end it with a message and exit status 2."""
    if arguments[:1] in ([], ["-h"], ["--help"]):
        print(_HELP)
        return
    _show_our_messages()
    for message in _HARMLESS:
        warnings.filterwarnings("ignore", message=message)
    from experiments.cli import WarpmarkCLI
    from experiments.evaluate import evaluate
    from experiments.train import train
    from lightning_modules.landmarkers.weights import WeightsError

    try:
        if arguments[:1] == ["train"]:
            train(arguments[1:])
        elif arguments[:1] == ["evaluate"]:
            evaluate(arguments[1:])
        elif arguments[0] in _COMMANDS:
            WarpmarkCLI(arguments)
        else:
            raise UsageError(f"{arguments[0]!r} is no command. {nearest(arguments[0], _COMMANDS)}")
    except (DataError, CheckpointError, UsageError, WeightsError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


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
