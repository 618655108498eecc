"""What a sweep file of Weights & Biases says."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, Protocol, get_args

import yaml

from experiments.catalogue import file_of, read_yaml
from experiments.errors import UsageError

_NEEDED: Final = ("command", "method", "metric", "parameters")
_BEFORE: Final = ["${env}", "${interpreter}", "-m", "experiments"]
_ARGUMENTS: Final = "${args}"


Goal = Literal["minimize", "maximize"]


class Suggests(Protocol):
    """A trial of Optuna's."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of the choices."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number from an interval."""

    def suggest_int(self, name: str, low: int, high: int) -> int:
        """A whole number from an interval, both ends included."""


_DISTRIBUTIONS: Final[Mapping[str, Callable[[Suggests, str, Any, Any], float]]] = {
    "uniform": lambda trial, name, low, high: trial.suggest_float(name, low, high),
    "log_uniform_values": lambda trial, name, low, high: trial.suggest_float(name, low, high, log=True),
    "int_uniform": lambda trial, name, low, high: trial.suggest_int(name, low, high),
}


@dataclass(frozen=True)
class Sweep:
    """A search over options of a command.

    Attributes:
        file: it was read from.
        words: the command, ``fit …``, to which a trial adds ``--PARAMETER=VALUE``.
        method: how values are chosen: ``bayes`` or ``random``.
        metric: what is logged, and counts at the end of a trial.
        goal: ``minimize`` or ``maximize``.
        parameters: by option, ``value``, ``values``, or ``min`` and ``max`` with a ``distribution``.
        content: all that the file says.
    """

    file: Path
    words: Sequence[str]
    method: str
    metric: str
    goal: Goal
    parameters: Mapping[str, Mapping[str, Any]]
    content: Mapping[str, Any]

    def with_words(self, words: Sequence[str], file: Path) -> "Sweep":
        """The sweep with further words before a trial's own; written to ``file``, so that W&B can have it too."""
        command = [*_BEFORE, *self.words, *words, _ARGUMENTS]
        content = {**self.content, "command": command}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(content, sort_keys=False, width=120, allow_unicode=True), encoding="utf-8")
        return replace(self, file=file, words=[*self.words, *words], content=content)

    def suggested(self, trial: Suggests) -> list[str]:
        """The words of a trial's values, ``--PARAMETER=VALUE``.

        Raises:
            UsageError: a distribution that only W&B knows.
        """
        return [f"--{name}={self._value(trial, name, parameter)}" for name, parameter in self.parameters.items()]

    def _value(self, trial: Suggests, name: str, parameter: Mapping[str, Any]) -> str:
        if "value" in parameter:
            return _word(parameter["value"])
        if "values" in parameter:
            # As words: Optuna stores plain values only, and a list may be one of those to choose from.
            return str(trial.suggest_categorical(name, [_word(value) for value in parameter["values"]]))
        low, high = parameter.get("min"), parameter.get("max")
        whole = isinstance(low, int) and isinstance(high, int)
        kind = parameter.get("distribution", "int_uniform" if whole else "uniform")
        if kind not in _DISTRIBUTIONS or low is None or high is None:
            raise UsageError(
                f"{self.file}: {name} is {dict(parameter)}; expected value, values, or min and max with one of the "
                f"distributions {', '.join(_DISTRIBUTIONS)}. Change it, or let W&B make this search."
            )
        return _word(_DISTRIBUTIONS[kind](trial, name, low, high))


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def read_sweep(name: str) -> Sweep:
    """Read a shipped sweep by its name, or a file.

    Raises:
        UsageError: there is none, or it is no sweep of ``python -m experiments``.
    """
    path = Path(name) if Path(name).suffix else file_of("sweep", name)
    content = read_yaml(path, "a sweep of W&B in YAML")
    missing = [key for key in _NEEDED if key not in content] if isinstance(content, dict) else _NEEDED
    if missing:
        raise UsageError(f"{path}: {', '.join(missing)} missing; expected a sweep of W&B, see experiments/sweeps.")
    metric = content["metric"]
    if not isinstance(metric, dict) or "name" not in metric:
        raise UsageError(f"{path}: the metric is {metric!r}; expected its name and goal. Correct the file.")
    if not isinstance(content["parameters"], dict) or not (isinstance(content["command"], list) and content["command"]):
        raise UsageError(f"{path}: found {content['parameters']}; expected parameters by name, and a command in words.")
    command = [str(word) for word in content["command"]]
    if command[: len(_BEFORE)] != _BEFORE or command[-1] != _ARGUMENTS:
        raise UsageError(
            f"{path}: the command is {' '.join(command)}; expected {' '.join(_BEFORE)} … {_ARGUMENTS}, as in "
            "experiments/sweeps."
        )
    metric = {"goal": "minimize", **metric}
    if metric["goal"] not in get_args(Goal):
        raise UsageError(
            f"{path}: the metric's goal is {metric['goal']!r}; expected one of {', '.join(get_args(Goal))}."
        )
    return Sweep(
        path,
        command[len(_BEFORE) : -1],
        content["method"],
        metric["name"],
        metric["goal"],
        content["parameters"],
        content,
    )
