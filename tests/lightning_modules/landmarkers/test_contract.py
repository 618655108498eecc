"""What every landmarker must do, in its light form: stages, gradients, devices and precisions, learning."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_modules.landmarkers import SBR, SLPT, SPIGA, STAR, HRNet, Integral, Landmarker, OpenPose
from lightning_modules.landmarkers.losses import interocular_loss
from lightning_modules.methods import FaceWarping
from tests.lightning_modules.landmarkers.training import REAL, configured, drawn_crops, rand, real_crops, train
from tests.lightning_modules.methods.small import face_batch, silent

SIZE = 64
KINDS = {
    "slpt": SLPT,
    "hrnet": HRNet,
    "star": STAR,
    "openpose": OpenPose,
    "spiga": SPIGA,
    "sbr": SBR,
    "integral": Integral,
}
STAGES = {"slpt": 3, "hrnet": 1, "star": 2, "openpose": 2, "spiga": 3, "sbr": 2, "integral": 1}
SCHEDULES = {
    "slpt": (80, 4e-3, 2.0),
    "hrnet": (60, 1e-2, 2.5),
    "star": (150, 1e-2, 7.0),
    "openpose": (60, 1e-2, 2.5),
    "spiga": (50, 3e-3, 2.0),
    "sbr": (60, 1e-2, 2.5),
    "integral": (60, 1e-2, 2.0),
}
"""Steps and peak learning rate in which each fits eight faces, and to which NME in %."""
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]

every_landmarker = pytest.mark.parametrize("name", STAGES)


def light(name: str, imagenet: bool = False, **overrides: Any) -> Landmarker:
    """The shipped light form, on crops of a quarter of its pixels; hourglasses have no ImageNet weights."""
    if name == "star":
        overrides |= {"levels": 2, "channels": 32}
    if name != "star":
        overrides["pretrained"] = "package" if imagenet else False
    return configured(f"{name}.yaml", f"{name}.quick.yaml", image_size=SIZE, **overrides)


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


@pytest.mark.parametrize("name", ["slpt", "hrnet", "openpose", "spiga", "sbr", "integral"])
def test_channels_last_changes_the_speed_only(name: str) -> None:
    plain, quick = (light(name, channels_last=last).eval() for last in (False, True))
    quick.load_state_dict(plain.state_dict())
    images = rand(2, 3, SIZE, SIZE)
    torch.testing.assert_close(quick(images).stages, plain(images).stages, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("slpt", {"image_size": 100}, "image_size is 100; expected a multiple of 32"),
        ("slpt", {"stage_weights": [1.0]}, "patch_sides has 3 stages and stage_weights 1"),
        ("slpt", {"num_heads": 5}, "does not divide"),
        ("hrnet", {"image_size": 100}, "multiple of 32"),
        ("star", {"image_size": 72}, "image_size is 72; expected a multiple of 16"),
        ("star", {"channels": 20}, "channels=20.*a multiple of 8"),
        ("star", {"stacks": 0}, "stacks=0.*at least one stack"),
        ("openpose", {"image_size": 100}, "multiple of 8"),
        ("openpose", {"image_size": 72, "backbone": "resnet18"}, "multiple of 32"),
        ("spiga", {"image_size": 96}, "expected 32, 64, 128"),
        ("spiga", {"channels": 12}, "expected multiples of 8, 4 and 8"),
        ("integral", {"image_size": 100}, "multiple of 8"),
        ("integral", {"coarsest": 4}, "cannot be used: its feature maps have the strides"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(name: str, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        KINDS[name](**{"image_size": SIZE, **({"levels": 2} if name == "star" else {}), **wrong})


@pytest.mark.slow
@every_landmarker
def test_it_fits_eight_faces_which_bf16_does_not_undo(name: str) -> None:
    """Real faces where there are any; then its landmarks also have a gradient through the warp."""
    landmarker = light(name, imagenet=True)
    images, target = real_crops(SIZE) if REAL.is_dir() else drawn_crops(SIZE, 8)
    steps, rate, bound = SCHEDULES[name]
    *_, nme = train(landmarker, images, target, steps, rate)
    assert nme < bound
    lost, moved = lost_to_bf16(landmarker.eval(), images, target)
    assert lost < 0.02
    assert moved < (0.4 if name == "star" else 0.15)
    assert warp_gradient(landmarker, images, target) > 0


@torch.no_grad()
def lost_to_bf16(landmarker: Landmarker, images: Tensor, target: Tensor) -> tuple[float, float]:
    """The NME in % that bf16 autocast adds, and how far it moves landmarks in that unit; over slightly noisy copies.

    Heatmaps must be peaked for it: random weights give flat ones, whose mean position any noise in the features moves.
    """
    copies, labels = images.repeat(8, 1, 1, 1), target.repeat(8, 1, 1)
    copies = copies + 0.01 * torch.randn(copies.shape, generator=torch.Generator().manual_seed(2))
    exact = landmarker(copies).landmarks
    with torch.autocast("cpu", torch.bfloat16):
        rounded = landmarker(copies).landmarks
    before, after = (interocular_loss(landmarks, labels).item() for landmarks in (exact, rounded))
    return 100 * (after - before), 100 * interocular_loss(labels + rounded - exact, labels).item()


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
