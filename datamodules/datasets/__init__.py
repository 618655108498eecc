"""The readers: one file per data set."""

from datamodules.datasets.artiface import ArtiFaceDataModule
from datamodules.datasets.cariface import CariFaceDataModule
from datamodules.datasets.folder import FolderDataModule
from datamodules.datasets.w300 import W300DataModule
from datamodules.synthetic.dataset import SyntheticDataModule

__all__ = [
    "W300DataModule",
    "CariFaceDataModule",
    "ArtiFaceDataModule",
    "FolderDataModule",
    "SyntheticDataModule",
]
