"""One LightningModule per method."""

from lightning_modules.methods.adaptsegnet import AdaptSegNet
from lightning_modules.methods.base import FaceMethod
from lightning_modules.methods.bdl import BDL
from lightning_modules.methods.cyclegan import CycleGAN
from lightning_modules.methods.face_warping import FaceWarping
from lightning_modules.methods.fda import FDA
from lightning_modules.methods.revgrad import RevGrad
from lightning_modules.methods.self_training import SelfTraining
from lightning_modules.methods.stylize import Stylize
from lightning_modules.methods.supervised import Supervised

__all__ = [
    "AdaptSegNet",
    "BDL",
    "CycleGAN",
    "FDA",
    "FaceMethod",
    "FaceWarping",
    "RevGrad",
    "SelfTraining",
    "Stylize",
    "Supervised",
]
