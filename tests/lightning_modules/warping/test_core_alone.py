"""The warping core lifts out: it runs where nothing but torch, kornia and numpy can be imported."""

import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROGRAM = """
import sys

ALLOWED = set(sys.argv[1].split(",")) | {"lightning_modules"}

class Gate:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in ALLOWED and top not in sys.stdlib_module_names:
            raise ModuleNotFoundError(f"{name} is closed in this test", name=name)
        return None

sys.meta_path.insert(0, Gate())
sys.modules.pop("datamodules", None)

import torch
from lightning_modules.warping import *
from lightning_modules import warping

points = torch.rand(2, 68, 2, requires_grad=True)
photo, stylised = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
warped = warping.PolyharmonicSpline.fit(points, torch.rand(2, 68, 2), smoothing=0.01).warp(photo, coarse=9)
for gradient in (warping.Sobel(), warping.SpatialGradient(), warping.Laplacian(), warping.Canny()):
    warping.GradientNCC(gradient)(warped, stylised).sum().backward(retain_graph=True)
assert points.grad.isfinite().all()
objective = warping.WarperObjective(
    pairing=warping.SimilarPose(), learned=warping.LearnedField(), coarse=9, face_only=True, gradient_reach=0.1
)
terms = objective(photo, torch.rand(2, 68, 2), stylised, points)
(terms.image + terms.landmarks).sum().backward()
assert all(parameter.grad.isfinite().all() for parameter in objective.parameters())
for closed in ("lightning", "torchvision", "cv2", "datamodules"):
    try:
        __import__(closed)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{closed} could be imported")
"""


def _requirements(distribution: str, found: set[str]) -> set[str]:
    """Names of a distribution and all it requires, extras aside."""
    if distribution not in found:
        found.add(distribution)
        for text in requires(distribution) or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                _requirements(canonicalize_name(requirement.name), found)
    return found


def test_runs_with_torch_kornia_and_numpy_only() -> None:
    wanted: set[str] = set()
    for name in ("torch", "kornia", "numpy"):
        _requirements(name, wanted)
    allowed = [
        module
        for module, distributions in packages_distributions().items()
        if any(canonicalize_name(name) in wanted for name in distributions)
    ]
    root = Path(__file__).resolve().parents[3]
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, ",".join(allowed)], cwd=root, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
