"""The readers: one file per data set."""

from datamodules.datasets.artiface import ArtiFaceDataModule
from datamodules.datasets.cariface import CariFaceDataModule
from datamodules.datasets.folder import FolderDataModule
from datamodules.datasets.synthetic import SyntheticDataModule
from datamodules.datasets.w300 import W300DataModule

__all__ = [
    "W300DataModule",
    "CariFaceDataModule",
    "ArtiFaceDataModule",
    "FolderDataModule",
    "SyntheticDataModule",
]
