"""A method of one's own, in one file, and a run of it on drawn faces: python examples/own_method.py

On photos it learns the labels; on stylised faces, that a crop and its mirror image are to have the same landmarks.
"""

from pathlib import Path
from typing import Any

from datamodules.faces import TrainBatch
from experiments.commands.train import train
from lightning_modules.landmarkers import Landmarker
from lightning_modules.landmarkers.inference import mirror_landmarks
from lightning_modules.methods.adaptation import Adaptation


class MirrorAgreement(Adaptation):
    """Learn photos' labels, and that landmarks of stylised faces follow when a crop is mirrored.

    Args:
        landmarker: the network, pretrained on the source.
        agreement: weight of the distance between a crop's landmarks and its mirror image's.
        options: learning rate, schedule and clipping, see :class:`Adaptation`.
    """

    def __init__(self, landmarker: Landmarker, agreement: float = 1.0, **options: Any) -> None:
        super().__init__(landmarker, **options)
        self.agreement = agreement

    def training_step(self, batch: TrainBatch, batch_idx: int) -> None:
        """One step on photos and stylised faces."""
        drawings = batch.target.images
        mirrored = mirror_landmarks(self(drawings.flip(-1)), self.image_size)
        distance = (self(drawings) - mirrored).norm(dim=-1).mean()
        self.log("train/distance", distance.detach(), prog_bar=True, batch_size=len(drawings))
        self.update(self.supervised_loss(batch.source) + self.agreement * distance)


def main(*config: Any, **options: Any) -> Path:
    """Train it, with configurations and options as ``make train`` takes them; returns the run's folder."""
    # Laid over a method that has the same options; a YAML file in ./configs/methods does the same by name.
    own = {"run": {"method": "mirror_agreement"}, "model": {"class_path": "own_method.MirrorAgreement"}}
    return train("gzsl_artiface", method="stylize", config=[own, *config], **options)


if __name__ == "__main__":
    main(landmarker="integral", **{"trainer.max_epochs": 1, "data.steps_per_epoch": 20})
