"""Landmarkers whose landmarks depend on the image, without training; and crops that differ."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.checkpoints import build_landmarker, shipped_spec
from lightning_modules.landmarkers import Landmarker
from lightning_modules.landmarkers.onnx.about import About


def shaken(name: str, profile: str = "", seed: int = 1) -> Landmarker:
    """A landmarker of configs/landmarkers with random weights throughout, where an untrained one begins flat."""
    spec = shipped_spec(name, profile)
    for key in ("pretrained", "weights"):
        spec["init_args"].pop(key, None)
    torch.manual_seed(seed)
    landmarker = build_landmarker(spec)
    for parameter in landmarker.parameters():
        if parameter.dim() > 1 and float(parameter.detach().std()) < 0.02:
            nn.init.normal_(parameter, std=0.02)
    # Statistics of real maps: with others, maps fade or explode from layer to layer, and with them what is compared.
    for module in landmarker.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        landmarker.train()(crops(4, landmarker.image_size))
    return landmarker.eval()


def crops(count: int, size: int) -> Tensor:
    """Soft blobs of colour: the average of plain noise would be the same everywhere."""
    coarse = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(count))
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False).clamp(0, 1)


def about(landmarker: Landmarker) -> About:
    return About("warpmark 0", type(landmarker).__name__, landmarker.image_size, landmarker.crop_factor, "here.ckpt")
