"""Pseudo landmarks: found in the target by one landmarker or by several, frozen, and kept with the run."""

from lightning_modules.methods.pseudo.landmarks import PseudoLandmarks, find_pseudo_landmarks
from lightning_modules.methods.pseudo.store import PseudoLabelling, PseudoLandmarkStore
from lightning_modules.methods.pseudo.teachers import Teachers

__all__ = ["PseudoLabelling", "PseudoLandmarkStore", "PseudoLandmarks", "Teachers", "find_pseudo_landmarks"]
