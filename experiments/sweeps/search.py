"""A sweep's search on this machine, through Optuna."""

import csv
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml
from filelock import FileLock, Timeout

from datamodules.setting import SYNTHETIC
from experiments.catalogue import CONFIGS
from experiments.errors import UsageError, nearest
from experiments.grids.executors.local import Job, run_jobs
from experiments.grids.tables import Table
from experiments.sweeps.sweep import Sweep
from lightning_modules.landmarkers.fixed import not_installed

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)

_FOLDER: Final = "folder"
"""Of a trial, where it is not the one of its number: it goes on with a trial that was killed."""


class TrialError(RuntimeError):
    """A trial that failed; the message says how."""


Run = Callable[[str, Sequence[str], Path], str]
"""Runs ``python -m experiments …`` for a trial: its name, the words, and where its output goes; returns what went
wrong."""


def run_trial(name: str, words: Sequence[str], said: Path) -> str:
    """Run a trial in a process of its own, which ends with this one."""
    # W&B's records stay here; `wandb sync` sends them.
    environment = {"WANDB_MODE": "offline", "WANDB_RUN_ID": name}
    return "".join(run_jobs([Job(name, ["experiments", *words], said, environment=environment)]))


@dataclass(frozen=True)
class Search:
    """A sweep's search: a folder for each trial; in ``study.journal`` what was tried, so that it goes on after a stop.

    Attributes:
        sweep: what is searched for.
        out: the folder.
        seed: of the choice of values.
        run: how a trial is run.
    """

    sweep: Sweep
    out: Path
    seed: int = 0
    run: Run = run_trial

    def make(self, trials: int, at_once: int = 1) -> Path:
        """Search until so many trials are complete, those of earlier searches in this folder included.

        Returns:
            The trials' table in Markdown, best first.

        Raises:
            WeightsError: Optuna is not installed.
            UsageError: another process is at it, or no trial came to an end.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.out / "lock", blocking=False):
                return self._make(trials, at_once)
        except Timeout as error:
            raise UsageError(f"{self.out}: another process is making this search. Wait for it, or use JOBS.") from error

    def _make(self, trials: int, at_once: int) -> Path:
        study = self._study()
        _take_up_killed(study)
        remaining = trials - len(_complete(study))
        if remaining > 0:
            study.optimize(self._objective, n_trials=remaining, n_jobs=at_once, catch=(TrialError,))
        done = _complete(study)
        if not done:
            raise UsageError(f"no trial of {self.sweep.file} came to an end; {self.out}/*.log say why.")
        best = study.best_trial
        log.info("best: trial %d, %s %.4f", best.number, self.sweep.metric, best.value)
        log.info("its options: %s", best.user_attrs.get("words", ""))
        return self._table(study).show(self.out / "table")

    def _study(self) -> "Study":
        try:
            import optuna
            from optuna.samplers import RandomSampler, TPESampler
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend
        except ImportError as error:
            raise not_installed("optuna", "sweep", "the search on this machine") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        samplers: dict[str, Callable[[int], BaseSampler]] = {
            "bayes": lambda seed: TPESampler(seed=seed),
            "random": lambda seed: RandomSampler(seed=seed),
        }
        if self.sweep.method not in samplers:
            raise UsageError(f"{self.sweep.file}: method {self.sweep.method!r}. {nearest(self.sweep.method, samplers)}")
        storage = JournalStorage(JournalFileBackend(str(self.out / "study.journal")))
        name, goal = self.sweep.file.stem, self.sweep.goal
        study = optuna.create_study(storage=storage, study_name=name, direction=goal, load_if_exists=True)
        # A search that goes on must not draw again what it began with.
        study.sampler = samplers[self.sweep.method](self.seed + len(study.trials))
        return study

    def _objective(self, trial: "Trial") -> float:
        name = _folder_of(trial)
        words = self.sweep.suggested(trial)
        trial.set_user_attr("words", " ".join(words))
        folder = self.out / name
        last = folder / "checkpoints/last.ckpt"
        going_on = [f"--ckpt_path={last}"] if last.exists() else []
        command = [_found(word) for word in self.sweep.words]
        place = f"--trainer.default_root_dir={folder}"
        try:
            problem = self.run(name, [*command, *words, place, *going_on], self.out / f"{name}.log")
        except KeyboardInterrupt:
            # Optuna counts it as failed.
            _queue(trial.study, trial)
            raise
        if problem:
            log.error("%s", problem)
            raise TrialError(problem)
        value = last_logged(folder, self.sweep.metric)
        log.info("%s: %s %.4f (%s)", name, self.sweep.metric, value, " ".join(words))
        return value

    def _table(self, study: "Study") -> Table:
        best_first = sorted(
            _complete(study), key=lambda trial: trial.value or 0.0, reverse=self.sweep.goal == "maximize"
        )
        names = [name for name, parameter in self.sweep.parameters.items() if "value" not in parameter]
        head = ["trial", self.sweep.metric, *(name.removeprefix("model.init_args.") for name in names)]
        lines = [
            [str(trial.number), f"{trial.value:.4f}", *(_shown(trial.params.get(name)) for name in names)]
            for trial in best_first
        ]
        folders = [self.out / _folder_of(trial) for trial in best_first]
        drawn = "SYNTHETIC faces: not results. " if any(map(_is_drawn, folders)) else ""
        return Table(f"{drawn}{self.sweep.file.stem}: {len(lines)} trials, best first", head, lines)


def _found(word: str) -> str:
    """``--config`` of a shipped file, also from another folder than the project's."""
    option, _, name = word.partition("=")
    shipped = CONFIGS.parent / name
    return f"{option}={shipped}" if option == "--config" and not Path(name).exists() and shipped.is_file() else word


def last_logged(folder: Path, metric: str) -> float:
    """What a run's ``csv/`` logged last under a name.

    Raises:
        TrialError: nothing.
    """
    values: list[str] = []
    for path in sorted(folder.glob("csv/*/metrics.csv"), key=lambda path: path.stat().st_mtime_ns):
        with path.open(newline="") as file:
            values += [row[metric] for row in csv.DictReader(file) if row.get(metric)]
    if not values:
        raise TrialError(f"{folder}: did not log {metric}.")
    return float(values[-1])


def _take_up_killed(study: "Study") -> None:
    """Queue what was being tried when the search was killed: the same values, in the same folder."""
    from optuna.trial import TrialState

    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)
        _queue(study, trial)


def _queue(study: "Study", trial: "Trial | FrozenTrial") -> None:
    study.enqueue_trial(trial.params, user_attrs={_FOLDER: _folder_of(trial)})


def _folder_of(trial: "Trial | FrozenTrial") -> str:
    return str(trial.user_attrs.get(_FOLDER, f"trial{trial.number}"))


def _complete(study: "Study") -> "list[FrozenTrial]":
    from optuna.trial import TrialState

    return study.get_trials(states=[TrialState.COMPLETE])


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_drawn(folder: Path) -> bool:
    """Whether a run's faces were drawn, by its configuration."""
    path = folder / "config.yaml"
    if not path.exists():
        return False
    text = path.read_text()
    data: Mapping[str, Any] = yaml.safe_load(text).get("data", {})
    return data.get("root") == SYNTHETIC or "SyntheticDataModule" in text
