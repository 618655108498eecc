"""What every landmarker must do, in its light form: stages, gradients, devices and precisions, learning."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_modules.landmarkers import Landmarker
from lightning_modules.landmarkers.losses import interocular_loss
from lightning_modules.methods import FaceWarping
from tests.lightning_modules.landmarkers.training import REAL, configured, drawn_crops, real_crops, train
from tests.lightning_modules.methods.small import face_batch, silent

SIZE = 64
STAGES = {"slpt": 3, "hrnet": 1, "star": 2, "openpose": 2, "spiga": 3, "sbr": 2, "integral": 1}
SCHEDULES = {
    "slpt": (60, 4e-3, 3.0),
    "hrnet": (80, 1e-2, 2.0),
    "star": (150, 1e-2, 6.0),
    "openpose": (90, 1e-2, 2.0),
    "spiga": (50, 3e-3, 2.0),
    "sbr": (90, 1e-2, 2.0),
    "integral": (60, 1e-2, 2.0),
}
"""Steps and peak learning rate in which each fits eight faces, and to which NME in %."""
SHIFTS = [(x, y) for x in (-2, 0, 2) for y in (-2, 0, 2)]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]

every_landmarker = pytest.mark.parametrize("name", STAGES)


def light(name: str, imagenet: bool = False, **overrides: Any) -> Landmarker:
    """The shipped light form, on crops of a quarter of its pixels; hourglasses have no ImageNet weights."""
    if name == "star":
        overrides |= {"levels": 2, "channels": 32}
    if name not in ("spiga", "star"):
        overrides["pretrained"] = "package" if imagenet else False
    return configured(f"{name}.yaml", f"{name}.quick.yaml", image_size=SIZE, **overrides)


def rand(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


@every_landmarker
def test_it_gives_every_stage(name: str) -> None:
    landmarker, images = light(name).eval(), rand(2, 3, SIZE, SIZE)
    output = landmarker(images)
    assert output.stages.shape == (2, STAGES[name], 68, 2)
    torch.testing.assert_close(output.landmarks, output.stages[:, -1])
    again = landmarker(images.flip(0)).stages.flip(0)
    torch.testing.assert_close(again, output.stages, atol=1e-4, rtol=0)
    features = landmarker.features(images)
    assert (features.dim(), len(features)) == (4, 2)
    assert output.features is not None
    torch.testing.assert_close(features, output.features)


@every_landmarker
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_any_device_and_precision(name: str, device: str, precision: torch.dtype) -> None:
    """Landmarks, uncertainties and losses are float32; every parameter has a gradient from the last stage alone.

    Plain DDP stops at a parameter without one, and a warper step uses nothing but the last stage.
    """
    landmarker = light(name).train().to(device)
    images, target = (tensor.to(device) for tensor in drawn_crops(SIZE))
    with torch.autocast(device, precision, enabled=precision != torch.float32):
        output = landmarker(images)
        loss = landmarker.loss(output, target)
    again = landmarker.loss(output, target)
    assert (output.stages.dtype, loss.dtype) == (torch.float32, torch.float32)
    assert output.uncertainty is None or output.uncertainty.dtype == torch.float32
    torch.testing.assert_close(loss, again, atol=0, rtol=1e-6)  # computed without autocast
    for value in (loss, output.landmarks.square().mean()):
        landmarker.zero_grad()
        value.backward(retain_graph=True)
        finite = {key: p.grad is not None and bool(p.grad.isfinite().all()) for key, p in landmarker.named_parameters()}
        assert [key for key, good in finite.items() if not good] == []
    first = next(landmarker.parameters()).grad
    assert first is not None
    assert first.abs().sum() > 0


@every_landmarker
def test_faces_of_no_weight_do_not_count(name: str) -> None:
    landmarker, (images, target) = light(name).eval(), drawn_crops(SIZE)
    output = landmarker(images)
    some = landmarker.loss(output, target, torch.tensor([1.0, 0.0, 0.0, 0.0]))
    torch.testing.assert_close(some, landmarker.loss(landmarker(images[:1]), target[:1]), rtol=1e-3, atol=1e-4)
    assert landmarker.loss(output, target, torch.zeros(4)) == 0


@every_landmarker
def test_its_weights_come_back_from_a_file(name: str, tmp_path: Path) -> None:
    landmarker, path = light(name).eval(), tmp_path / "weights.pt"
    landmarker.fit_shapes(drawn_crops(SIZE)[1])
    torch.save(landmarker.state_dict(), path)
    again = light(name, weights=path).eval().state_dict()
    assert all(torch.equal(value, again[key]) for key, value in landmarker.state_dict().items())


@every_landmarker
def test_it_fits_eight_faces_which_bf16_does_not_undo(name: str) -> None:
    """Real faces where there are any; then its landmarks also have a gradient through the warp."""
    landmarker = light(name, imagenet=True)
    images, target = real_crops(SIZE) if REAL.is_dir() else drawn_crops(SIZE, 8)
    steps, rate, bound = SCHEDULES[name]
    *_, nme = train(landmarker, images, target, steps, rate)
    assert nme < bound
    assert lost_to_bf16(landmarker.eval(), images, target) < 0.02
    assert warp_gradient(landmarker, images, target) > 0


@torch.no_grad()
def lost_to_bf16(landmarker: Landmarker, images: Tensor, target: Tensor) -> float:
    """NME in % under bf16 autocast less that in float32, over crops moved by up to 2 pixels.

    Heatmaps must be peaked for it: random weights give flat ones, whose mean position any noise in the features moves.
    """
    moved = torch.cat([images.roll((y, x), (-2, -1)) for x, y in SHIFTS])
    labels = torch.cat([target + torch.tensor([x, y]) / SIZE for x, y in SHIFTS])
    nme = []
    for precision in (nullcontext(), torch.autocast("cpu", torch.bfloat16)):
        with precision:
            nme.append(100 * interocular_loss(landmarker(moved).landmarks, labels).item())
    return nme[1] - nme[0]


def warp_gradient(landmarker: Landmarker, images: Tensor, target: Tensor) -> float:
    """Size of the first layer's gradient from photos warped onto others by the landmarks predicted in these."""
    method = FaceWarping(landmarker, anchor_weight=0.0).train()
    silent(method)
    method.zero_grad()
    method.warper_loss(face_batch(images[:4], target[:4]), face_batch(images[4:])).backward()
    gradient = next(landmarker.parameters()).grad
    assert gradient is not None
    assert gradient.isfinite().all()
    return float(gradient.abs().sum())
