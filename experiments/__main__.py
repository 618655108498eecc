"""The only entry point: ``train`` and ``evaluate`` are ours, ``fit``, ``test`` and so on the Lightning CLI's."""

import logging
import sys
import warnings

from datamodules.faces import DataError
from experiments.errors import CheckpointError, UsageError


def main(arguments: list[str]) -> None:
    """Run a command; errors the user can mend end it with a message and exit status 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # Harmless under this project's loaders, and each is printed many times over.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    from experiments.cli import WarpmarkCLI
    from experiments.evaluate import evaluate
    from experiments.train import train

    try:
        if arguments[:1] == ["train"]:
            train(arguments[1:])
        elif arguments[:1] == ["evaluate"]:
            evaluate(arguments[1:])
        else:
            WarpmarkCLI(arguments)
    except (DataError, CheckpointError, UsageError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
