"""γ learned by gradient descent next to the landmarker's θ: eq. 4 of the paper read literally.

In closed form γ follows from the landmarks, and eq. 4 is a minimum over θ alone. To learn γ as well, one might make the
spline's coefficients parameters, but they differ for every pair of faces and scale badly. An interpolating spline's
coefficients and its values at the K landmarks determine each other, linearly and one to one; so learning the values
at the landmarks is learning the coefficients, in well conditioned terms. γ are here the weights of a network that gives
these values for any pair of faces: the photo's landmarks plus offsets Δ. They start at the closed form, Δ = 0. With Δ
the third term of eq. 3, the landmark-warping error, is the mean of |Δ|² for λ = 0: what holds γ to the landmarks while
the image term pulls at it.
"""

import torch
from torch import Tensor, nn


class LearnedField(nn.Module):
    """Offsets Δ of where the field takes the predicted landmarks, from both faces' shapes.

    Args:
        hidden: width of the network's two hidden layers.
        max_offset: largest offset along x and y, in crop units, so that no step of Adam's can tear the field.

    Raises:
        ValueError: ``max_offset`` or ``hidden`` is not positive.
    """

    def __init__(self, hidden: int = 128, max_offset: float = 0.05) -> None:
        super().__init__()
        if hidden < 1 or not max_offset > 0:
            raise ValueError(f"hidden is {hidden} and max_offset {max_offset}; both must be positive.")
        self.max_offset = max_offset
        last = nn.Linear(hidden, 136)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(nn.Linear(272, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), last)

    def forward(self, photo_landmarks: Tensor, predicted: Tensor) -> Tensor:
        """Offsets to add to the photos' landmarks before the spline is fitted; autocast is switched off inside.

        Args:
            photo_landmarks: the photos' landmarks, crop coordinates, shape ``(B, 68, 2)``.
            predicted: landmarks predicted on the stylised faces, crop coordinates, shape ``(B, 68, 2)``.

        Returns:
            Crop units, within ±``max_offset``, zero before the first step; shape ``(B, 68, 2)``.

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
    """Centred, and scaled to a root mean square of 1 (smaller where all but coinciding, without a NaN)."""
    centred = landmarks - landmarks.mean(dim=1, keepdim=True)
    return centred / (centred.square().mean(dim=(1, 2), keepdim=True) + 1e-8).sqrt()
