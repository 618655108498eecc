"""The data sets: one file each, and the drawn faces that can stand in for them."""

from datamodules.datasets.artiface import ArtiFaceDataModule
from datamodules.datasets.cariface import CariFaceDataModule
from datamodules.datasets.folder import FolderDataModule
from datamodules.datasets.w300 import W300DataModule
from datamodules.synthetic.dataset import SyntheticDataModule

__all__ = ["ArtiFaceDataModule", "CariFaceDataModule", "FolderDataModule", "SyntheticDataModule", "W300DataModule"]
