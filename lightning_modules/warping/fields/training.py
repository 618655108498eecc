"""Training of the fields that are learned on data of their own: AutoToon on pairs, CariGeoGAN on shapes.

Each step draws its faces from torch's generator, which is seeded by the number of the step
(:class:`callbacks.exact_resume.ExactResume`), so that a training that was killed goes on exactly.
"""

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.datasets.pairs import PairBatch
from datamodules.ibug68 import FLIP_PERMUTATION
from lightning_modules.coordinates import mirrored
from lightning_modules.training import TrainingModule, linear_decay
from lightning_modules.warping.fields.autotoon import AutoToon, autotoon_adam, autotoon_loss
from lightning_modules.warping.fields.carigeogan import CariGeoGAN
from lightning_modules.warping.fields.dense import sampled_field
from lightning_modules.warping.fields.spline import PolyharmonicSpline

ANCHORS = 9
"""Fixed points along each side of the crop: what an artist does not move."""


class Steps(LightningDataModule):
    """Numbers of steps, for modules that draw their faces themselves.

    Args:
        count: steps of an epoch.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def train_dataloader(self) -> DataLoader[int]:
        """0 … count - 1."""
        return DataLoader(range(self.count), batch_size=None)  # type: ignore[arg-type]  # a range is a dataset


class AutoToonTraining(TrainingModule):
    """Adam on the published objective; pairs are mirrored at random.

    The artist's field at the nodes is not at hand, only what it does to 68 landmarks: it is the thin-plate spline
    through these and fixed points around the crop.

    Args:
        network: changed in place.
        pairs: to learn from.
        batch_size: pairs in a step, drawn with replacement; published: 16.
        learning_rate: Adam's.
    """

    phase_name = "AutoToon"

    def __init__(self, network: AutoToon, pairs: PairBatch, batch_size: int = 16, learning_rate: float = 1e-4) -> None:
        super().__init__()
        self.automatic_optimization = False
        network.trainable = True
        self.network = network.requires_grad_(True).train()
        self.pairs, self.batch_size, self.learning_rate = pairs, batch_size, learning_rate

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        """A step on random pairs."""
        pairs = self.draw()
        artists = artists_displacement(pairs, self.network.nodes)
        displacement = self.network(pairs.photos)
        loss = autotoon_loss(displacement, artists, pairs.photos, pairs.caricatures)
        self.update(loss.total)
        shown = {"loss": loss.total, "pixels": loss.pixels, "field": loss.field, "smoothness": loss.smoothness}
        for name, value in shown.items():
            self.log(f"train/{name}", value.detach(), batch_size=self.batch_size, prog_bar=name == "loss")

    def draw(self) -> PairBatch:
        """Random pairs on this module's device, in half of the steps all mirrored."""
        places = torch.randint(len(self.pairs), (self.batch_size,)).tolist()
        mirror = bool(torch.rand(()) < 0.5)
        pairs = self.pairs.chosen(places)
        return (mirror_pairs(pairs) if mirror else pairs).mapped(lambda tensor: tensor.to(self.device))

    def learning_rate_of(self, place: int) -> float:
        """Constant, as published."""
        return self.learning_rate

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The published Adam."""
        return autotoon_adam(self.network, self.learning_rate)

    def on_train_end(self) -> None:
        """Note that the network is trained."""
        self.network.trained.fill_(True)


def artists_displacement(pairs: PairBatch, nodes: int) -> Tensor:
    """What the artists' landmarks say of their fields, at a field's nodes, in crops, ``(B, 2, nodes, nodes)``."""
    spline = PolyharmonicSpline.fit(pairs.caricature_landmarks, pairs.photo_landmarks, border_anchors=ANCHORS)
    return sampled_field(spline, nodes, pairs.photos.shape[-1], pairs.photos)


def mirror_pairs(pairs: PairBatch) -> PairBatch:
    """The pairs in a mirror."""
    size, order = pairs.photos.shape[-1], list(FLIP_PERMUTATION)
    shapes = (mirrored(points, size)[:, order] for points in (pairs.photo_landmarks, pairs.caricature_landmarks))
    photo_landmarks, caricature_landmarks = shapes
    images = (pairs.photos.flip(-1), pairs.caricatures.flip(-1))
    return PairBatch(images[0], photo_landmarks, images[1], caricature_landmarks, pairs.names)


class CariGeoGANTraining(TrainingModule):
    """A step of both generators and one of both discriminators on random shapes of either kind.

    Args:
        network: changed in place; its shape models must be there, see :meth:`CariGeoGAN.fit_shapes`.
        photos: aligned or not, shape ``(N, 68, 2)``.
        caricatures: unpaired with the photos, shape ``(M, 68, 2)``.
        batch_size: shapes of either kind in a step.
        learning_rate: Adam's, of all networks.
    """

    phase_name = "CariGeoGAN"

    def __init__(
        self,
        network: CariGeoGAN,
        photos: Tensor,
        caricatures: Tensor,
        batch_size: int = 64,
        learning_rate: float = 2e-4,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        network.trainable = True
        self.network = network.requires_grad_(True).train()
        dtype = next(network.generators()).dtype
        with torch.no_grad():
            self.photos = network.photo.encode(photos).to(dtype)
            self.caricatures = network.caricature.encode(caricatures).to(dtype)
        self.batch_size, self.learning_rate = batch_size, learning_rate

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        """The generators' step, then the discriminators' on what those made."""
        photos, caricatures = (self._drawn(codes) for codes in (self.photos, self.caricatures))
        made = self.network.translate(photos, caricatures)
        loss = self.network.generator_loss(made)
        self.update(loss.total, 0)
        judging = self.network.discriminator_loss(made)
        self.update(judging, 1)
        shown = {"adversarial": loss.adversarial, "cycle": loss.cycle, "characteristic": loss.characteristic}
        for name, value in {**shown, "discriminators": judging}.items():
            self.log(f"train/{name}", value.detach(), batch_size=self.batch_size, prog_bar=True)

    def _drawn(self, codes: Tensor) -> Tensor:
        return codes[torch.randint(len(codes), (self.batch_size,))].to(self.device)

    def learning_rate_of(self, place: int) -> float:
        """Falls along a line in the second half."""
        return self.learning_rate * linear_decay(self.progress)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam over the generators and over the discriminators."""
        parts = (self.network.generators(), self.network.discriminators())
        return [torch.optim.Adam(part, lr=self.learning_rate, betas=(0.5, 0.999)) for part in parts]

    def on_train_end(self) -> None:
        """Note that the network is trained."""
        self.network.trained.fill_(True)
