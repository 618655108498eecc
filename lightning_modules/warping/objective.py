"""The warper's objective (eq. 3 and 4): how well photos, warped by predicted landmarks, fit stylised faces."""

from dataclasses import dataclass

from torch import Tensor, nn

from lightning_modules.warping.dense_field import folding, warp_image
from lightning_modules.warping.fields.base import FieldFitter, WarpingField
from lightning_modules.warping.fields.learned import LearnedField
from lightning_modules.warping.fields.spline import SplineFitter
from lightning_modules.warping.losses import GradientMSE, ImageLoss, landmark_warping_error
from lightning_modules.warping.masks import face_region_mask, inside_photo
from lightning_modules.warping.pairing import InOrder, Pairing
from lightning_modules.warping.sobolev import spread_gradient


@dataclass
class WarpTerms:
    """The objective's terms of B pairs, in the order of the stylised faces.

    Attributes:
        image: image term, shape ``(B,)``.
        landmarks: landmark-warping error, in squared crop coordinates, shape ``(B,)``.
        warped: photos in the shape of the stylised faces, shape ``(B, 3, S, S)``.
        folded: share of each field that folds over, shape ``(B,)``, without gradient.
        order: which photo went with each stylised face: ``photo[order]`` are the pairs' photos; int64, shape ``(B,)``.
    """

    image: Tensor
    landmarks: Tensor
    warped: Tensor
    folded: Tensor
    order: Tensor


class WarperObjective(nn.Module):
    """Fits w_γ from predicted landmarks to photos' landmarks, warps the photos, and compares them with stylised faces.

    By default the field is a spline in closed form. A field that is learned gives the objective parameters to optimise.

    Args:
        image_loss: the image term; squared difference of Sobel gradients of grey images if None (the paper's).
        order: k of the polyharmonic spline; 2 is the thin plate.
        smoothing: λ ≥ 0 of the spline; 0 interpolates, which makes the landmark-warping error of the closed form
            zero. λ is in units of the kernel in crop coordinates (r² log r for order 2): a deformation along an
            eigenvector of the kernel matrix, of eigenvalue μ, is shrunk by μ / (μ + λ), and the landmark-warping error
            is λ² times the mean squared coefficient. On faces of order 2, μ falls from 1.4 for broad deformations to
            0.001 for the finest; between random photos, λ = 0.001, 0.01, 0.1 and 1 miss the landmarks by 0.25, 0.75,
            1.5 and 2.9 % of the crop, an affine map by 4.7 %. So 0.001 to 0.1 are values to try.
        coarse: nodes across at which the field is evaluated before upsampling; None evaluates it at every pixel.
        face_only: compare only within the predicted landmarks' hull, where the photo has pixels.
        gradient_through_warp: let the gradient of both terms reach the predicted landmarks. False repeats the
            published program, whose sampler detaches the sampling positions.
        pairing: which photo is warped onto which stylised face; in the loader's order if None.
        learned: γ learned beside the landmarker, through the spline of these options; None for the closed form.
        border_anchors: fixed points of the spline along each side of the crop; 0 for none.
        face_margin: with ``face_only``, how far the hull is grown, in crops.
        face_softness: with ``face_only``, width of the mask's edge, in crops; 0 for a hard edge.
        gradient_reach: standard deviation, in crops, by which the terms' gradient is smoothed over neighbouring
            landmarks (see :func:`spread_gradient`); 0 leaves it as it is.
        field: another field in place of the spline.

    Raises:
        ValueError: ``gradient_reach`` is negative, or both ``learned`` and ``field`` are given.
    """

    def __init__(
        self,
        image_loss: ImageLoss | None = None,
        order: int = 2,
        smoothing: float = 0.0,
        coarse: int | None = 65,
        face_only: bool = False,
        gradient_through_warp: bool = True,
        pairing: Pairing | None = None,
        learned: LearnedField | None = None,
        border_anchors: int = 0,
        face_margin: float = 0.0,
        face_softness: float = 0.0,
        gradient_reach: float = 0.0,
        field: FieldFitter | None = None,
    ) -> None:
        super().__init__()
        self.image_loss = image_loss or GradientMSE()
        self.spline, self.coarse = SplineFitter(order, smoothing, border_anchors), coarse
        self.face_only, self.gradient_through_warp = face_only, gradient_through_warp
        self.pairing = pairing or InOrder()
        if learned is not None and field is not None:
            raise ValueError("both learned and field are given; give one of them.")
        self.learned, self.field = learned, field
        self.face_margin, self.face_softness = face_margin, face_softness
        if gradient_reach < 0:
            raise ValueError(f"gradient_reach is {gradient_reach}; it must be 0 (off) or more.")
        self.gradient_reach = gradient_reach

    def fit(
        self, photo_landmarks: Tensor, predicted: Tensor, photo: Tensor | None = None, stylised: Tensor | None = None
    ) -> WarpingField:
        """w_γ of pairs as they are given.

        Args:
            photo_landmarks: the photos', crop coordinates, shape ``(B, 68, 2)``.
            predicted: the stylised faces', crop coordinates, shape ``(B, 68, 2)``.
            photo: RGB in [0, 1], shape ``(B, 3, S, S)``, for a field that needs images.
            stylised: likewise.
        """
        if self.learned is not None:
            return self.learned.fit(photo_landmarks, predicted, spline=self.spline)
        return (self.field or self.spline).fit(photo_landmarks, predicted, photo, stylised)

    def forward(self, photo: Tensor, photo_landmarks: Tensor, stylised: Tensor, predicted: Tensor) -> WarpTerms:
        """Warp photos onto stylised faces and compare.

        Args:
            photo: shape ``(B, 3, S, S)``.
            photo_landmarks: theirs, crop coordinates, shape ``(B, 68, 2)``.
            stylised: shape ``(B, 3, S, S)``.
            predicted: landmarks predicted on the stylised faces, crop coordinates, shape ``(B, 68, 2)``.
        """
        if not self.gradient_through_warp:
            predicted = predicted.detach()
        elif self.gradient_reach:
            predicted = spread_gradient(predicted, self.gradient_reach)
        order = self.pairing(photo_landmarks, predicted)
        photo, photo_landmarks = photo[order], photo_landmarks[order]
        field = self.fit(photo_landmarks, predicted, photo, stylised)
        grid = field.grid(photo.shape[-1], self.coarse)
        warped = warp_image(photo, grid)
        mask = None
        if self.face_only:
            region = face_region_mask(predicted, photo.shape[-1], self.face_softness, self.face_margin)
            mask = region * inside_photo(grid)
        return WarpTerms(
            image=self.image_loss(warped, stylised, mask),
            landmarks=landmark_warping_error(field, predicted, photo_landmarks),
            warped=warped,
            folded=folding(grid),
            order=order,
        )
