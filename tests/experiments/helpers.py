"""A landmarker and faces small enough to run whole experiments in seconds, and the commands to run them with."""

import csv
import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

# Lightning's log writes to the standard error there was when it was imported: let that not be a test's.
import experiments.cli  # noqa: F401
from experiments.bench.soak.comparing import state_differences
from experiments.catalogue import config_files
from experiments.command_line import main
from tests.conftest import TINY_LANDMARKER as TINY_ARGUMENTS

TINY_LANDMARKER = {
    "class_path": "lightning_modules.landmarkers.SLPT",
    # Dropout, so that a resumed run must find its random generator as it was.
    "init_args": {**TINY_ARGUMENTS, "dropout": 0.2, "channels_last": False},
}

RESUMING = [
    # Lightning's remark that the resumed run's callbacks are not all of the first's: the one that saved every step.
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed from:UserWarning"),
    # Weights after the optimizer's step are what a resumed run wants.
    pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual optimization:UserWarning"),
]
"""What a test module whose runs are stopped and resumed is marked with."""


def drawn(style: str, train: int = 8, test: int = 4) -> dict[str, Any]:
    """The configuration of a set of drawn faces."""
    arguments = {"style": style, "train_count": train, "test_count": test, "name": style, "size": 64}
    return {"class_path": "datamodules.datasets.SyntheticDataModule", "init_args": arguments}


TINY: dict[str, Any] = {
    "trainer": {"accelerator": "cpu", "max_epochs": 2},
    "pretraining": {"max_epochs": 1},
    "model": {"init_args": {"landmarker": TINY_LANDMARKER}},
    "data": {
        "batch_size": 4,
        "source": [drawn("photo")],
        "target": [drawn("caricature", train=6)],
        "tests": [drawn("photo", test=2), drawn("caricature", test=3)],
    },
}
"""Two epochs of two steps, 64-pixel crops; laid over a setting, it draws its faces."""

PHASES = {"model": {"init_args": {"warper_epochs": 1, "proximal_epochs": 1}}}
"""One epoch each, for the method ``face_warping``."""


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings laid over each other, later ones on top; lists are replaced."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
            result[key] = merged(result[key], value) if both else deepcopy(value)
    return result


def write_config(path: Path, *layers: Mapping[str, Any]) -> str:
    """Write the layers as one YAML file; returns ``--config=FILE``."""
    path.write_text(yaml.safe_dump(merged(*layers)))
    return f"--config={path}"


def run(*arguments: str) -> None:
    """``python -m experiments ARGUMENTS`` in this process."""
    main([str(argument) for argument in arguments])


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The message with which a command is refused: status 2, on standard error, without a traceback."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        run(*arguments)
    assert exit_.value.code == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message, message
    return message


def fit_files(method: str) -> list[str]:
    """Options of the Lightning CLI that a run of a method in ``da_cariface`` is made of."""
    choices = {"profile": "quick", "setting": "da_cariface", "method": method, "landmarker": "slpt"}
    return [f"--config={file}" for file in config_files(choices)]


def metrics(folder: Path) -> dict[str, Any]:
    """A run's ``metrics.json``."""
    return json.loads((folder / "metrics.json").read_text())  # type: ignore[no-any-return]


def rows(path: Path) -> list[dict[str, str]]:
    """A CSV file with a header."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint, read as safely as the project reads it."""
    return torch.load(path, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]


differences = state_differences
"""Where two nested states differ; tensors are equal only bit for bit."""


def learned(path: Path) -> dict[str, Any]:
    """What a run learned: weights, optimizers, pseudo landmarks and random generators of a checkpoint."""
    content = checkpoint(path)
    random = next(state for name, state in content["callbacks"].items() if name.startswith("ExactResume"))
    keys = ("state_dict", "optimizer_states", "pseudo_landmarks", "epoch", "global_step")
    return {"random": random, **{key: content.get(key) for key in keys}}
