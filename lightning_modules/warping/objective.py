"""The warper's objective (eq. 3 and 4): how well photos, warped by predicted landmarks, fit stylised faces."""

from dataclasses import dataclass

from torch import Tensor, nn

from lightning_modules.warping.field import folding, inside_photo, warp_image
from lightning_modules.warping.losses import GradientMSE, ImageLoss, landmark_warping_error
from lightning_modules.warping.masks import face_region_mask
from lightning_modules.warping.spline import PolyharmonicSpline


@dataclass
class WarpTerms:
    """What the objective says of B pairs.

    Attributes:
        image: image term, shape ``(B,)``.
        landmarks: landmark-warping error, in squared crop coordinates, shape ``(B,)``.
        warped: photos in the shape of the stylised faces, shape ``(B, 3, S, S)``.
        folded: share of each field that folds over, shape ``(B,)``, without gradient.
    """

    image: Tensor
    landmarks: Tensor
    warped: Tensor
    folded: Tensor


class WarperObjective(nn.Module):
    """Fits w_γ in closed form from predicted landmarks to photos' landmarks, warps the photos, and compares.

    Args:
        image_loss: the image term; squared difference of Sobel gradients of grey images if None (the paper's).
        order: k of the polyharmonic spline; 2 is the thin plate.
        smoothing: λ ≥ 0 of the spline; 0 interpolates, which makes the landmark-warping error vanish.
        coarse: nodes across at which the field is evaluated before upsampling; None evaluates it at every pixel.
        face_only: compare only within the predicted landmarks' hull, where the photo has pixels.
        gradient_through_warp: let the gradient of both terms reach the predicted landmarks. False repeats the
            published program, whose sampler detaches the sampling positions.
    """

    def __init__(
        self,
        image_loss: ImageLoss | None = None,
        order: int = 2,
        smoothing: float = 0.0,
        coarse: int | None = 65,
        face_only: bool = False,
        gradient_through_warp: bool = True,
    ) -> None:
        super().__init__()
        self.image_loss = image_loss or GradientMSE()
        self.order, self.smoothing, self.coarse = order, smoothing, coarse
        self.face_only, self.gradient_through_warp = face_only, gradient_through_warp

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
        spline = PolyharmonicSpline.fit(predicted, photo_landmarks, self.order, self.smoothing)
        field = spline.grid(photo.shape[-1], self.coarse)
        warped = warp_image(photo, field)
        mask = None
        if self.face_only:
            mask = face_region_mask(predicted, photo.shape[-1]) * inside_photo(field)
        return WarpTerms(
            image=self.image_loss(warped, stylised, mask),
            landmarks=landmark_warping_error(spline, predicted, photo_landmarks),
            warped=warped,
            folded=folding(field),
        )
