"""Imports what a run imports, some of it only when it is first used: a process forked afterwards need not."""

import importlib
import pkgutil

import albumentations  # noqa: F401
import kornia.augmentation  # noqa: F401
import timm  # noqa: F401

import callbacks
import datamodules
import experiments.cli  # noqa: F401
import lightning_modules.landmarkers
import lightning_modules.methods
import lightning_modules.translation
import lightning_modules.warping

for _package in (
    *(callbacks, datamodules, lightning_modules.landmarkers, lightning_modules.methods),
    *(lightning_modules.translation, lightning_modules.warping),
):
    for _module in pkgutil.walk_packages(_package.__path__, f"{_package.__name__}."):
        if ".onnx" not in _module.name:  # onnxruntime is optional, and has threads of its own
            importlib.import_module(_module.name)
