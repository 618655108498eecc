"""Landmarkers f_θ: images to 68 landmarks, in plain torch (nothing here imports Lightning)."""

from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput
from lightning_modules.landmarkers.slpt import SLPT

__all__ = ["SLPT", "Landmarker", "LandmarkerOutput"]
