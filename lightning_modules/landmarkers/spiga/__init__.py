"""SPIGA (Prados-Torreblanca et al., BMVC 2022)."""

from lightning_modules.landmarkers.spiga.spiga import SPIGA

__all__ = ["SPIGA"]
