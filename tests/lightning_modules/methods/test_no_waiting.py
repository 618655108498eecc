"""No method's training step makes the host wait for the device: seen on a CPU by what a step asks torch for."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_modules.methods import Supervised
from tests.lightning_modules.landmarkers.test_contract import KINDS, light
from tests.lightning_modules.methods.running import fit, setting
from tests.lightning_modules.methods.test_every_method import METHODS

WAITS = ("_local_scalar_dense", "item", "is_nonzero", "equal")
"""Operations that give the host a value of a tensor's."""
SHAPED_BY_VALUES = ("nonzero", "nonzero_static", "masked_select", "_unique2", "unique_dim", "unique_consecutive")
"""Operations whose result has as many elements as the values say: the host has to be told how many."""
COPIES = ("lift_fresh", "lift_fresh_copy")
"""What ``torch.tensor``, ``new_tensor`` and an index given as a list come to: copies from the host, waited for but in
``lightning_modules/devices.py``, which sends them."""


class NoWaiting(TorchDispatchMode):
    """Notes every operation for which a GPU's queue would run empty."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        indices = args[1] if name in ("index", "index_put", "index_put_", "_index_put_impl_") else ()
        masked = any(isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in indices)
        if name in (*WAITS, *SHAPED_BY_VALUES, *COPIES) or masked:
            stack = traceback.extract_stack()
            ours = [f for f in stack if "/lightning_modules/" in f.filename and "/tests/" not in f.filename]
            where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "outside"
            if not where.startswith("devices.py") and not any(_of_the_host(frame) for frame in stack):
                self.found.append(f"{name}{' with a mask' if masked else ''}, {where}")
        return func(*args, **(kwargs or {}))


def _of_the_host(frame: traceback.FrameSummary) -> bool:
    """Whether kornia looks there at numbers that are on the CPU wherever the images are: a sigma, its own draws."""
    return "/kornia/augmentation/" in frame.filename or frame.name == "gaussian_blur2d"


def watched(method: Any, seen: dict[str, list[str]], guard: Callable[[], Any]) -> None:
    """Have a method's steps watched from each phase's second on: what is made once and kept is made in the first."""
    step = method.training_step
    begun: set[str] = set()

    def training_step(batch: Any, batch_idx: int) -> Any:
        if method.phase not in begun:
            begun.add(method.phase)
            return step(batch, batch_idx)
        with guard() as watch:
            result = step(batch, batch_idx)
        seen.setdefault(method.phase, []).extend(getattr(watch, "found", []))
        return result

    method.training_step = training_step


@pytest.mark.parametrize("method", METHODS)
def test_no_method_waits(method: str, tmp_path: Path) -> None:
    """Every phase, the optimizers' steps included where the method makes them itself."""
    trained, seen = METHODS[method](), {}
    watched(trained, seen, NoWaiting)
    fit(trained, tmp_path, 4)
    assert seen
    assert {phase: sorted(set(found)) for phase, found in seen.items()} == {phase: [] for phase in seen}


@pytest.mark.parametrize("name", KINDS)
def test_no_landmarker_waits(name: str) -> None:
    """Forward, loss and backward."""
    landmarker = light(name).train()
    size = landmarker.image_size
    images, target = torch.rand(2, 3, size, size), 0.3 + 0.4 * torch.rand(2, 68, 2)
    landmarker.loss(landmarker(images), target).backward()
    with NoWaiting() as watch:
        landmarker.loss(landmarker(images), target).backward()
    assert sorted(set(watch.found)) == []


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: float(x.sum()),
        lambda x: x[x > 0],
        lambda x: x[[0, 1]],
        lambda x: x.new_tensor([1.0, 2.0]),
        lambda x: x.nonzero(),
        lambda x: bool((x > 0).any()),
    ],
)
def test_waiting_is_seen(wait: Callable[[Tensor], Any]) -> None:
    with NoWaiting() as watch:
        wait(torch.arange(4.0))
    assert watch.found


class _ErrorOnWaiting:
    def __enter__(self) -> None:
        torch.cuda.set_sync_debug_mode("error")

    def __exit__(self, *args: object) -> None:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("method", METHODS)
def test_no_method_waits_for_a_gpu(method: str, tmp_path: Path) -> None:
    """CUDA's own word for it."""
    trained, seen = METHODS[method](), {}
    watched(trained, seen, _ErrorOnWaiting)
    fit(trained, tmp_path, 4, accelerator="gpu", devices=1)
    assert seen


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", KINDS)
def test_no_landmarker_waits_for_a_gpu(name: str, tmp_path: Path) -> None:
    landmarker = light(name)
    landmarker.image_size = 64
    trained, seen = Supervised(landmarker), {}
    watched(trained, seen, _ErrorOnWaiting)
    data = setting()
    data.image_size = 64
    fit(trained, tmp_path, 2, data=data, accelerator="gpu", devices=1)
    assert seen
