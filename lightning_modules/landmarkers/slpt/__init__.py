"""SLPT (Xia et al., CVPR 2022)."""

from lightning_modules.landmarkers.slpt.slpt import SLPT

__all__ = ["SLPT"]
