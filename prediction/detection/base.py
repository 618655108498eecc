"""The interface of every face detector, and what all of them share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from datamodules.faces import ByteArray

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Detections:
    """The faces of one picture, best first.

    Attributes:
        boxes: ``x0, y0, x1, y1`` in the picture's pixels (pixel centres at integers), shape ``(N, 4)``, float64; they
            may reach over the picture's edge.
        scores: the detector's confidence in each, 0 to 1, shape ``(N,)``, float64; NaN where it has none.
    """

    boxes: Array
    scores: Array

    def __len__(self) -> int:
        return len(self.boxes)


NONE = Detections(np.empty((0, 4)), np.empty(0))
"""No face."""


class Detector(Protocol):
    """Finds faces in a picture."""

    def __call__(self, image: ByteArray) -> Detections:
        """Find the faces of ``image`` (RGB, uint8, shape ``(H, W, 3)``); none is no error."""


@dataclass(frozen=True)
class BoxCorrection:
    """From a detector's box to the square about the landmarks' box, whose side is that box's longer side.

    Detectors frame other parts of a head than the 68 landmarks do (brows to chin): forehead and ears count for some.

    Args:
        x: shift of the centre, as a share of the box's longer side.
        y: likewise, downwards.
        scale: side of the square over the box's longer side.
    """

    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0

    def __call__(self, boxes: Array) -> Array:
        """Corrected boxes, shape ``(N, 4)``."""
        sides = (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True)
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2 + sides * [self.x, self.y]
        half = sides * self.scale / 2
        return np.concatenate([centres - half, centres + half], axis=1)


def joined(*several: Detections) -> Detections:
    """All detections of several, in no order."""
    return Detections(
        np.concatenate([each.boxes for each in several]), np.concatenate([each.scores for each in several])
    )


def strongest(detections: Detections, overlap: float = 0.4) -> Detections:
    """Detections without those that overlap a stronger one (non-maximum suppression), best first.

    Args:
        detections: in any order.
        overlap: intersection over union from which two boxes are taken for one face's.
    """
    if not len(detections):
        return detections
    corners, sizes = detections.boxes[:, :2], detections.boxes[:, 2:] - detections.boxes[:, :2]
    scores = np.nan_to_num(detections.scores, nan=1.0)
    found = cv2.dnn.NMSBoxes(np.hstack([corners, sizes]).tolist(), scores.tolist(), 0.0, overlap)
    kept = np.asarray(found, dtype=np.int64).reshape(-1)
    return Detections(detections.boxes[kept], detections.scores[kept])


def overlap(boxes: Array, box: Array) -> Array:
    """Intersection over union of boxes ``(…, 4)`` and one box ``(4,)``, shape ``(…)``."""
    low, high = np.maximum(boxes[..., :2], box[:2]), np.minimum(boxes[..., 2:], box[2:])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    areas = np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1) + np.prod(box[2:] - box[:2])
    ratio: Array = shared / np.maximum(areas - shared, 1e-9)
    return ratio


def on_copy(image: ByteArray, longer_side: float, border: float, find: Callable[[ByteArray], Detections]) -> Detections:
    """What a network finds on a copy of the picture of another size, in the picture's own pixels.

    Args:
        image: RGB, shape ``(H, W, 3)``.
        longer_side: of the copy without its border, in pixels.
        border: black added on each side of the copy, as a share of its longer side: a face that fills the picture is
            then seen with something around it.
        find: finds faces on the copy.
    """
    height, width = image.shape[:2]
    scale = longer_side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    copy = image if size == (width, height) else cv2.resize(image, size, interpolation=how)
    margin = round(border * longer_side)
    if margin:
        copy = cv2.copyMakeBorder(copy, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
    found = find(np.asarray(copy, dtype=np.uint8))
    # resize maps pixel edges to pixel edges, and a box's numbers are pixel centres.
    stretch = np.array([width / size[0], height / size[1]] * 2)
    return Detections((found.boxes - margin + 0.5) * stretch - 0.5, found.scores)
