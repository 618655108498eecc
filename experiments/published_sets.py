"""Data without a training: the test faces that landmarkers are compared on, and a setting's data alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from omegaconf import OmegaConf

from datamodules.datasets import ArtiFaceDataModule, CariFaceDataModule, W300DataModule
from datamodules.faces import FaceSet
from datamodules.files import OnError
from datamodules.loading import TestSet
from datamodules.setting import SettingDataModule
from experiments.catalogue import config_files
from experiments.compose import build
from experiments.errors import UsageError, nearest

SUBSETS = ("300w_common", "cariface", "artiface")
"""What landmarkers are compared on: 300W's common test faces, the caricatures to test on, all of ArtiFace."""


@dataclass(frozen=True)
class Column:
    """Faces to compare on: a test set whose faces all count in the subset."""

    subset: str
    test: TestSet

    @property
    def count(self) -> int:
        """How many faces there are."""
        return len(self.test.faces)


def columns(root: str, subsets: Sequence[str] = SUBSETS) -> list[Column]:
    """The test faces of a folder with the published data sets, of whatever numbers.

    Args:
        root: the folder, ``DATA``.
        subsets: some of :data:`SUBSETS`.

    Raises:
        UsageError: an unknown subset.
        DataError: a data set is missing or malformed, or 300W has no common test faces.
    """
    known: dict[str, Callable[[], FaceSet]] = {
        "300w_common": W300DataModule(f"{root}/300W", strict_counts=False).common_faces,
        "cariface": CariFaceDataModule(f"{root}/CariFace_dataset", strict_counts=False).test_faces,
        "artiface": ArtiFaceDataModule(f"{root}/AF_dataset", strict_counts=False, test="all").test_faces,
    }
    if unknown := [name for name in subsets if name not in known]:
        raise UsageError(f"--subsets: found {unknown[0]!r}. {nearest(unknown[0], known)}")
    faces = {name: known[name]() for name in subsets}
    return [Column(name, TestSet(found, [(name,)] * len(found))) for name, found in faces.items()]


def setting_data(setting: str, root: str, on_error: OnError = "raise") -> SettingDataModule:
    """The data of a setting alone, of whatever numbers of images.

    Args:
        setting: its name.
        root: folder with the published data sets, or ``synthetic``.
        on_error: what an unreadable image does.

    Raises:
        UsageError: an unknown setting, or one of the user's own folders.
    """
    merged = OmegaConf.merge(
        *(OmegaConf.load(file) for file in config_files({"setting": setting})), {"paths": {"data": root}}
    )
    if merged.run.setting == "own":
        raise UsageError("SETTING=own has no folder of its own data; give TEST=folder of labelled faces instead.")
    spec = OmegaConf.to_container(merged.data, resolve=True)
    assert isinstance(spec, dict), "data is a mapping in every setting"
    arguments = {**spec, "root": root, "strict_counts": False, "on_error": on_error}
    class_path = f"{SettingDataModule.__module__}.{SettingDataModule.__qualname__}"
    data: SettingDataModule = build(SettingDataModule, {"class_path": class_path, "init_args": arguments}, "data")
    return data
