"""A search for hyper-parameters."""

import logging
from pathlib import Path
from typing import Any

from experiments.compose import Choices
from experiments.errors import UsageError
from experiments.run.account import has_account
from experiments.sweeps.search import Search
from experiments.sweeps.sweep import read_sweep

log = logging.getLogger(__name__)


def sweep(
    name: str,
    data: str = "",
    trials: int = 20,
    jobs: int = 1,
    out: str = "",
    seed: int = 0,
    local: bool = False,
    **overrides: Any,
) -> Path:
    """Print the commands of a W&B sweep; without an account, make the same search on this machine, through Optuna.

    It takes all options of fit as well, which then hold for every trial. A search goes on where it was stopped.

    Args:
        name: a sweep in experiments/sweeps, or a YAML file of W&B's
        data: folder with the published data sets
        trials: how many the search on this machine makes
        jobs: how many of them at once
        out: its folder (default: runs/sweeps/NAME)
        seed: of its choice of values
        local: search on this machine, also with an account (WANDB_MODE=offline does, too)
        overrides: dotted options of the Lightning CLI

    Returns:
        The sweep's file; of a search on this machine, the table of its trials in Markdown.

    Raises:
        UsageError: the sweep or an option is not as expected, or no trial came to an end.

    Examples:
        warpmark sweep stylize --data ROOT --local --trials 20
    """
    if trials < 1 or jobs < 1:
        raise UsageError(f"--trials is {trials} and --jobs is {jobs}; expected 1 or more of each.")
    search = read_sweep(name)
    place = Path(out or f"runs/sweeps/{search.file.stem}")
    folders = [f"--paths.data={data}"] if data else []
    if words := [*folders, *_words(overrides)]:
        search = search.with_words(words, place / search.file.name)
    print(f"wandb sweep {search.file}\nwandb agent ENTITY/PROJECT/SWEEP    # as often as there are machines")
    if not local and has_account():
        return search.file
    log.info("searching on this machine, in %s (no account, WANDB_MODE=offline, or --local)", place)
    return Search(search, place, seed).make(trials, jobs)


def _words(overrides: dict[str, Any]) -> list[str]:
    """Dotted options as words of ``fit``."""
    config = overrides.pop("config", ())
    layers = [config] if isinstance(config, str) else config
    choices = Choices(config=layers, overrides=overrides)
    given = len(Choices().arguments())
    return choices.arguments()[given:]
