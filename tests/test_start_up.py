"""What starts quickly: prediction imports torch, OpenCV and onnxruntime, and none of the libraries for training."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SLOW = ("timm", "albumentations", "lightning", "torchvision", "kornia", "matplotlib", "pandas", "sklearn", "scipy")
PREDICTION = (
    "datamodules.faces",
    "datamodules.formats",
    "datamodules.layout",
    "datamodules.files",
    "datamodules.transforms",
    "lightning_modules.coordinates",
    "lightning_modules.weights",
    "lightning_modules.landmarkers",
    "lightning_modules.landmarkers.inference",
    "lightning_modules.landmarkers.recropping",
    "lightning_modules.landmarkers.onnx.exported",
    "experiments.catalogue",
    "experiments.checkpoints",
    "experiments.command_line",
    "experiments.errors",
    "experiments.run.folder",
)
"""Imported from the process's start to the first face."""


def slow_after(program: str) -> set[str]:
    """The slow libraries that a program has imported at its end."""
    program += f"\nimport sys\nprint('loaded', *[name for name in {SLOW!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_prediction_is_imported_without_what_trains() -> None:
    assert slow_after("\n".join(f"import {name}" for name in PREDICTION)) == set()


def test_a_face_is_found_without_what_trains() -> None:
    program = """
import numpy as np
from experiments.checkpoints import load_fastest
from datamodules.transforms import Square
from lightning_modules.landmarkers.inference import Inference, find_in_images
import torch
torch.cuda.is_available = lambda: False
picture = np.zeros((200, 200, 3), np.uint8)
find_in_images(load_fastest(), [picture], [Square.of_image(picture)], Inference(recrop=2, mirror=True))
"""
    assert slow_after(program) == set()


def test_classes_are_found_by_their_short_names() -> None:
    """As YAML files name them; and what needs timm does import it, or the test above would show nothing."""
    program = """
import lightning_modules.landmarkers as landmarkers
assert landmarkers.Integral.__module__ == "lightning_modules.landmarkers.integral"
assert set(landmarkers.__all__) <= set(dir(landmarkers))
for name in landmarkers.__all__:
    getattr(landmarkers, name)
try:
    landmarkers.Unknown
except AttributeError as error:
    assert "has no attribute 'Unknown'" in str(error)
else:
    raise AssertionError
"""
    assert "timm" in slow_after(program)
