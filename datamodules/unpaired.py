"""Photos and stylised faces as translators see them: in their own colours."""

import copy
from dataclasses import replace

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from datamodules.faces import TrainBatch
from datamodules.setting import SettingDataModule


class UnpairedImages(LightningDataModule):
    """A setting's training batches for translators, and no others.

    Faces are mirrored, turned, resized and shifted as the setting says, but no colour is changed and nothing covered or
    blurred: a translator would learn to do the same.

    Args:
        data: the setting; not changed.
        batch_size: pairs of a photo and a stylised face in a step and process; nothing else pairs them.
        steps_per_epoch: training steps of an epoch; by default one pass over the source.
    """

    def __init__(self, data: SettingDataModule, batch_size: int = 1, steps_per_epoch: int | None = None) -> None:
        super().__init__()
        self.data = copy.copy(data)
        self.data.batch_size, self.data.steps_per_epoch = batch_size, steps_per_epoch
        self.data.augmentation = replace(data.augmentation, occlusion=0.0, colour=0.0, grey=0.0, blur=0.0)

    def train_dataloader(self) -> DataLoader[TrainBatch]:
        """Batches of both; the k-th depends only on (seed, k)."""
        self.data.trainer = self.trainer
        return self.data.train_dataloader()
