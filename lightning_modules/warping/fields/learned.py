"""γ learned by gradient descent next to the landmarker's θ: eq. 4 of the paper read literally.

In closed form γ follows from the landmarks, and eq. 4 is a minimum over θ alone. To learn γ as well, the spline's
coefficients could be parameters, but they differ for every pair of faces and scale badly. An interpolating spline's
coefficients and its values at the K landmarks determine each other, linearly and one to one, so learning the values is
learning the coefficients, well conditioned. γ are here the weights of a network that gives these values for any pair of
faces: the photo's landmarks plus offsets Δ, which start at the closed form, Δ = 0. The third term of eq. 3, the
landmark-warping error, is then the mean of |Δ|² for λ = 0, which keeps the field near the landmarks.
"""

import torch
from torch import Tensor, nn
from typing_extensions import override

from lightning_modules.warping.fields.base import FieldFitter
from lightning_modules.warping.fields.spline import PolyharmonicSpline, SplineFitter


class LearnedField(nn.Module, FieldFitter):
    """Splines through the photos' landmarks plus offsets Δ, which a network gives from both faces' shapes.

    Args:
        hidden: width of the network's two hidden layers.
        max_offset: largest offset along x and y, in crops, so that no optimiser step can make the field fold widely.

    Raises:
        ValueError: ``max_offset`` or ``hidden`` is not positive.
    """

    fits_landmarks = False

    def __init__(self, hidden: int = 128, max_offset: float = 0.05) -> None:
        super().__init__()
        if hidden < 1 or not max_offset > 0:
            raise ValueError(f"hidden is {hidden} and max_offset {max_offset}; both must be positive.")
        self.max_offset = max_offset
        last = nn.Linear(hidden, 136)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(nn.Linear(272, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), last)

    @override
    def fit(
        self,
        photo_landmarks: Tensor,
        predicted: Tensor,
        photo: Tensor | None = None,
        stylised: Tensor | None = None,
        spline: SplineFitter = SplineFitter(),  # noqa: B008 (immutable)
    ) -> PolyharmonicSpline:
        """The field of each pair, by a spline with these options; see :class:`FieldFitter`."""
        return spline.fit(photo_landmarks + self(photo_landmarks, predicted), predicted)

    def forward(self, photo_landmarks: Tensor, predicted: Tensor) -> Tensor:
        """Offsets to add to the photos' landmarks before the spline is fitted; autocast is switched off inside.

        Args:
            photo_landmarks: the photos' landmarks, crop coordinates, shape ``(B, 68, 2)``.
            predicted: landmarks predicted on the stylised faces, crop coordinates, shape ``(B, 68, 2)``.

        Returns:
            Offsets in crops, within ±``max_offset``, zero before the first step; shape ``(B, 68, 2)``.

        Raises:
            ValueError: the landmarks' shapes are wrong.
        """
        for landmarks in (photo_landmarks, predicted):
            if landmarks.ndim != 3 or landmarks.shape[1:] != (68, 2):
                raise ValueError(f"landmarks are {tuple(landmarks.shape)}; expected (B, 68, 2).")
        with torch.autocast(predicted.device.type, enabled=False):
            dtype = next(self.parameters()).dtype
            shapes = [_normalised(landmarks.to(dtype)).flatten(1) for landmarks in (photo_landmarks, predicted)]
            offsets: Tensor = self.network(torch.cat(shapes, dim=1))
            return self.max_offset * torch.tanh(offsets).view(-1, 68, 2)


def _normalised(landmarks: Tensor) -> Tensor:
    """Centred, and scaled to a root mean square of 1 (below 1, and not NaN, where the points nearly coincide)."""
    centred = landmarks - landmarks.mean(dim=1, keepdim=True)
    return centred / (centred.square().mean(dim=(1, 2), keepdim=True) + 1e-8).sqrt()
