"""Landmarkers f_θ: images to 68 landmarks, in plain torch (nothing here imports Lightning).

Each class is imported when it is first asked for: timm and kornia alone take longer to import than a picture's
landmarks to find, and a landmarker in an ONNX file needs neither.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput
    from lightning_modules.landmarkers.hrnet import HRNet
    from lightning_modules.landmarkers.integral import Integral
    from lightning_modules.landmarkers.onnx.exported import ExportedLandmarker
    from lightning_modules.landmarkers.onnx.foreign import OnnxLandmarker
    from lightning_modules.landmarkers.pose_machines.openpose import OpenPose
    from lightning_modules.landmarkers.pose_machines.sbr import SBR
    from lightning_modules.landmarkers.slpt import SLPT
    from lightning_modules.landmarkers.spiga import SPIGA
    from lightning_modules.landmarkers.star import STAR

__all__ = [
    "SLPT",
    "HRNet",
    "STAR",
    "OpenPose",
    "SPIGA",
    "SBR",
    "Integral",
    "OnnxLandmarker",
    "ExportedLandmarker",
    "Landmarker",
    "LandmarkerOutput",
]

_PLACES: Final = {
    "SLPT": "slpt",
    "HRNet": "hrnet",
    "STAR": "star",
    "OpenPose": "pose_machines.openpose",
    "SPIGA": "spiga",
    "SBR": "pose_machines.sbr",
    "Integral": "integral",
    "OnnxLandmarker": "onnx.foreign",
    "ExportedLandmarker": "onnx.exported",
    "Landmarker": "base",
    "LandmarkerOutput": "base",
}
"""The module of each class, within this package."""


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
