"""Which faces a run learns from and is tested on, in a few letters for each role."""

import re

from datamodules.experiment import ExperimentDataModule
from datamodules.faces import FaceSet
from experiments.artifacts.pictures import PictureContents, pictures_of
from experiments.artifacts.store import key_of


def faces_by_role(data: ExperimentDataModule, contents: PictureContents) -> dict[str, str]:
    """Of ``source``, ``target`` and ``tests``: their files' names, labels and boxes, and what the pictures hold.

    They stay when the data are moved, and where a detector finds its boxes otherwise in the last bits.

    Raises:
        DataError: see :meth:`ExperimentDataModule.setup`.
    """
    roles: dict[str, list[FaceSet]] = {
        "source": [data.source_faces],
        "target": [] if data.target_faces is None else [data.target_faces],
        "tests": [test.faces for test in data.test_sets],
    }
    return {role: key_of(_facts(sets, contents)) for role, sets in roles.items()}


def _facts(sets: list[FaceSet], contents: PictureContents) -> dict[str, object]:
    named = [re.sub(r"boxed\(\w+\)", "boxed", faces.fingerprint()) for faces in sets]
    return {"sets": named, "pictures": contents.of(pictures_of(sets))}
