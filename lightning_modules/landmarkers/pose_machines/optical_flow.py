"""Lucas-Kanade tracking of points from frame to frame, differentiable in the points and in the frames.

Lucas, Kanade: "An Iterative Image Registration Technique with an Application to Stereo Vision", IJCAI 1981, in its
inverse compositional form (Baker, Matthews: "Lucas-Kanade 20 Years On", IJCV 2004) with translations, as in Dong et
al., CVPR 2018.
"""

import torch
from torch import Tensor

from lightning_modules.coordinates import solve_2x2
from lightning_modules.landmarkers.base import full_precision
from lightning_modules.landmarkers.patches import sample_windows

DAMPING = 1e-3
"""Added to the squared gradients summed over a window, so that points in untextured regions stay where they are."""


def track(old: Tensor, new: Tensor, points: Tensor, radius: int = 5, iterations: int = 20) -> Tensor:
    """Where points of the frame ``old`` are in the frame ``new``.

    Around each point a Gaussian-weighted window (two standard deviations to its border) is matched. Displacements of
    more than about half a window are not found.

    Args:
        old: shape ``(B, C, S, S)``.
        new: the same shape.
        points: in ``old``, crop coordinates, shape ``(B, N, 2)``.
        radius: the window reaches so many pixels to each side.
        iterations: Gauss-Newton steps.

    Returns:
        In ``new``, crop coordinates, shape ``(B, N, 2)``. They may lie outside of the crop.

    Raises:
        ValueError: the frames are not squares of one size.
    """
    if old.shape != new.shape or old.dim() != 4 or old.shape[-1] != old.shape[-2]:
        raise ValueError(f"frames of shapes {tuple(old.shape)} and {tuple(new.shape)}; expected both (B, C, S, S).")
    size = old.shape[-1]
    side = 2 * radius + 1
    # One pixel more than the window, for the gradient by central differences.
    template = sample_windows(old, points, (radius + 1) / size, side + 2)
    along_x = (template[..., 1:-1, 2:] - template[..., 1:-1, :-2]) / 2
    along_y = (template[..., 2:, 1:-1] - template[..., :-2, 1:-1]) / 2
    template = template[..., 1:-1, 1:-1]
    gradients = torch.stack([along_x, along_y], dim=2)
    weighted = gradients * _weights(radius, points)
    with full_precision(points):
        normal = torch.einsum("bnichw,bnjchw->bnij", weighted, gradients)
        normal = normal + DAMPING * torch.eye(2, dtype=points.dtype, device=points.device)
        for _ in range(iterations):
            difference = sample_windows(new, points, radius / size, side) - template
            slope = torch.einsum("bnichw,bnchw->bni", weighted, difference)
            points = points - solve_2x2(normal, slope) / size
    return points


def _weights(radius: int, like: Tensor) -> Tensor:
    steps = torch.arange(-radius, radius + 1, dtype=like.dtype, device=like.device)
    weight = torch.exp(-2 * (steps / radius).square())
    return weight[:, None] * weight


def registration_error(
    frames: Tensor,
    landmarks: Tensor,
    confidence: Tensor | None = None,
    radius: int = 5,
    iterations: int = 20,
    farthest: float = 0.06,
    consistency: float = 0.01,
    faintest: float = 0.3,
) -> Tensor:
    """Distance of detections from where the previous frame's detections are tracked to (Dong et al., eq. 4-6).

    A landmark counts from one frame to the next if tracking it forward and back returns to its detection, if the next
    detection lies near the tracked point, and if both detections are confident.

    Args:
        frames: shape ``(B, T, C, S, S)``.
        landmarks: each frame's detections, crop coordinates, shape ``(B, T, N, 2)``.
        confidence: each detection's, e.g. the height of its heatmap, shape ``(B, T, N)``; all confident if None.
        radius: of the tracked windows, in pixels.
        iterations: of the tracking.
        farthest: largest distance from a detection to the tracked point, in crop coordinates.
        consistency: largest distance from a detection after tracking it forward and back, in crop coordinates.
        faintest: lowest confidence of a confident detection.

    Returns:
        Mean distance in crop coordinates over the landmarks that count; 0 (with zero gradients) if none does.

    Raises:
        ValueError: there are fewer than two frames.
    """
    if frames.dim() != 5 or frames.shape[1] < 2:
        raise ValueError(f"frames have shape {tuple(frames.shape)}; expected (B, T, C, S, S) with T of at least 2.")
    before, after = frames[:, :-1].flatten(0, 1), frames[:, 1:].flatten(0, 1)
    detected, wanted = landmarks[:, :-1].flatten(0, 1), landmarks[:, 1:].flatten(0, 1)
    tracked = track(before, after, detected, radius, iterations)
    distance = torch.linalg.vector_norm(wanted - tracked, dim=-1)
    with torch.no_grad():
        home = torch.linalg.vector_norm(track(after, before, tracked, radius, iterations) - detected, dim=-1)
        counts = (home <= consistency) & (distance <= farthest)
        if confidence is not None:
            sure = confidence >= faintest
            counts &= (sure[:, :-1] & sure[:, 1:]).flatten(0, 1)
    mean: Tensor = (distance * counts).sum() / counts.sum().clamp_min(1)
    return mean
