"""CariGeoGAN: from a photo's landmarks to a caricature's (Cao, Liao, Yuan, CariGANs, SIGGRAPH Asia 2018).

    from lightning_modules.warping.fields.carigeogan import CariGeoGAN
    warped = CariGeoGAN(weights="field.ckpt").fit(landmarks, landmarks).warp(photo)

A cycle GAN between shapes, of unpaired photos and caricatures, each as coefficients of principal components. The field
is the spline from the caricature's landmarks, in the photo's own crop, to the photo's. Neither pixels nor the stylised
face play a part.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Final, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from lightning_modules.warping.fields.base import FieldFitter
from lightning_modules.warping.fields.shape_model import ShapeModel
from lightning_modules.warping.fields.spline import PolyharmonicSpline, SplineFitter
from lightning_modules.weights import WeightsError, load_state, read_state

WIDTHS: Final = (64, 128, 256, 512, 256, 128, 64)
"""Of the hidden layers, in generators and discriminators."""


@dataclass(frozen=True)
class Translated:
    """Shapes of both kinds, there and back; coefficients, each of shape ``(B, components)``."""

    photos: Tensor
    caricatures: Tensor
    to_caricature: Tensor
    to_photo: Tensor
    photos_again: Tensor
    caricatures_again: Tensor


@dataclass(frozen=True)
class CariGeoGANLoss:
    """The generators' objective; weighted terms, scalars."""

    adversarial: Tensor
    cycle: Tensor
    characteristic: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum."""
        return self.adversarial + self.cycle + self.characteristic


class CariGeoGAN(nn.Module, FieldFitter):
    """Two generators and two discriminators of fully connected layers, between two shape models.

    Args:
        components: principal components of either kind; published: 32.
        weights: a state dict of this class, e.g. as :mod:`experiments.artifacts.fields` makes it.
        strength: how far to go from the photo's shape (0) to the caricature's (1), or beyond.
        cycle_weight: of the L1 cycle term.
        characteristic_weight: of the characteristic term.
        border_anchors: fixed points of the spline along each side of the crop, which keep what is around the face.
        trainable: a method that holds the field goes on training the generator of caricatures.

    Raises:
        ValueError: ``components`` is not within 1 to 136.
        WeightsError: weights cannot be read or do not fit.
    """

    fits_landmarks = False

    def __init__(
        self,
        components: int = 32,
        weights: str | None = None,
        strength: float = 1.0,
        cycle_weight: float = 10.0,
        characteristic_weight: float = 1.0,
        border_anchors: int = 9,
        trainable: bool = False,
    ) -> None:
        super().__init__()
        if not 1 <= components <= 136:
            raise ValueError(f"components is {components}; expected 1 to 136, all there are of 68 points.")
        self.strength, self.trainable = strength, trainable
        self.cycle_weight, self.characteristic_weight = cycle_weight, characteristic_weight
        self.spline = SplineFitter(border_anchors=border_anchors)
        self.photo, self.caricature = ShapeModel(components), ShapeModel(components)
        self.to_caricature, self.to_photo = (_layers((components, *WIDTHS, components)) for _ in range(2))
        self.judge_caricature, self.judge_photo = (_layers((components, *WIDTHS, 1)) for _ in range(2))
        self.trained: Tensor
        self.register_buffer("trained", torch.tensor(False))
        if weights:
            load_state(self, read_state(weights), f"{weights}, given as weights of CariGeoGAN,")
        self.requires_grad_(False)
        self.to_caricature.requires_grad_(trainable)

    def generators(self) -> Iterator[nn.Parameter]:
        """The parameters of both generators."""
        return chain(self.to_caricature.parameters(), self.to_photo.parameters())

    def discriminators(self) -> Iterator[nn.Parameter]:
        """The parameters of both discriminators."""
        return chain(self.judge_caricature.parameters(), self.judge_photo.parameters())

    def fit_shapes(self, photos: Tensor, caricatures: Tensor) -> Self:
        """Take both shape models from shapes ``(N, 68, 2)`` and ``(M, 68, 2)``, aligned to the photos' reference.

        Raises:
            ValueError: there are not more shapes of either kind than components.
        """
        self.photo.learn(photos)
        self.caricature.learn(caricatures, self.photo.reference)
        return self

    # --- the objective ------------------------------------------------------------------------------------------

    def translate(self, photos: Tensor, caricatures: Tensor) -> Translated:
        """Coefficients of unpaired photos and caricatures, ``(B, components)``, there and back."""
        to_caricature, to_photo = self.to_caricature(photos), self.to_photo(caricatures)
        again = self.to_photo(to_caricature), self.to_caricature(to_photo)
        return Translated(photos, caricatures, to_caricature, to_photo, *again)

    def generator_loss(self, made: Translated) -> CariGeoGANLoss:
        """LSGAN, 10 × L1 of the cycles, and the characteristic term, of both directions."""
        adversarial = _squared(self.judge_caricature(made.to_caricature), 1) + _squared(
            self.judge_photo(made.to_photo), 1
        )
        cycle = F.l1_loss(made.photos_again, made.photos) + F.l1_loss(made.caricatures_again, made.caricatures)
        photos, caricatures = self.photo.difference, self.caricature.difference
        characteristic = characteristic_loss(photos(made.photos), caricatures(made.to_caricature))
        characteristic = characteristic + characteristic_loss(caricatures(made.caricatures), photos(made.to_photo))
        return CariGeoGANLoss(adversarial, self.cycle_weight * cycle, self.characteristic_weight * characteristic)

    def discriminator_loss(self, made: Translated) -> Tensor:
        """LSGAN's, of both discriminators; no gradient reaches the generators."""
        caricatures = _squared(self.judge_caricature(made.caricatures), 1)
        caricatures = caricatures + _squared(self.judge_caricature(made.to_caricature.detach()), 0)
        photos = _squared(self.judge_photo(made.photos), 1) + _squared(self.judge_photo(made.to_photo.detach()), 0)
        return (caricatures + photos) / 2

    # --- the field ----------------------------------------------------------------------------------------------

    def shapes(self, photo_landmarks: Tensor) -> Tensor:
        """The caricatures' landmarks, in the photos' crops, shape ``(B, 68, 2)``.

        What the principal components leave out of the photo's shape is kept.
        """
        place = self.photo.place(photo_landmarks)
        aligned = place.apply(photo_landmarks)
        codes = self.photo.code(aligned).to(next(self.to_caricature.parameters()).dtype)
        made = self.caricature.decode(self.to_caricature(codes)).to(aligned.dtype)
        left_out = aligned - self.photo.decode(self.photo.code(aligned))
        return place.undo(aligned + self.strength * (made + left_out - aligned))

    @override
    def fit(
        self, photo_landmarks: Tensor, predicted: Tensor, photo: Tensor | None = None, stylised: Tensor | None = None
    ) -> PolyharmonicSpline:
        """The field of each photo's caricature, see the module; only the photos' landmarks play a part.

        Raises:
            WeightsError: the network was never trained and is not being trained.
        """
        if not bool(self.trained):
            raise WeightsError(
                "CariGeoGAN is untrained: found no weights; expected weights=FILE. Make one with `make figure8`, which "
                "trains it on photos' labels and caricatures' landmarks and names the file."
            )
        with torch.autocast(photo_landmarks.device.type, enabled=False):
            return self.spline.fit(photo_landmarks, self.shapes(photo_landmarks))


def characteristic_loss(before: Tensor, after: Tensor) -> Tensor:
    """One minus the cosine between a shape's difference from the mean of its kind before and after translation.

    Args:
        before: shape ``(B, 136)``.
        after: likewise, from the mean of the other kind.

    Returns:
        The mean over the batch, a scalar.
    """
    return (1 - F.cosine_similarity(before, after, dim=1)).mean()


def _squared(judged: Tensor, label: int) -> Tensor:
    """The least-squares GAN term (Mao et al., 2017)."""
    return (judged - label).square().mean()


def _layers(widths: Sequence[int]) -> nn.Sequential:
    """Fully connected layers of these widths, leaky rectifiers between them."""
    pairs = list(pairwise(widths))
    layers: list[nn.Module] = []
    for width, following in pairs:
        layers += [nn.Linear(width, following), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers[:-1])
