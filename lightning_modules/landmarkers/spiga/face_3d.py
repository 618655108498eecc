"""The mean face in three dimensions: built in, estimated from training shapes, or read from a file.

Axes: x to the right, y down, z away from the camera, for a face that looks into it.
"""

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datamodules.ibug68 import FLIP_PERMUTATION, OUTER_EYE_CORNERS

FEWEST_SHAPES = 50
"""Fewest shapes from which depth is estimated: it shows only in how landmarks move as heads turn."""

PLAUSIBLE_DEPTH = (0.3, 1.5)
"""Depth of the 68 landmarks over their width; estimates outside of this range are refused."""

# fmt: off
MEAN_FACE_3D: Final[tuple[tuple[float, float, float], ...]] = (
    (-0.775, -0.402, 0.630), (-0.774, -0.198, 0.596), (-0.754, 0.010, 0.572), (-0.715, 0.218, 0.545),
    (-0.643, 0.411, 0.469), (-0.528, 0.579, 0.350), (-0.379, 0.717, 0.202), (-0.203, 0.821, 0.053),
    (0.000, 0.853, 0.004), (0.203, 0.821, 0.053), (0.379, 0.717, 0.202), (0.528, 0.579, 0.350),
    (0.643, 0.411, 0.469), (0.715, 0.218, 0.545), (0.754, 0.010, 0.572), (0.774, -0.198, 0.596),
    (0.775, -0.402, 0.630), (-0.636, -0.588, 0.148), (-0.539, -0.663, 0.043), (-0.409, -0.685, -0.057),
    (-0.275, -0.666, -0.137), (-0.153, -0.619, -0.196), (0.153, -0.619, -0.196), (0.275, -0.666, -0.137),
    (0.409, -0.685, -0.057), (0.539, -0.663, 0.043), (0.636, -0.588, 0.148), (0.000, -0.451, -0.228),
    (0.000, -0.316, -0.323), (0.000, -0.186, -0.424), (0.000, -0.054, -0.524), (-0.174, 0.059, -0.263),
    (-0.092, 0.088, -0.318), (0.000, 0.109, -0.354), (0.092, 0.088, -0.318), (0.174, 0.059, -0.263),
    (-0.500, -0.423, 0.073), (-0.407, -0.473, 0.023), (-0.305, -0.471, 0.002), (-0.212, -0.406, -0.009),
    (-0.310, -0.387, -0.005), (-0.411, -0.388, 0.017), (0.212, -0.406, -0.009), (0.305, -0.471, 0.002),
    (0.407, -0.473, 0.023), (0.500, -0.423, 0.073), (0.411, -0.388, 0.017), (0.310, -0.387, -0.005),
    (-0.326, 0.319, -0.006), (-0.209, 0.268, -0.178), (-0.085, 0.240, -0.288), (0.000, 0.260, -0.300),
    (0.085, 0.240, -0.288), (0.209, 0.268, -0.178), (0.326, 0.319, -0.006), (0.219, 0.426, -0.120),
    (0.098, 0.485, -0.210), (0.000, 0.495, -0.226), (-0.098, 0.485, -0.210), (-0.219, 0.426, -0.120),
    (-0.287, 0.324, -0.026), (-0.088, 0.314, -0.260), (0.000, 0.324, -0.276), (0.088, 0.314, -0.260),
    (0.287, 0.324, -0.026), (0.092, 0.379, -0.212), (0.000, 0.390, -0.227), (-0.092, 0.379, -0.212),
)
# fmt: on
"""68 points, centred, their outer eye corners 1 apart: :func:`structure_from_motion` of 3,000 portraits and video
frames, rounded to 3 decimals."""

PUBLISHED_IDS = (
    101, 102, 103, 104, 105, 106, 107, 108, 24, 110, 111, 112, 113, 114, 115, 116, 117, 1, 119, 2, 121, 3, 4, 124, 5,
    126, 6, 128, 129, 130, 17, 16, 133, 134, 135, 18, 7, 138, 139, 8, 141, 142, 11, 144, 145, 12, 147, 148, 20, 150,
    151, 22, 153, 154, 21, 156, 157, 23, 159, 160, 161, 162, 163, 164, 165, 166, 167, 168,
)  # fmt: skip
"""Identifiers of the 68 landmarks in SPIGA's published 3D face, in iBUG's order."""


def structure_from_motion(shapes: Tensor) -> Tensor:
    """The rigid 3D face whose weak-perspective views are closest to the given shapes, made symmetric.

    Tomasi, Kanade: "Shape and Motion from Image Streams under Orthography", IJCV 1992, with a scale for each view. The
    mean shape is taken as the frontal view.

    Args:
        shapes: crop coordinates of faces in varying poses, shape ``(N, 68, 2)``.

    Returns:
        Shape ``(68, 3)``, float32: centred, outer eye corners 1 apart, the nose towards the camera.

    Raises:
        ValueError: there are too few shapes, or they do not turn enough to show a depth.
    """
    if len(shapes) < FEWEST_SHAPES:
        raise ValueError(f"{len(shapes)} shapes; expected at least {FEWEST_SHAPES} to find a depth in.")
    centred = shapes.double().cpu()
    centred = (centred - centred.mean(1, keepdim=True)).mT
    left, values, right = torch.linalg.svd(centred.flatten(0, 1), full_matrices=False)
    cameras = (left[:, :3] * values[:3]).reshape(-1, 2, 3)
    eigenvalues, axes = torch.linalg.eigh(_metric(cameras))
    if eigenvalues.min() <= 1e-6 * eigenvalues.max():
        raise ValueError("the shapes do not turn as a rigid head's would; no depth can be found in them.")
    structure = right[:3].T @ axes / eigenvalues.sqrt()
    face = _symmetric(_frontal(structure, centred.mean(0).T))
    depth = float((face[:, 2].max() - face[:, 2].min()) / (face[:, 0].max() - face[:, 0].min()))
    least, most = PLAUSIBLE_DEPTH
    if not least < depth < most:
        raise ValueError(f"the shapes give a face {depth:.2f} times as deep as wide; expected {least} to {most}.")
    return face.float()


def _metric(cameras: Tensor) -> Tensor:
    """The symmetric Q that makes each camera's two rows, ``(N, 2, 3)``, as long as each other and orthogonal."""
    x, y = cameras.unbind(1)
    size = cameras.square().sum((1, 2)).mean()
    wanted = torch.cat([_products(x, x) - _products(y, y), _products(x, y)])
    # The scale: the mean squared length of all rows stays what it is.
    total = (_products(x, x) + _products(y, y)).mean(0, keepdim=True) * len(cameras)
    rows = torch.cat([wanted, total])
    values = torch.zeros(len(rows), 1, dtype=rows.dtype)
    values[-1] = size * len(cameras)
    q: Tensor = torch.linalg.lstsq(rows, values).solution[:, 0]
    return q[torch.tensor([[0, 1, 2], [1, 3, 4], [2, 4, 5]])]


def _products(a: Tensor, b: Tensor) -> Tensor:
    """The coefficients of Q's six entries in aᵀ Q b."""
    outer = a[:, :, None] * b[:, None, :]
    outer = outer + outer.mT
    entries = [outer[:, i, j] / (2 if i == j else 1) for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))]
    return torch.stack(entries, dim=1)


def _frontal(structure: Tensor, front: Tensor) -> Tensor:
    """Turn ``structure`` (68, 3) so that its x and y are about those of ``front`` (68, 2), the nose to the camera."""
    rows = torch.linalg.lstsq(structure, front).solution.T
    left, _, right = torch.linalg.svd(rows, full_matrices=False)
    rotation = left @ right
    face: Tensor = structure @ torch.cat([rotation, torch.linalg.cross(rotation[0], rotation[1])[None]]).T
    nose, ears = face[30, 2], face[[0, 16], 2].mean()
    # A face and its mirror image in depth have the same views.
    return face * face.new_tensor([1, 1, -1]) if nose > ears else face


def _symmetric(face: Tensor) -> Tensor:
    mirrored = face[list(FLIP_PERMUTATION)] * face.new_tensor([-1, 1, 1])
    face = (face + mirrored) / 2
    face = face - face.mean(0)
    left, right = OUTER_EYE_CORNERS
    distance: Tensor = torch.linalg.vector_norm(face[left] - face[right])
    return face / distance


def read_face_3d(path: Path) -> npt.NDArray[np.floating]:
    """Read a 3D face: ``.npy`` of shape ``(68, 3)`` in the axes used here, or SPIGA's published text file.

    The text file has a line ``id|x|y|z`` for each landmark, y up and z towards the camera.
    """
    if path.suffix == ".npy":
        face: npt.NDArray[np.floating] = np.load(path, allow_pickle=False)
        return face
    table = {int(row[0]): row[1:4] for row in np.loadtxt(path, delimiter="|", ndmin=2)}
    return np.stack([table[key] for key in PUBLISHED_IDS]) * [1, -1, -1]
