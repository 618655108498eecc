"""From the names of choices to the Lightning CLI's configuration, and from a part of it to an object."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from experiments.catalogue import CONFIGS, config_files, usual_choices
from experiments.errors import UsageError


def build(kind: type, spec: Mapping[str, Any], name: str) -> Any:
    """An object of a kind from its ``class_path`` and ``init_args``.

    Args:
        kind: the class, or one that it derives from.
        spec: of the object.
        name: what it is called in messages.

    Raises:
        ArgumentError: there is no such class, or it does not take these arguments.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(kind, name)
    return parser.instantiate_classes(parser.parse_object({name: dict(spec)}))[name]


@dataclass(frozen=True)
class Choices:
    """What :func:`experiments.commands.train.train` takes: names, folders, and configurations laid over them.

    Attributes:
        setting: which data is source, target and tested.
        method: how it learns; if empty, the setting's usual one.
        landmarker: what learns; likewise.
        profile: how long.
        data: folder with the published data sets, or ``synthetic``; the setting's own if empty.
        source: labelled photos (setting ``own``).
        target: stylised faces (setting ``own``).
        test: labelled faces to score (setting ``own``); the target's if empty.
        seed: random seed.
        ema: test and save a moving average of the weights.
        wandb: also log to Weights & Biases.
        config: YAML files, or configurations themselves, laid over the choices in this order.
        overrides: dotted options of the Lightning CLI and their values, laid over all else in this order. A value for a
            list's option ``name+`` is added to the list; several are given as a list.
    """

    setting: str = "gzsl_artiface"
    method: str = ""
    landmarker: str = ""
    profile: str = "quick"
    data: str = ""
    source: str = ""
    target: str = ""
    test: str = ""
    seed: int = 0
    ema: bool = False
    wandb: bool = False
    config: Sequence[str | Mapping[str, Any]] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self) -> list[str]:
        """Arguments of the Lightning CLI.

        Raises:
            UsageError: an unknown name, or folders that do not go with the setting.
        """
        folders = self._folders()
        arguments = [f"--config={file}" for file in self.files()]
        arguments += [f"--seed_everything={self.seed}"]
        arguments += [f"--paths.{name}={folder}" for name, folder in folders.items() if folder]
        arguments += [f"--config={layer}" for layer in self.layers()]
        for option, value in self.overrides.items():
            added = value if isinstance(value, list) and option.endswith("+") else [value]
            arguments += [f"--{option}={one if isinstance(one, str) else json.dumps(one)}" for one in added]
        return arguments

    def files(self) -> list[Path]:
        """The configuration files that the names stand for, later ones to be laid over earlier ones.

        Raises:
            UsageError: an unknown name.
        """
        usual = usual_choices(self.setting)
        names = {"profile": self.profile, "setting": self.setting}
        names |= {kind: getattr(self, kind) or usual[kind] for kind in ("method", "landmarker")}
        return config_files(names) + [CONFIGS / f"{name}.yaml" for name in ("ema", "wandb") if getattr(self, name)]

    def layers(self) -> list[str]:
        """``config`` as ``--config`` takes it: a file's name, or the content of one."""
        return [layer if isinstance(layer, str) else json.dumps(layer) for layer in self.config]

    def _folders(self) -> dict[str, str]:
        own = {"source": self.source, "target": self.target, "test": self.test}
        given = [name.upper() for name, folder in own.items() if folder]
        if self.setting != "own" and given:
            raise UsageError(
                f"{', '.join(given)} given with SETTING={self.setting}. Your own folders need SETTING=own."
            )
        if self.setting == "own" and (missing := [name.upper() for name in ("source", "target") if not own[name]]):
            raise UsageError(
                f"SETTING=own needs {' and '.join(missing)}. Give SOURCE=folder of labelled photos and TARGET=folder "
                "of stylised faces (and TEST=folder of labelled faces to score, if they are not in TARGET)."
            )
        if self.setting == "own" and self.data:
            raise UsageError(
                f"DATA={self.data} given with SETTING=own, whose data is SOURCE, TARGET and TEST. Leave DATA out."
            )
        return {"data": self.data, **own}
