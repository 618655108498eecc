"""w_γ: the warping field, image gradients and warping losses, in plain torch."""

from lightning_modules.coordinates import crop_to_sampling, pixel_grid, sampling_to_crop
from lightning_modules.sampling import Padding
from lightning_modules.warping.dense_field import folding, jacobian_determinant, warp_image
from lightning_modules.warping.fields.base import FieldFitter, WarpingField
from lightning_modules.warping.fields.learned import LearnedField
from lightning_modules.warping.fields.spline import PolyharmonicSpline, SplineFitter
from lightning_modules.warping.image_gradients import Canny, ImageGradient, Laplacian, Sobel, SpatialGradient
from lightning_modules.warping.losses import (
    GradientMSE,
    GradientNCC,
    ImageLoss,
    MultiScale,
    NoImageLoss,
    PixelMSE,
    landmark_warping_error,
    masked_mean,
)
from lightning_modules.warping.masks import face_region_mask, inside_photo
from lightning_modules.warping.objective import WarperObjective, WarpTerms
from lightning_modules.warping.pairing import InOrder, Pairing, SimilarPose, yaw
from lightning_modules.warping.perceptual import Perceptual
from lightning_modules.warping.procrustes import align
from lightning_modules.warping.sobolev import spread_gradient

__all__ = [
    "WarpingField",
    "FieldFitter",
    "PolyharmonicSpline",
    "SplineFitter",
    "LearnedField",
    "Padding",
    "warp_image",
    "inside_photo",
    "folding",
    "jacobian_determinant",
    "crop_to_sampling",
    "sampling_to_crop",
    "pixel_grid",
    "ImageGradient",
    "Sobel",
    "SpatialGradient",
    "Laplacian",
    "Canny",
    "ImageLoss",
    "GradientMSE",
    "PixelMSE",
    "GradientNCC",
    "MultiScale",
    "Perceptual",
    "NoImageLoss",
    "landmark_warping_error",
    "masked_mean",
    "face_region_mask",
    "align",
    "spread_gradient",
    "Pairing",
    "InOrder",
    "SimilarPose",
    "yaw",
    "WarperObjective",
    "WarpTerms",
]
