"""w_γ: the polyharmonic spline from stylised-face coordinates to photo coordinates (eq. 1 of the paper).

Duchon's spline with an affine part, in closed form:

    w(x) = A (x, 1) + Σᵢ cᵢ φ(|x - sᵢ|),   with   Σᵢ cᵢ (sᵢ, 1) = 0   and   w(sᵢ) + λ cᵢ = tᵢ

for source points sᵢ (landmarks on the stylised face) and target points tᵢ (the photo's). Up to a sign that makes λ > 0
smooth, φ(r) is r^k for odd k and r^k log r for even k; k = 2 is the thin-plate spline. Values and the meaning of λ are
those of ``scipy.interpolate.RBFInterpolator(degree=1)`` with kernels ``linear``, ``thin_plate_spline`` and ``cubic``.

Kornia's ``get_tps_transform`` is not used: its kernel matrix is between source and *target* points.
"""

from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor
from typing_extensions import override

from lightning_modules.coordinates import mesh
from lightning_modules.warping.fields.base import NODES, FieldFitter, WarpingField
from lightning_modules.warping.fields.kernels import SIGN, kernel, kernel_sum_on_grid, squared_distances
from lightning_modules.warping.fields.upsampling import cubic_upsample, node_positions

_CLOSE: Final = 1e-3
"""Source points closer to each other than this, or all of them closer to one line, are regularised; in half the longer
side of the points' box (about 0.1 px in a crop)."""
_LARGEST: Final = 1e6
"""Coordinates are clamped to this: a point a million crops away carries no information."""
_SMALLEST_EXTENT: Final = 1e-3
"""Least half side of the points' box by which they are scaled, in crops."""
_DEFINITE: Final = (1, 2, 3)
"""Orders whose kernel is definite together with an affine part: with the ridges, no system of theirs is singular."""
_HEAVY: Final = 1e8
"""More smoothing than any eigenvalue of a scaled kernel matrix (68 entries of at most 64 log 1e6)."""


@dataclass(frozen=True)
class PolyharmonicSpline(WarpingField):
    """A polyharmonic spline fitted to B pairs of faces. Make one with :meth:`fit`.

    Attributes:
        order: k of the kernel.
        centres: source points, shifted and scaled, float64, shape ``(B, K, 2)``.
        coefficients: one per centre, float64, shape ``(B, K, 2)``.
        affine: rows 1, x, y of the affine part of the displacement ``w(x) - x``, float64, shape ``(B, 3, 2)``.
        shift: middle of the source points' box, crop coordinates, float64, shape ``(B, 1, 2)``.
        scale: half the longer side of that box, in crops, float64, shape ``(B, 1, 1)``.
        dtype: floating type of what the methods return.
    """

    order: int
    centres: Tensor
    coefficients: Tensor
    affine: Tensor
    shift: Tensor
    scale: Tensor
    dtype: torch.dtype

    @classmethod
    def fit(
        cls,
        source_points: Tensor,
        target_points: Tensor,
        order: int = 2,
        smoothing: float = 0.0,
        border_anchors: int = 0,
    ) -> Self:
        """Fit the field to landmark pairs; differentiable in both.

        The (K+3) system is solved in float64 with autocast off, whatever the input type, after shifting and scaling
        the source points. It does not break on any finite input:

        - A source point closer to another than a thousandth of the face (about 0.1 px) gets a small λ of its own, so
          that coinciding points map to the mean of their targets.
        - If all points lie that close to one line, or coincide, they do not determine the affine part: a ridge makes it
          the identity's in the directions that are left open.
        - If the system is singular nevertheless, which order 4 does not exclude (its kernel is definite only together
          with a quadratic part), that face gets the affine least-squares fit.

        Both kinds of regularisation start continuously from zero, so the field is continuous in the landmarks; for all
        other layouts they are exactly zero, and the fit is exact.

        Args:
            source_points: landmarks on the stylised face, crop coordinates, shape ``(B, K, 2)``.
            target_points: the photo's landmarks, crop coordinates, shape ``(B, K, 2)``.
            order: k, 1 to 4.
            smoothing: λ ≥ 0; 0 interpolates.
            border_anchors: number of fixed points along each side of the crop, which keep the field near the identity
                outside the face.

        Returns:
            The fitted spline; its methods return the input's type (float32 for half precision).

        Raises:
            ValueError: shapes, order, smoothing or border_anchors are not as above.
        """
        _check(source_points, target_points, order, smoothing, border_anchors)
        dtype = torch.promote_types(torch.promote_types(source_points.dtype, target_points.dtype), torch.float32)
        with torch.autocast(source_points.device.type, enabled=False):
            source = _with_anchors(source_points.double().clamp(-_LARGEST, _LARGEST), border_anchors)
            target = _with_anchors(target_points.double().clamp(-_LARGEST, _LARGEST), border_anchors)
            # Detached: the spline does not depend on shift and scale, for which λ and the logarithm are corrected.
            low, high = source.detach().amin(1, keepdim=True), source.detach().amax(1, keepdim=True)
            shift = (low + high) / 2
            scale = ((high - low) / 2).amax(2, keepdim=True).clamp_min(_SMALLEST_EXTENT)
            centres = (source - shift) / scale
            matrix = _system(centres, order, scale, smoothing)
            # Fitting the displacement makes directions that a degenerate layout does not determine the identity.
            values = torch.cat([target - source, source.new_zeros(len(source), 3, 2)], dim=1)
            solution = _solve(matrix, values) if order in _DEFINITE else _solve_or_smooth(matrix, values)
        return cls(order, centres, solution[:, :-3], solution[:, -3:], shift, scale, dtype)

    @override
    def evaluate(self, points: Tensor) -> Tensor:
        with torch.autocast(points.device.type, enabled=False):
            points = points.double().clamp(-_LARGEST, _LARGEST)
            local = (points - self.shift) / self.scale
            values = kernel(squared_distances(local, self.centres), self.order, self.scale)
            displacement = values @ self.coefficients + self.affine[:, :1] + local @ self.affine[:, 1:]
            return (points + displacement).to(self.dtype)

    @override
    def grid(self, size: int, coarse: int | None = NODES) -> Tensor:
        """The field at every pixel of the stylised crop.

        At 256 pixels, between real photos and caricatures, the default grid keeps the field within 0.005 px of the
        exact one on average and warped images within 0.0002 of 1 (orders 1 to 4, λ = 0). The landmarks' gradient has
        cosine 0.999 or more to the exact one under a pixel loss and 0.994 under a Sobel loss; 97 nodes make that 0.9998
        and 0.998 and take half as long again. (The difference is due to sampling the photo at slightly other places,
        hardly to the backward pass.)

        Args:
            size: side of the crop in pixels.
            coarse: evaluate at this many nodes across and upsample by cubic interpolation (exact for affine fields);
                None evaluates at every pixel.

        Returns:
            Photo coordinates (crop), shape ``(B, size, size, 2)``.

        Raises:
            ValueError: ``coarse`` is below 2.
        """
        if coarse is not None and coarse < 2:
            raise ValueError(f"coarse is {coarse}; give at least 2 nodes, or None to evaluate at every pixel.")
        # In float64 up to the end: a backward pass may well run under autocast, which rounds float32 products there.
        with torch.autocast(self.shift.device.type, enabled=False):
            if coarse is None or coarse + 2 >= size:
                field = self._on_mesh(torch.arange(size, device=self.shift.device, dtype=self.shift.dtype) / size)
            else:
                field = cubic_upsample(self._on_mesh(node_positions(size, coarse, self.shift)), size)
            return field.to(self.dtype).permute(0, 2, 3, 1)

    def _on_mesh(self, positions: Tensor) -> Tensor:
        """The field at every (x, y) of the positions, shape ``(N,)``, along either axis, float64, ``(B, 2, N, N)``."""
        # In crop units, only shifted, so that the kernel's logarithm needs no correction.
        across = (positions - self.shift[..., 0]).contiguous()
        down = (positions - self.shift[..., 1]).contiguous()
        coefficients = self.coefficients / self.scale**self.order
        bent = kernel_sum_on_grid(across, down, self.centres * self.scale, coefficients, self.order)
        constant, along_x, along_y = self.affine[..., None].unbind(1)
        columns = constant + along_x * (across / self.scale[..., 0])[:, None]
        rows = along_y * (down / self.scale[..., 0])[:, None]
        identity = mesh(positions).permute(2, 0, 1)
        return bent + columns[:, :, None] + rows[..., None] + identity


@dataclass(frozen=True)
class SplineFitter(FieldFitter):
    """Polyharmonic splines in closed form; see :meth:`PolyharmonicSpline.fit` for the attributes."""

    order: int = 2
    smoothing: float = 0.0
    border_anchors: int = 0

    @property
    @override
    def fits_landmarks(self) -> bool:
        return self.smoothing == 0

    @override
    def fit(
        self, photo_landmarks: Tensor, predicted: Tensor, photo: Tensor | None = None, stylised: Tensor | None = None
    ) -> PolyharmonicSpline:
        return PolyharmonicSpline.fit(predicted, photo_landmarks, self.order, self.smoothing, self.border_anchors)


def _check(source: Tensor, target: Tensor, order: int, smoothing: float, border_anchors: int) -> None:
    if source.ndim != 3 or source.shape[-1] != 2 or source.shape != target.shape or source.shape[1] < 1:
        raise ValueError(
            f"source_points are {tuple(source.shape)} and target_points {tuple(target.shape)}; "
            "both must be (B, K, 2) with K ≥ 1."
        )
    if order not in SIGN:
        raise ValueError(f"order is {order}; the kernels are of order 1, 2 (thin plate), 3 and 4.")
    if not 0 <= smoothing < float("inf"):
        raise ValueError(f"smoothing is {smoothing}; it must be finite and at least 0.")
    if border_anchors < 0:
        raise ValueError(f"border_anchors is {border_anchors}; it must be 0 (none) or more.")


def _with_anchors(points: Tensor, per_side: int) -> Tensor:
    """Add ``4 * per_side`` points evenly around the crop's border, corners included."""
    if per_side == 0:
        return points
    along = torch.arange(per_side, device=points.device, dtype=points.dtype) / per_side
    low, high = torch.zeros_like(along), torch.ones_like(along)
    x, y = torch.cat([along, high, 1 - along, low]), torch.cat([low, along, high, 1 - along])
    return torch.cat([points, torch.stack([x, y], dim=-1).expand(len(points), -1, -1)], dim=1)


def _system(centres: Tensor, order: int, scale: Tensor, smoothing: float) -> Tensor:
    """The matrix of the linear system, shape ``(B, K + 3, K + 3)``."""
    squared = squared_distances(centres, centres)
    smoothing_here = torch.maximum(_point_ridge(squared.detach(), order), smoothing / scale.squeeze(2) ** order)
    smoothed = kernel(squared, order, scale) + torch.diag_embed(smoothing_here)
    affine = torch.cat([torch.ones_like(centres[..., :1]), centres], dim=2)
    corner = torch.diag_embed(-_affine_ridge(centres.detach()))
    return torch.cat([torch.cat([smoothed, affine], dim=2), torch.cat([affine.mT, corner], dim=2)], dim=1)


def _point_ridge(squared: Tensor, order: int) -> Tensor:
    """Least λ of each point, shape ``(B, K)``: above 0 for points that (nearly) coincide with another."""
    itself = torch.eye(squared.shape[1], dtype=torch.bool, device=squared.device)
    nearest = squared.masked_fill(itself, torch.inf).amin(dim=2).sqrt()
    return (1 - nearest / _CLOSE).clamp_min(0) * _CLOSE ** min(order, 2)


def _affine_ridge(centres: Tensor) -> Tensor:
    """Ridge on the constant, x and y rows of the affine part, shape ``(B, 3)``.

    It is above 0 for x and y where all points lie (nearly) on one line, which leaves the affine part undetermined.
    """
    centred = centres - centres.mean(dim=1, keepdim=True)
    (xx, yy), xy = centred.square().mean(dim=1).unbind(dim=1), centred.prod(dim=2).mean(dim=1)
    smallest = (xx + yy) / 2 - ((xx - yy).square() / 4 + xy * xy).sqrt()
    ridge = (1 - smallest.clamp_min(0).sqrt() / _CLOSE).clamp_min(0) * (_CLOSE**2 * centres.shape[1])
    return torch.stack([torch.zeros_like(ridge), ridge, ridge], dim=1)


def _solve(matrix: Tensor, values: Tensor) -> Tensor:
    """Solves for each face's coefficients. Nothing is checked, so that no device has to be waited for."""
    solution: Tensor = torch.linalg.solve_ex(matrix, values)[0]
    return solution


def _solve_or_smooth(matrix: Tensor, values: Tensor) -> Tensor:
    """The same where a system may be singular: it is then solved with so much smoothing that only the affine part is
    left. Whether it is, a first solution tells, so that the host does not have to ask."""
    with torch.no_grad():
        solution, info = torch.linalg.solve_ex(matrix, values)
        size, largest = (each.abs().amax(dim=(1, 2)) for each in (solution, values))
        broken = (info > 0) | ~(size <= 1e12 * (1 + largest))
        heavy = torch.ones_like(matrix[0, 0])
        heavy[-3:] = 0.0
    repaired = torch.where(broken[:, None, None], matrix + _HEAVY * torch.diag(heavy), matrix)
    return _solve(repaired, values)
