"""Bidirectional learning: translators and landmarker teach each other (Li, Yuan, Vasconcelos, CVPR 2019: "BDL")."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.faces import TrainBatch
from datamodules.setting import steps_done
from lightning_modules.landmarkers.base import Landmarker, evaluating
from lightning_modules.methods.adaptsegnet import AdaptSegNet
from lightning_modules.methods.cyclegan import translated
from lightning_modules.methods.discriminators import LandmarkDiscriminator
from lightning_modules.methods.pseudo_labelled import PseudoLabelled
from lightning_modules.methods.rounds import RoundPhase, Rounds
from lightning_modules.translation import SOURCE, TARGET, ImagePool, Translations, Translator, fixed, linear_decay

GENERATORS, CRITICS = 2, 3
"""Places of the translators' optimizers."""


class BDL(PseudoLabelled, AdaptSegNet):
    """Rounds of translators learning with the landmarker fixed, and the landmarker with the translators fixed.

    In each round (Algorithm 1 of the paper):

    1. *translation*: the translators go on learning CycleGAN's objective and that the landmarker sees in a translated
       face, and in one translated there and back, what it sees in the original.
    2. *adaptation*: the landmarker learns the labels of translated photos, and against a discriminator on where its
       landmarks are (as ``adaptsegnet``, last stage only).
    3. *self-training*: the same, and its own landmarks on the target faces it is surest of.

    As in the paper: CycleGAN and its settings, λ of the discriminator, weights of the perceptual terms, and as in its
    program the distance in these (mean squared, of instance-normalised maps). What differs: maps are the landmarks
    drawn as Gaussians, not class scores; confidence is a face's agreement with its mirror image, and a share of faces
    is kept, not the pixels above 0.9; the first translators have learned without a perceptual term, so that all
    methods share them; they learn on the landmarker's own batches, whose colours vary; and networks go on from round to
    round, the landmarker under the one schedule that all methods here have.

    Args:
        landmarker: the network, pretrained on the source: M of the first round.
        translator: its networks (the command line trains them first).
        rounds: which epoch does what.
        translated_share: share of each batch's photos that are translated (the paper: all).
        keep: share of target faces whose pseudo landmarks are trained on.
        pseudo_weight: of the loss on these.
        perceptual_weight: of what the landmarker sees in a translated face.
        reconstruction_weight: of what it sees in a face translated there and back.
        translation_batch: at most so many pairs of a batch in a translation step.
        translation_learning_rate: Adam's, of generators and critics; in the second half of a translation phase it falls
            to 0 along a line.
        pool_size: translations that each critic's pool holds.
        stage_weights: of deceiving the discriminator.
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
        **options: Any,
    ) -> None:
        super().__init__(landmarker, stage_weights, **options)
        if not 0 <= translated_share <= 1:
            raise ValueError(f"translated_share is {translated_share}; expected a share in [0, 1].")
        self.translator, self.rounds = translator, rounds or Rounds()
        self.translated_share, self.keep, self.pseudo_weight = translated_share, keep, pseudo_weight
        self.perceptual_weight, self.reconstruction_weight = perceptual_weight, reconstruction_weight
        self.translation_batch, self.translation_learning_rate = translation_batch, translation_learning_rate
        self.pools = nn.ModuleDict({style: ImagePool(pool_size) for style in (TARGET, SOURCE)})

    # --- phases -------------------------------------------------------------------------------------------------

    @property
    def phase(self) -> RoundPhase:  # type: ignore[override]  # a plain attribute in the base
        """The current epoch's phase."""
        return self.rounds.place(self.current_epoch)[0]

    def pseudo_cycle_of(self, epoch: int) -> int | None:
        """Pseudo landmarks are of the epoch in which self-training began, or of the last that renewed them."""
        phase, within = self.rounds.place(epoch)
        return epoch - within % self.rounds.renew if phase == "self_training" else None

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
            assert self.pseudo is not None, "pseudo landmarks were frozen when the phase began"
            landmarks, weights = self.pseudo.lookup(batch.target, self.image_size)
            pseudo = landmarks, self.pseudo_weight * weights
        self.adapt(photos, batch.target, pseudo)

    # --- translators --------------------------------------------------------------------------------------------

    def translate(self, photos: Tensor, stylised: Tensor) -> None:
        """A step of the generators, then one of the critics on what they made, or made earlier.

        Args:
            photos: RGB in [0, 1], shape ``(B, 3, S, S)``.
            stylised: likewise; nothing pairs them with the photos.
        """
        with evaluating(self.landmarker), fixed(self.landmarker):
            loss = self.translator.generator_loss(photos, stylised, self.perceptual_terms)
        self.update(loss.total, GENERATORS)
        seen = self.pools[TARGET](loss.images.to_target), self.pools[SOURCE](loss.images.to_source)
        critics = self.translator.discriminator_loss(photos, stylised, *seen)
        self.update(critics, CRITICS)
        for name, value in {**loss.terms, "critics": critics}.items():
            self.log(f"train/{name}", value.detach(), prog_bar=True, batch_size=len(photos))

    def perceptual_terms(self, images: Translations) -> dict[str, Tensor]:
        """How much of what the landmarker sees in a face is lost on the way there and back, both ways; weighted."""
        with torch.no_grad():
            given = self._seen(torch.cat([images.photos, images.stylised]))
        there = self._seen(torch.cat([images.to_target, images.to_source]))
        back = self._seen(torch.cat([images.photos_again, images.stylised_again]))
        # Twice the mean: the sum of both directions' means.
        return {
            "perceptual": 2 * self.perceptual_weight * F.mse_loss(there, given),
            "perceptual_reconstruction": 2 * self.reconstruction_weight * F.mse_loss(back, given),
        }

    def _seen(self, images: Tensor) -> Tensor:
        discriminator = self.discriminators[-1]
        assert isinstance(discriminator, LandmarkDiscriminator)
        return F.instance_norm(discriminator.maps(self(images)))

    # --- optimizers ---------------------------------------------------------------------------------------------

    def learning_rate_of(self, which: int) -> float:
        """See :meth:`Adaptation.learning_rate_of`."""
        if which not in (GENERATORS, CRITICS):
            return super().learning_rate_of(which)
        begun = self.current_epoch - self.rounds.place(self.current_epoch)[1]
        done = steps_done(self.trainer) / self.trainer.num_training_batches - begun
        return self.translation_learning_rate * linear_decay(done / self.rounds.translation)

    def further_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam over the discriminator, over the generators and over the critics, each with its published betas."""
        parts = (self.translator.generators, self.translator.discriminators)
        adams = [
            torch.optim.Adam(part.parameters(), lr=self.translation_learning_rate, betas=(0.5, 0.999)) for part in parts
        ]
        return [*super().further_optimizers(), *adams]
