"""What a trial of the soak is: a method on a landmarker, small enough for a second or two, drawn from a seed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import yaml
from omegaconf import OmegaConf

from experiments.catalogue import CONFIGS, names

_SIZE: Final = 64
_BACKBONE: Final = {"image_size": _SIZE, "backbone": "mobilenetv3_small_050", "pretrained": False}
_HOURGLASSES: Final = {"image_size": _SIZE, "channels": 32}
_TRANSLATORS: Final = {
    "generator": {
        "class_path": "lightning_modules.translation.ResNetGenerator",
        "init_args": {"width": 4, "blocks": 1},
    },
    "discriminator": {
        "class_path": "lightning_modules.translation.PatchDiscriminator",
        "init_args": {"width": 4, "halvings": 2},
    },
}
LANDMARKERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "slpt": _BACKBONE
    | {"embed_dim": 32, "feature_dim": 32, "num_layers": 1, "num_heads": 2, "feedforward_dim": 32, "patch_size": 3}
    # So that a resumed run must find its random generator as it was.
    | {"dropout": 0.2},
    "integral": _BACKBONE,
    "hrnet": _BACKBONE,
    "star": _HOURGLASSES | {"levels": 2},
    "sbr": _BACKBONE,
}
"""Arguments by which a landmarker's light form becomes a small one."""


@dataclass(frozen=True)
class Trial:
    """A short run.

    Attributes:
        method: its name.
        landmarker: its name.
        seed: of the run.
        joint: of ``face_warping``, joint optimisation instead of phases.
        average: whether a moving average of the weights is kept.
        warper_epochs: of a warper phase, and of a proximal one.
    """

    method: str
    landmarker: str
    seed: int
    joint: bool = False
    average: bool = False
    warper_epochs: int = 1

    @classmethod
    def drawn(cls, random: Random) -> "Trial":
        """One at random."""
        return cls(
            random.choice(names("method")),
            random.choice(list(LANDMARKERS)),
            random.randrange(1000),
            joint=random.random() < 0.25,
            average=random.random() < 0.25,
            warper_epochs=random.choice((1, 2)),
        )

    def __str__(self) -> str:
        said = [self.method, self.landmarker, f"seed {self.seed}"]
        return ", ".join([*said, *(["joint"] if self._is_joint else []), *(["average"] if self.average else [])])

    @property
    def _is_joint(self) -> bool:
        return self.joint and self.method == "face_warping"

    def command(self, runs: Path) -> list[str]:
        """Of ``python -m experiments``, for this run under ``runs``; its configuration is written there."""
        runs.mkdir(parents=True, exist_ok=True)
        config = runs / "trial.yaml"
        config.write_text(yaml.safe_dump(self._config()))
        words = ["train", "--setting=da_cariface", f"--method={self.method}", f"--landmarker={self.landmarker}"]
        average = [f"--config={CONFIGS / 'ema.yaml'}"] if self.average else []
        return [*words, f"--seed={self.seed}", f"--config={config}", *average, f"--paths.runs={runs}"]

    def folder(self, runs: Path) -> Path:
        """Of the run under ``runs``."""
        return runs / "da_cariface" / f"{self.method}-{self.landmarker}" / f"seed{self.seed}"

    def _config(self) -> dict[str, Any]:
        """Four epochs of two steps on drawn faces, from a start of three."""
        return {
            "trainer": {
                **{"accelerator": "cpu", "max_epochs": 4, "enable_progress_bar": False, "logger": False},
                "callbacks": _without_pictures(),
            },
            "pretraining": {"max_epochs": 3},
            "model": {"init_args": {"landmarker": {"init_args": dict(LANDMARKERS[self.landmarker])}, **self._method()}},
            "translation": {"max_epochs": 2, "steps_per_epoch": 2},
            "data": {
                "batch_size": 4,
                "steps_per_epoch": 2,
                "source": [_drawn("photo", 8, 1)],
                "target": [_drawn("caricature", 6, 1)],
                "tests": [_drawn("photo", 1, 2), _drawn("caricature", 1, 2)],
            },
        }

    def _method(self) -> dict[str, Any]:
        own: dict[str, dict[str, Any]] = {
            "face_warping": {"warper_epochs": self.warper_epochs, "proximal_epochs": self.warper_epochs}
            | {"optimization": "joint" if self._is_joint else "alternating"},
            "cyclegan": {"translator": {"init_args": _TRANSLATORS}},
            "bdl": {"translator": {"init_args": _TRANSLATORS}}
            | {"rounds": {"count": 1, "translation": 1, "adaptation": 1, "self_training": 2, "renew": 1}},
        }
        return own.get(self.method, {})


def _without_pictures() -> list[Any]:
    """A run's callbacks but the pictures, which take most of a short run's time."""
    base = OmegaConf.to_container(OmegaConf.load(CONFIGS / "base.yaml"))
    assert isinstance(base, dict), "it is a mapping"
    return [one for one in base["trainer"]["callbacks"] if not one["class_path"].endswith("WarpPictures")]


def _drawn(style: str, train: int, test: int) -> dict[str, Any]:
    arguments = {"style": style, "train_count": train, "test_count": test, "name": style, "size": _SIZE}
    return {"class_path": "datamodules.datasets.SyntheticDataModule", "init_args": arguments}
