"""The iBUG-68 annotation scheme: parts, mirror permutation, eye corners.

Indices are zero-based, in the order of the 300W challenge (Sagonas et al., 2013). "Left" and "right" in the part names
are the viewer's: ``left_eye`` is the one at smaller x in a frontal face.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

NUM_LANDMARKS: Final = 68

PARTS: Final[dict[str, range]] = {
    "jaw": range(0, 17),
    "left_brow": range(17, 22),
    "right_brow": range(22, 27),
    "nose_bridge": range(27, 31),
    "nostrils": range(31, 36),
    "left_eye": range(36, 42),
    "right_eye": range(42, 48),
    "outer_lips": range(48, 60),
    "inner_lips": range(60, 68),
}
"""The landmarks of each part, in the order in which a line through them is drawn."""

CLOSED_PARTS: Final = frozenset({"left_eye", "right_eye", "outer_lips", "inner_lips"})
"""Parts whose line is closed: the last landmark is joined to the first."""

REGIONS: Final[dict[str, tuple[int, ...]]] = {
    "jaw": (*PARTS["jaw"],),
    "brows": (*PARTS["left_brow"], *PARTS["right_brow"]),
    "nose": (*PARTS["nose_bridge"], *PARTS["nostrils"]),
    "eyes": (*PARTS["left_eye"], *PARTS["right_eye"]),
    "mouth": (*PARTS["outer_lips"], *PARTS["inner_lips"]),
}
"""The landmarks of each region of the face that has an error of its own; together, all 68 once."""

OUTER_EYE_CORNERS: Final = (36, 45)
"""The two landmarks whose distance (inter-ocular) normalises the error."""

_MIRROR_PAIRS: Final = (
    *((i, 16 - i) for i in range(8)),  # jaw
    *((17 + i, 26 - i) for i in range(5)),  # brows
    *((31 + i, 35 - i) for i in range(2)),  # nostrils
    *((36 + i, 45 - i) for i in range(4)),  # eye corners and upper lids
    *((40 + i, 47 - i) for i in range(2)),  # lower lids
    *((48 + i, 54 - i) for i in range(3)),  # mouth corners and the upper lip's outer edge
    *((55 + i, 59 - i) for i in range(2)),  # the lower lip's outer edge
    *((60 + i, 64 - i) for i in range(2)),  # inner edges
    (65, 67),
)


def _mirror_permutation() -> tuple[int, ...]:
    permutation = list(range(NUM_LANDMARKS))
    for a, b in _MIRROR_PAIRS:
        permutation[a], permutation[b] = b, a
    return tuple(permutation)


FLIP_PERMUTATION: Final = _mirror_permutation()
"""Landmark i of a mirrored face is the mirror image of the face's landmark ``FLIP_PERMUTATION[i]``."""


def interocular_distance(landmarks: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Distance between the outer eye corners, shape ``(...)``, in the unit of ``landmarks``, shape ``(..., 68, 2)``."""
    left, right = OUTER_EYE_CORNERS
    return np.asarray(np.linalg.norm(landmarks[..., left, :] - landmarks[..., right, :], axis=-1))


_SIDES: Final = ((0, 36), (16, 45))
"""Upper end of the jaw line and outer corner of the eye, at smaller x and at larger x in a frontal face."""

_NOSE_TIP: Final = 30

FRONTAL_TURN: Final = 0.06
"""Largest :func:`sideways_turn` of a face that is called frontal, about 7° of yaw. Chosen on 300W's training photos: it
calls 33 % of them frontal where the published list of frontal photos names 31 %, and agrees with it on 76 %."""


def sideways_turn(landmarks: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """How far faces are turned to the side, about in proportion to the tangent of their yaw.

    The nose tip's distance from the middle between the sides of the face, along the axis that joins them and in lengths
    of that axis. It does not change when the face is moved, scaled or rotated within the image.

    Args:
        landmarks: any frame with y down, shape ``(..., 68, 2)``.

    Returns:
        0 or more, shape ``(...)``: 0 for a frontal face, about 0.3 at 35°; infinite where the sides coincide.
    """
    left, right = (landmarks[..., list(side), :].mean(axis=-2) for side in _SIDES)
    axis, nose = right - left, landmarks[..., _NOSE_TIP, :] - (left + right) / 2
    length = (axis**2).sum(axis=-1)
    along = np.abs((nose * axis).sum(axis=-1))
    return np.asarray(np.divide(along, length, out=np.full_like(along, np.inf), where=length > 0))
