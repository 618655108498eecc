"""Convolutional pose machines: SBR (Dong et al., CVPR 2018) and OpenPose's face network (Simon et al., CVPR 2017)."""

from lightning_modules.landmarkers.pose_machines.openpose import OpenPose
from lightning_modules.landmarkers.pose_machines.sbr import SBR

__all__ = ["SBR", "OpenPose"]
