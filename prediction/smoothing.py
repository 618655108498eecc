"""Landmarks over time without their jitter: the One-Euro filter.

Source: Casiez, Roussel, Vogel: "1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive
Systems", CHI 2012. A low-pass filter whose cutoff frequency rises with the speed: what rests is smoothed much, what
moves lags little.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from prediction.faces import Array

_NARROWEST: Final = 0.25
"""Least unit of speed, over the face's longer side: in a profile the eyes' corners lie close together."""


@dataclass(frozen=True)
class OneEuro:
    """How much landmarks are smoothed. Speeds are in inter-ocular distances a second.

    The defaults were chosen on made motion of four caricatures and four photos of 300W's training set, 30 frames a
    second, with noise and JPEG compression, found by the light landmarker: the movement of resting landmarks from frame
    to frame falls by 64 % or more on each (mean 80 %), and none lags a frame behind a sway, a start or a slow zoom.

    Args:
        min_cutoff: cutoff frequency of what rests, in Hz; a lower one takes away more jitter.
        beta: rise of the cutoff frequency with the speed, in Hz per inter-ocular distance a second; a higher one lags
            less.
        speed_cutoff: cutoff frequency of the speed's own low-pass filter, in Hz.

    Raises:
        ValueError: a number is out of its range; the message begins with its name.
    """

    min_cutoff: float = 0.5
    beta: float = 15.0
    speed_cutoff: float = 1.0

    def __post_init__(self) -> None:
        for name, value in (("min_cutoff", self.min_cutoff), ("speed_cutoff", self.speed_cutoff)):
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name}: found {value:g}, expected a frequency in Hz, above 0.")
        if not (self.beta >= 0 and math.isfinite(self.beta)):
            raise ValueError(f"beta: found {self.beta:g}, expected 0 or more.")


class Smoother:
    """Smooths the landmarks of one face from frame to frame, each landmark by its own speed.

    Args:
        how: the filter's parameters.
    """

    def __init__(self, how: OneEuro = OneEuro()) -> None:
        self._how = how
        self._time = -math.inf
        self._points: Array | None = None
        self._velocity: Array | None = None

    def __call__(self, points: Array, time: float, unit: float) -> Array:
        """The smoothed landmarks.

        Args:
            points: found in the next frame, pixels, shape ``(N, 2)``.
            time: of the frame, in seconds. Frames need not be equally far apart; one that is not later than the last
                leaves everything as it was.
            unit: of speed, in pixels: see :func:`speed_unit`.

        Returns:
            Shape ``(N, 2)``; the first ones are passed through.
        """
        if self._points is None or self._velocity is None:
            self._time, self._points, self._velocity = time, points.copy(), np.zeros_like(points)
            return points.copy()
        step = time - self._time
        if step <= 0:
            return self._points.copy()
        share = _share(self._how.speed_cutoff, step)
        self._velocity = share * (points - self._points) / step + (1 - share) * self._velocity
        # Of the vector, not of x and y each: a turned camera's landmarks are smoothed alike.
        speed = np.linalg.norm(self._velocity, axis=1, keepdims=True) / unit
        share = _share(self._how.min_cutoff + self._how.beta * speed, step)
        self._time, self._points = time, share * points + (1 - share) * self._points
        return self._points.copy()


def _share(cutoff: float | Array, step: float) -> float | Array:
    """The share of a new value in the smoothed one (the paper's α) at a cutoff frequency in Hz after ``step`` s."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * step))


def speed_unit(interocular: float, box: Array) -> float:
    """The distance of the outer eye corners, but not below a quarter of the longer side of the landmarks' box."""
    return max(interocular, _NARROWEST * float((box[2:] - box[:2]).max()), 1e-3)
