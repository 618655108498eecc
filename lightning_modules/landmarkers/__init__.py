"""Landmarkers f_θ: images to 68 landmarks, in plain torch (nothing here imports Lightning)."""

from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput
from lightning_modules.landmarkers.hrnet import HRNet
from lightning_modules.landmarkers.integral import Integral
from lightning_modules.landmarkers.onnx_file import OnnxLandmarker
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
    "Landmarker",
    "LandmarkerOutput",
]
