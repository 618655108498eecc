"""Face to sample: the square crop, and its augmentation by albumentations, applied to pixels and landmarks alike."""

from dataclasses import dataclass

import albumentations as A
import cv2
import numpy as np
import numpy.typing as npt
import torch

from datamodules.faces import ByteArray, DataError, Face, FaceSample, FloatArray, landmark_box
from datamodules.ibug68 import FLIP_PERMUTATION

CROP_FACTOR = 1.2
"""Side of the crop over the longer side of the landmarks' box: the mean scale of the paper's published program."""

_CANVAS = 1.5
"""Side of the image that is augmented, over the crop's: rotation then brings surroundings into view, not black."""

_REFERENCE = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
"""Points that albumentations transforms with the image; their new positions give the affine map."""

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Augmentation:
    """How training crops vary. Probabilities are per image; 0 switches a part off.

    Args:
        flip: probability of mirroring (landmarks are permuted to keep their names).
        rotation: largest rotation either way, in degrees.
        scale: range of the face's width and of its height relative to the plain crop, drawn separately.
        translation: largest shift in x and in y, as a share of the crop's side.
        occlusion: probability of covering up to three rectangles of 10 to 40 % of the side with one colour.
        colour: probability of changing brightness, contrast, saturation and hue.
        grey: probability of conversion to grey.
        blur: probability of a Gaussian blur.
    """

    flip: float = 0.5
    rotation: float = 15.0
    scale: tuple[float, float] = (0.85, 1.15)
    translation: float = 0.06
    occlusion: float = 0.3
    colour: float = 0.6
    grey: float = 0.15
    blur: float = 0.2


def crop_matrix(face: Face, size: int, factor: float = CROP_FACTOR) -> Matrix:
    """The affine map ``(2, 3)`` from image pixels to the pixels of the square crop of ``size``.

    The crop is centred on the landmarks' box, its side ``factor`` × the box's longer side. Without landmarks
    the given or detected box is used in the same way; without either, the crop is the whole image (side: the longer of
    its two, times ``factor`` / 1.2).

    Raises:
        DataError: the box is empty.
    """
    box = landmark_box(face.landmarks) if face.landmarks is not None else face.box
    if box is None:
        height, width = face.image.shape[:2]
        return _square_matrix(
            np.array([width - 1, height - 1]) / 2, float(max(width, height)) * factor / CROP_FACTOR, size
        )
    if not (box[2:] - box[:2]).max() > 0:
        raise DataError(f"{face.path}: the face box {box} is empty. Expected x0 < x1 and y0 < y1, in pixels.")
    return _box_matrix(box, size, factor)


def crop_shape(landmarks: FloatArray) -> FloatArray:
    """Landmarks in image pixels, ``(68, 2)``, to the crop coordinates of the plain crop around them."""
    return apply_matrix(_box_matrix(landmark_box(landmarks), 1), landmarks).astype(np.float32)


def _box_matrix(box: FloatArray, size: int, factor: float = CROP_FACTOR) -> Matrix:
    return _square_matrix((box[:2] + box[2:]) / 2, factor * float((box[2:] - box[:2]).max()), size)


def _square_matrix(centre: npt.NDArray[np.floating], side: float, size: int) -> Matrix:
    scale = size / side
    return np.array([[scale, 0, size / 2 - scale * centre[0]], [0, scale, size / 2 - scale * centre[1]]])


def apply_matrix(matrix: Matrix, points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Apply an affine map ``(2, 3)`` to points ``(..., 2)``."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


def compose(outer: Matrix, inner: Matrix) -> Matrix:
    """The affine map ``(2, 3)`` that applies ``inner`` first, then ``outer``."""
    return np.hstack([outer[:, :2] @ inner[:, :2], (outer[:, :2] @ inner[:, 2] + outer[:, 2])[:, None]])


def cut(image: ByteArray, matrix: Matrix, size: int) -> ByteArray:
    """Resample ``image`` (H, W, 3) to ``(size, size, 3)`` under ``matrix``; outside the image is black."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < 0.5:
        # warpAffine interpolates between four pixels, which aliases when it shrinks: shrink large photos by area first.
        shrink = 2 * scale
        height, width = (max(1, round(side * shrink)) for side in image.shape[:2])
        fx, fy = width / image.shape[1], height / image.shape[0]
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        # resize maps pixel edges to pixel edges: x' = (x + ½) f - ½.
        matrix = compose(matrix, np.array([[1 / fx, 0, 0.5 / fx - 0.5], [0, 1 / fy, 0.5 / fy - 0.5]]))
    return np.asarray(cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR), dtype=np.uint8)


class FaceTransform:
    """Crops a :class:`Face` to a :class:`FaceSample` of ``size`` pixels.

    Args:
        size: side of the crop, in pixels.
        augmentation: how to vary it, or None for the plain crop (evaluation, pseudo landmarks).
        crop_factor: side of the crop over the longer side of the face's box.
    """

    def __init__(self, size: int, augmentation: Augmentation | None = None, crop_factor: float = CROP_FACTOR) -> None:
        self.size, self.crop_factor = size, crop_factor
        self.canvas = round(size * _CANVAS / 2) * 2 if augmentation else size
        self.pipeline = None if augmentation is None else _pipeline(augmentation, size)

    def __call__(self, face: Face, index: int = 0, seed: int = 0) -> FaceSample:
        """Crop ``face``. The augmentation depends on ``seed`` alone, so that a resumed run repeats it."""
        matrix = crop_matrix(face, self.size, self.crop_factor)
        margin = (self.canvas - self.size) / 2
        matrix = compose(np.array([[1, 0, margin], [0, 1, margin]]), matrix)
        image = cut(face.image, matrix, self.canvas)
        if self.pipeline is not None:
            self.pipeline.set_random_seed(seed)
            # Reference points far apart: their positions come back in float32, so a short distance would lose digits.
            reference = _REFERENCE * self.canvas
            out = self.pipeline(image=image, keypoints=reference)
            image, moved = out["image"], np.asarray(out["keypoints"], dtype=np.float64)
            matrix = compose(_affine_between(moved, self.canvas), matrix)
        return self._sample(face, image, matrix, index)

    def _sample(self, face: Face, image: ByteArray, matrix: Matrix, index: int) -> FaceSample:
        flipped = bool(np.linalg.det(matrix[:, :2]) < 0)
        landmarks = None
        if face.landmarks is not None:
            moved = apply_matrix(matrix, face.landmarks) / self.size
            landmarks = torch.from_numpy((moved[list(FLIP_PERMUTATION)] if flipped else moved).astype(np.float32))
        return FaceSample(
            image=torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255,
            matrix=torch.from_numpy(matrix.astype(np.float32)),
            flipped=flipped,
            landmarks=landmarks,
            index=index,
            path=face.path,
        )


def _affine_between(moved: npt.NDArray[np.float64], step: float) -> Matrix:
    """The affine map from the reference points, ``step`` apart, to ``moved`` (3, 2)."""
    origin = moved[0]
    return np.stack([(moved[1] - origin) / step, (moved[2] - origin) / step, origin], axis=1)


def _pipeline(how: Augmentation, size: int) -> A.Compose:
    return A.Compose(
        [
            A.HorizontalFlip(p=how.flip),
            A.Affine(
                rotate=(-how.rotation, how.rotation),
                scale=how.scale,
                # albumentations takes a share of the canvas, which is larger than the crop.
                translate_percent=(-how.translation / _CANVAS, how.translation / _CANVAS),
                p=1.0,
            ),
            A.CenterCrop(size, size),
            A.ColorJitter(
                brightness=(0.6, 1.4), contrast=(0.6, 1.4), saturation=(0.5, 1.5), hue=(-0.08, 0.08), p=how.colour
            ),
            A.ToGray(p=how.grey),
            A.GaussianBlur(blur_limit=0, sigma_limit=(0.3, size / 100), p=how.blur),
            A.CoarseDropout(
                num_holes_range=(1, 3),
                hole_height_range=(0.1, 0.4),
                hole_width_range=(0.1, 0.4),
                fill="random_uniform",
                p=how.occlusion,
            ),
        ],
        keypoint_params=A.KeypointParams(format="xy", remove_invisible=False),
    )
