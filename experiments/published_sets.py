"""The test faces that landmarkers are compared on: those of the three published data sets in one folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from datamodules.datasets import ArtiFaceDataModule, CariFaceDataModule, W300DataModule
from datamodules.faces import FaceSet
from datamodules.loading import TestSet
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
