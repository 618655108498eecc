"""Bidirectional learning: translator and landmarker learn from each other (Li, Yuan, Vasconcelos, CVPR 2019: "BDL").

"Translators" below are the two generators with their image discriminators.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning import Callback
from torch import Tensor

from datamodules.faces import TrainBatch
from datamodules.loading import steps_done
from lightning_modules.augment.selection import require_share
from lightning_modules.landmarkers.base import Landmarker, evaluating, frozen
from lightning_modules.methods.adaptsegnet import AdaptSegNet
from lightning_modules.methods.cyclegan import translated
from lightning_modules.methods.discriminators import LandmarkDiscriminator
from lightning_modules.methods.pseudo import PseudoLandmarkStore
from lightning_modules.training import linear_decay
from lightning_modules.translation import TranslatedImages, Translator
from lightning_modules.translation.training import image_pools, translator_adams, translator_step

RoundPhase = Literal["translation", "adaptation", "self_training"]

GENERATORS, IMAGE_DISCRIMINATORS = 2, 3
"""Places of the translator's optimizers."""


@dataclass(frozen=True)
class Rounds:
    """Rounds of three phases; self-training of the last round goes on to the end of the run.

    Args:
        count: K, how many rounds.
        translation: epochs in which the translators learn, in each round.
        adaptation: epochs in which the landmarker learns from translated photos and against the discriminator.
        self_training: epochs in which it learns from pseudo landmarks as well.
        renew: epochs after which pseudo landmarks are found anew (the paper's N is ``self_training / renew``).

    Raises:
        ValueError: ``count`` or ``renew`` is below 1, a phase below 0, or the landmarker has no epoch.
    """

    count: int = 2
    translation: int = 20
    adaptation: int = 65
    self_training: int = 65
    renew: int = 33

    def __post_init__(self) -> None:
        if min(self.count, self.renew) < 1 or min(self.translation, self.adaptation, self.self_training) < 0:
            raise ValueError(f"{self}; expected count and renew of 1 or more, and no phase of less than 0 epochs.")
        if self.adaptation + self.self_training == 0:
            raise ValueError(f"{self}; the landmarker would not learn. Give adaptation or self_training an epoch.")

    def place(self, epoch: int) -> tuple[RoundPhase, int]:
        """The phase of an epoch, counted from 0, and how many epochs of that phase came before it in its round."""
        cycle = self.translation + self.adaptation + self.self_training
        within = epoch - cycle * min(epoch // cycle, self.count - 1)
        if within < self.translation:
            return "translation", within
        within -= self.translation
        if within < self.adaptation:
            return "adaptation", within
        return "self_training", within - self.adaptation


class BDL(AdaptSegNet):
    """Rounds in which the translators learn while the landmarker is frozen, then the landmarker while they are.

    In each round (Algorithm 1 of the paper):

    1. *translation*: the translators learn CycleGAN's objective, and a perceptual one: the landmarker's estimates are
       to stay the same under translation, and under translation there and back.
    2. *adaptation*: the landmarker learns the labels of translated photos, and against a discriminator of its landmarks
       (as ``adaptsegnet``, last stage only).
    3. *self-training*: as 2, and pseudo landmarks of the target faces with the highest confidence.

    As in the paper: CycleGAN and its settings, λ of the discriminator, the weights of the perceptual terms, and, as in
    its program, their distance (mean squared, of instance-normalised maps). What differs: maps are landmarks drawn as
    Gaussians, not class scores; confidence is a face's agreement with its mirror image, and a share of the faces is
    kept, not the pixels above 0.9; the first translators were trained without the perceptual term, so that all methods
    can share them; they see the landmarker's own batches, with colour augmentation; networks continue from round to
    round, and the landmarker has one learning-rate schedule over the whole run.

    Args:
        landmarker: the network, pretrained on the source: M of the first round.
        translator: its networks (the command line trains them first).
        rounds: which epoch does what.
        translated_share: probability that a photo is translated (the paper: 1).
        keep: share of target faces whose pseudo landmarks are trained on.
        pseudo_weight: of the loss on these.
        perceptual_weight: of the perceptual term on translated faces.
        reconstruction_weight: of the perceptual term on faces translated there and back.
        translation_batch: largest number of a batch's pairs in a translation step.
        translation_learning_rate: Adam's, of generators and image discriminators; in the second half of a translation
            phase it falls to 0 along a line.
        pool_size: translated images that each image discriminator's pool holds.
        stage_weights: of deceiving the discriminator.
        pseudo_recrop: how often at most a target face is cropped again while its pseudo landmarks are found.
        options: of the discriminator and the landmarker's optimizer, see :class:`AdaptSegNet`.

    Raises:
        ValueError: ``translated_share`` is not in [0, 1].
    """

    needs_translator = True

    def __init__(
        self,
        landmarker: Landmarker,
        translator: Translator,
        rounds: Rounds | None = None,
        translated_share: float = 1.0,
        keep: float = 0.8,
        pseudo_weight: float = 1.0,
        perceptual_weight: float = 0.1,
        reconstruction_weight: float = 10.0,
        translation_batch: int = 1,
        translation_learning_rate: float = 2e-4,
        pool_size: int = 50,
        stage_weights: Sequence[float] = (1e-3,),
        pseudo_recrop: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(landmarker, stage_weights, **options)
        self.translator, self.rounds = translator, rounds or Rounds()
        self.translated_share = require_share("translated_share", translated_share)
        self.pseudo = PseudoLandmarkStore(keep=keep, recrop=pseudo_recrop)
        self.pseudo_weight = pseudo_weight
        self.perceptual_weight, self.reconstruction_weight = perceptual_weight, reconstruction_weight
        self.translation_batch, self.translation_learning_rate = translation_batch, translation_learning_rate
        self.pools = image_pools(pool_size)

    # --- phases -------------------------------------------------------------------------------------------------

    @property
    def phase(self) -> RoundPhase:
        """The current epoch's phase."""
        return self.rounds.place(self.current_epoch)[0]

    def pseudo_cycle_of(self, epoch: int) -> int | None:
        """Pseudo landmarks are of the epoch in which self-training began, or of the last that renewed them."""
        phase, within = self.rounds.place(epoch)
        return epoch - within % self.rounds.renew if phase == "self_training" else None

    def configure_callbacks(self) -> list[Callback]:
        """Also what finds and saves the pseudo landmarks."""
        return [*super().configure_callbacks(), self.pseudo]

    def training_step(self, batch: TrainBatch, batch_idx: int) -> None:
        """A step of each of the networks that learn in the current phase."""
        assert batch.target is not None, "the setting has a target"
        phase = self.phase
        if phase == "translation":
            count = self.translation_batch
            self.translate(batch.source.images[:count], batch.target.images[:count])
            return
        photos, pseudo = translated(batch.source, self.translator, self.translated_share), None
        if phase == "self_training":
            landmarks, weights = self.pseudo.lookup(batch.target, self.image_size)
            pseudo = landmarks, self.pseudo_weight * weights
        self.adapt(photos, batch.target, pseudo)

    # --- the translator -----------------------------------------------------------------------------------------

    def translate(self, photos: Tensor, stylised: Tensor) -> None:
        """A step of the generators, then one of the image discriminators.

        Args:
            photos: RGB in [0, 1], shape ``(B, 3, S, S)``.
            stylised: likewise; not paired with the photos.
        """
        places = GENERATORS, IMAGE_DISCRIMINATORS
        with evaluating(self.landmarker), frozen(self.landmarker):
            translator_step(self, self.translator, self.pools, photos, stylised, places, self.perceptual_terms)

    def perceptual_terms(self, images: TranslatedImages) -> dict[str, Tensor]:
        """How much translation, and translation there and back, changes what the landmarker sees; weighted scalars.

        Each is the mean squared difference of instance-normalised landmark maps, summed over both directions.
        """
        with torch.no_grad():
            given = self._seen(torch.cat([images.photos, images.stylised]))
        there = self._seen(torch.cat([images.to_target, images.to_source]))
        back = self._seen(torch.cat([images.photos_again, images.stylised_again]))
        # Both directions are in one batch: twice its mean is the sum of their means.
        return {
            "perceptual": 2 * self.perceptual_weight * F.mse_loss(there, given),
            "perceptual_reconstruction": 2 * self.reconstruction_weight * F.mse_loss(back, given),
        }

    def _seen(self, images: Tensor) -> Tensor:
        discriminator = self.discriminators[-1]
        assert isinstance(discriminator, LandmarkDiscriminator)
        return F.instance_norm(discriminator.maps(self(images)))

    # --- optimizers ---------------------------------------------------------------------------------------------

    def learning_rate_of(self, place: int) -> float:
        """The translator's falls in each translation phase, see :class:`BDL`; the others' are AdaptSegNet's."""
        if place not in (GENERATORS, IMAGE_DISCRIMINATORS):
            return super().learning_rate_of(place)
        begun = self.current_epoch - self.rounds.place(self.current_epoch)[1]
        done = steps_done(self.trainer) / self.trainer.num_training_batches - begun
        return self.translation_learning_rate * linear_decay(done / self.rounds.translation)

    def further_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam over the landmark discriminator, over the generators and over the image discriminators."""
        return [*super().further_optimizers(), *translator_adams(self, self.translator, self.translation_learning_rate)]
