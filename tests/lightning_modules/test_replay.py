"""Recorded training passes: which passes are, and that they train as passes do that are not.

Without a GPU a recording is one that runs the landmarker again; with one it is CUDA's.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from experiments.catalogue import names
from experiments.checkpoints import build_landmarker, shipped_spec
from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput
from lightning_modules.replay import CudaRecording, Passes

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@dataclass
class Again:
    """Stands in for a recording."""

    run: Callable[[Tensor], Sequence[Tensor]]
    parameters: Sequence[nn.Parameter]
    images: Tensor
    made: list["Again"] = field(default_factory=list)
    passes: int = 0
    outputs: Sequence[Tensor] = ()

    def __post_init__(self) -> None:
        self.run(torch.full_like(self.images, 0.5))  # as those that warm up, it changes statistics
        self.made.append(self)

    def forward(self, images: Tensor) -> Sequence[Tensor]:
        self.passes += 1
        with torch.enable_grad():
            self.outputs = self.run(images)
        return self.outputs

    def backward(self, slopes: Sequence[Tensor]) -> Sequence[Tensor | None]:
        learns = [(output, slope) for output, slope in zip(self.outputs, slopes, strict=True) if output.requires_grad]
        outputs, by = zip(*learns, strict=True)
        return torch.autograd.grad(outputs, self.parameters, by, allow_unused=True)


def light(name: str = "integral") -> Landmarker:
    spec = shipped_spec(name, "quick")
    spec["init_args"] |= {"image_size": 64} | ({"pretrained": False} if "pretrained" in spec["init_args"] else {})
    torch.manual_seed(0)
    return build_landmarker(spec).train()


def recording(landmarker: Landmarker) -> tuple[Passes, list[Again]]:
    made: list[Again] = []
    return Passes(landmarker, lambda run, parameters, images: Again(run, parameters, images, made)), made


def batch(count: int, seed: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = 0.2 + 0.6 * torch.rand(count, 68, 2, generator=generator)
    return torch.rand(count, 3, 64, 64, generator=generator).to(device), target.to(device)


Forward = Callable[[Tensor], LandmarkerOutput]


def train(landmarker: Landmarker, forward: Forward, sizes: Sequence[int], device: str) -> list[float]:
    """Steps on batches of these sizes, always the same ones; returns their losses."""
    # Not Adam, which makes as much of a gradient that is rounding alone as of any other.
    descent, losses = torch.optim.SGD(landmarker.parameters(), lr=1e-4), []
    for seed, size in enumerate(sizes):
        images, target = batch(size, seed, device)
        descent.zero_grad()
        loss = landmarker.loss(forward(images), target)
        loss.backward()  # type: ignore[no-untyped-call]
        descent.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("name", names("landmarker"))
def test_training_is_the_same_and_only_batches_that_recur_are_recorded(name: str) -> None:
    """Of every landmarker: some have outputs of their own class, which their losses need."""
    plain, landmarker = light(name), light(name)
    passes, made = recording(landmarker)
    sizes = [4, 4, 3, 4, 4, 4, 3, 4]
    expected = train(plain, plain, sizes, "cpu")
    # Gradients of outputs that the loss leaves out are zeros here and absent there: the same up to rounding.
    assert train(landmarker, passes, sizes, "cpu") == pytest.approx(expected, rel=1e-5)
    assert [(each.images.shape[0], each.passes) for each in made] == [(4, 3)]
    assert passes.recorded
    torch.testing.assert_close(landmarker.state_dict(), plain.state_dict(), rtol=1e-3, atol=1e-5)


def test_a_pass_before_the_last_ones_gradient_is_done_as_ever() -> None:
    landmarker = light()
    passes, made = recording(landmarker)
    train(landmarker, passes, [4] * 4, "cpu")
    (one, first), (other, second) = batch(4, 10), batch(4, 11)
    reference = deepcopy(landmarker)
    for network, forward in ((landmarker, passes), (reference, reference)):
        network.zero_grad()
        outputs = [forward(one), forward(other)]
        (network.loss(outputs[0], first) + 2 * network.loss(outputs[1], second)).backward()
    assert made[0].passes == 2
    for mine, plain in zip(landmarker.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, plain.grad)


def test_what_a_recording_cannot_change_makes_another_one() -> None:
    landmarker = light()
    passes, made = recording(landmarker)
    train(landmarker, passes, [4] * 5, "cpu")
    norm = next(module for module in landmarker.modules() if isinstance(module, nn.BatchNorm2d)).eval()
    train(landmarker, passes, [4] * 5, "cpu")
    norm.train()
    next(landmarker.parameters()).requires_grad_(False)
    train(landmarker, passes, [4] * 5, "cpu")
    assert [each.passes for each in made] == [2, 2, 2]
    with torch.no_grad():
        passes(batch(4, 0)[0])
    assert sum(each.passes for each in made) == 6


def test_what_cannot_be_recorded_trains_as_ever(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(*_: object) -> CudaRecording:
        landmarker(batch(4, 99)[0])
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    plain, landmarker = light(), light()
    expected = train(plain, plain, [4] * 6, "cpu")
    passes = Passes(landmarker, refuse)
    assert train(landmarker, passes, [4] * 6, "cpu") == expected
    assert not passes.recorded
    (said,) = caplog.messages
    assert "Integral's training passes cannot be recorded" in said
    assert said.endswith("operation not permitted when stream is capturing")


@CUDA
@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize("name", names("landmarker"))
def test_a_cuda_graph_computes_what_its_landmarker_does(name: str, precision: str) -> None:
    """On other images, and with other weights, than those that it was recorded with."""
    landmarker = light(name).cuda()
    passes = Passes(landmarker)
    with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
        train(landmarker, passes, [4] * 6, "cuda")
        assert passes.recorded
        images, target = batch(4, 10, "cuda")
        found = []
        for forward in (landmarker, passes):
            landmarker.zero_grad()
            loss = landmarker.loss(forward(images), target)
            loss.backward()  # type: ignore[no-untyped-call]
            slopes = [p.grad.flatten() for p in landmarker.parameters() if p.grad is not None]
            found.append((float(loss.detach()), torch.cat(slopes)))
    (loss, slope), (replayed, again) = found
    assert replayed == pytest.approx(loss, rel=1e-4 if precision == "32" else 1e-2)
    assert torch.cosine_similarity(slope, again, dim=0) > (0.999 if precision == "32" else 0.9)
