"""STAR (Zhou et al., CVPR 2023)."""

from lightning_modules.landmarkers.star.star import STAR

__all__ = ["STAR"]
