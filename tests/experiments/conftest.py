"""Two finished runs that many tests look at: one on drawn faces, one on folders."""

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.experiments.helpers import PHASES, TINY, run, write_config
from tests.layouts import write_folder


class FinishedRun(NamedTuple):
    """A run that ended well: its folder, and the command that made it."""

    folder: Path
    command: list[str]
    runs: Path


@pytest.fixture(scope="session")
def drawn_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Face warping on drawn faces: one warper and one proximal epoch."""
    top = tmp_path_factory.mktemp("drawn")
    command = ["train", "--setting=da_cariface", write_config(top / "tiny.yaml", TINY, PHASES)]
    command += [f"--paths.runs={top}/runs"]
    run(*command)
    return FinishedRun(top / "runs/da_cariface/face_warping-slpt/seed0", command, top / "runs")


class OwnFolders(NamedTuple):
    """A user's folders: labelled photos, unlabelled stylised faces, labelled ones."""

    source: Path
    target: Path
    test: Path

    @property
    def arguments(self) -> list[str]:
        """For ``train``."""
        return [
            "--setting=own",
            "--method=face_warping",
            "--landmarker=slpt",
            *(f"--{name}={folder}" for name, folder in self._asdict().items()),
        ]


@pytest.fixture(scope="session")
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> OwnFolders:
    top = tmp_path_factory.mktemp("own")
    return OwnFolders(
        write_folder(top / "photos", 10, "pts"),
        write_folder(top / "paintings", 5, "unlabelled", seed=50),
        write_folder(top / "labelled", 7, "cariface", seed=80),
    )


@pytest.fixture(scope="session")
def own_run(tmp_path_factory: pytest.TempPathFactory, own_folders: OwnFolders) -> FinishedRun:
    """Joint optimisation on the user's folders."""
    top = tmp_path_factory.mktemp("own_run")
    tiny = {key: TINY[key] for key in ("trainer", "pretraining", "model")}
    joint = {"data": {"batch_size": 3}, "model": {"init_args": {"optimization": "joint"}}}
    command = ["train", *own_folders.arguments, write_config(top / "tiny.yaml", tiny, joint)]
    command += [f"--paths.runs={top}/runs"]
    run(*command)
    return FinishedRun(top / "runs/own/face_warping-slpt/seed0", command, top / "runs")
