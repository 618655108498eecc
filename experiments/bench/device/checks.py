"""Whether all is right on a device: the spline, every landmarker, every method, resuming; and who waits for it."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from typing_extensions import override

from callbacks.exact_resume import ExactResume
from experiments.bench.device.findings import Finding
from experiments.bench.our_loop import bare_trainer
from experiments.catalogue import names
from experiments.checkpoints import build_landmarker, shipped_spec
from experiments.cli import WarpmarkCLI
from experiments.compose import Choices
from lightning_modules.warping import PolyharmonicSpline
from lightning_modules.warping.fields.base import NODES

_WAITS = "called a synchronizing CUDA operation"
"""torch's warning, in its debug mode, where the host waits."""
_FIELD_PIXELS = 0.01
"""How far, in pixels of a 256-pixel crop, a field may be from the CPU's in float64."""


def spline_findings(device: torch.device) -> Iterator[Finding]:
    """The spline in float64, float32 and under autocast, and its gradient, beside the CPU's in float64."""
    generator = torch.Generator().manual_seed(0)
    source = 0.2 + 0.6 * torch.rand(2, 68, 2, generator=generator, dtype=torch.float64)
    target = source + 0.02 * torch.randn(2, 68, 2, generator=generator, dtype=torch.float64)
    expected, slope = _field(source, target, None)
    for name, dtype, autocast in (
        ("float64", torch.float64, False),
        ("float32", torch.float32, False),
        ("float32 under bf16 autocast", torch.float32, True),
    ):
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            field, gradient = _field(source.to(device, dtype), target.to(device, dtype), None)
        apart = 256 * float((field.cpu().double() - expected).abs().max())
        turned = float((gradient.cpu().double() - slope).norm() / slope.norm())
        value = f"{apart:.2g} px at most; gradient off by {turned:.2g} of its length"
        yield Finding(f"spline, {name}, against the CPU's in float64", value, apart < _FIELD_PIXELS and turned < 0.01)
    coarse, _ = _field(source.to(device), target.to(device), NODES)
    apart = 256 * float((coarse.cpu() - expected).abs().mean())
    yield Finding(f"spline on {NODES}×{NODES} nodes, against every pixel", f"{apart:.2g} px on average", apart < 0.1)


def _field(source: Tensor, target: Tensor, coarse: int | None) -> tuple[Tensor, Tensor]:
    source = source.detach().requires_grad_()
    field = PolyharmonicSpline.fit(source, target).grid(256, coarse)
    return field.detach(), torch.autograd.grad(field.square().mean(), source)[0]


def landmarker_findings(device: torch.device) -> Iterator[Finding]:
    """A forward and backward pass of every landmarker's light form in bf16, beside its loss in float32."""
    for name in names("landmarker"):
        spec = shipped_spec(name, "quick")
        spec["init_args"] |= {"pretrained": False} if "pretrained" in spec["init_args"] else {}
        torch.manual_seed(0)
        landmarker = build_landmarker(spec).to(device).train()
        images = torch.rand(4, 3, landmarker.image_size, landmarker.image_size, device=device)
        target = 0.2 + 0.6 * torch.rand(4, 68, 2, device=device)
        torch.manual_seed(1)  # for dropout
        exact = float(landmarker.loss(landmarker(images), target).detach())
        torch.manual_seed(1)
        with torch.autocast(device.type, torch.bfloat16):
            loss = landmarker.loss(landmarker(images), target)
        loss.backward()  # type: ignore[no-untyped-call]
        slopes = [p.grad for p in landmarker.parameters() if p.grad is not None]
        finite = bool(torch.stack([slope.isfinite().all() for slope in slopes]).all())
        off = abs(float(loss.detach()) / exact - 1)
        value = f"loss {100 * off:.2f} % from float32's; gradient {'finite' if finite else 'NOT finite'}"
        yield Finding(f"landmarker {name}, a step in bf16", value, finite and off < 0.05)


class SyncWatch(Callback):
    """Lets torch warn, within training steps from the second on, wherever the host waits for the GPU."""

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if torch.cuda.is_available() and batch_idx > 0:
            torch.cuda.set_sync_debug_mode("warn")

    @override
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.set_sync_debug_mode("default")


_DRAWN = "datamodules.datasets.SyntheticDataModule"


def tiny_run(method: str, device: torch.device, folder: Path, precision: str) -> WarpmarkCLI:
    """A run of a method on a few drawn faces with a light landmarker, composed as by ``train``."""
    spec = shipped_spec("integral", "quick")
    spec["init_args"] |= {"pretrained": False, "image_size": 64}

    def drawn(style: str) -> dict[str, Any]:
        return {"class_path": _DRAWN, "init_args": {"style": style, "train_count": 16, "test_count": 2, "size": 64}}

    layer = {
        "trainer": {"accelerator": device.type, "precision": precision, "callbacks": [], "logger": False},
        "paths": {"runs": str(folder)},
        "data": {
            "batch_size": 4,
            "source": [drawn("photo")],
            "target": [drawn("caricature")],
            "tests": [],
            # Starting loader processes would take longer than these steps.
            "num_workers": 0,
        },
    }
    config: list[dict[str, Any]] = [layer, {"model": {"init_args": {"landmarker": spec}}}]
    return WarpmarkCLI(Choices("da_cariface", method, "integral", config=config).arguments(), run=False)


def method_findings(device: torch.device, folder: Path) -> Iterator[Finding]:
    """An epoch of every method in bf16; and where, in its steps, the host waits for the GPU."""
    for name in names("method"):
        cli = tiny_run(name, device, folder, "bf16-mixed")
        method = cli.method
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            bare_trainer(cli, max_epochs=2, callbacks=[ExactResume(), SyncWatch()]).fit(method, datamodule=cli.data)
        finite = all(bool(p.isfinite().all()) for p in method.parameters())
        yield Finding(f"method {name}, two epochs in bf16", "finite" if finite else "NOT finite", finite)
        places = [f"{Path(w.filename).name}:{w.lineno}" for w in said if _WAITS in str(w.message)]
        where = ", ".join(f"{place} ({places.count(place)})" for place in sorted(set(places)))
        if device.type == "cuda":
            yield Finding(f"method {name}, where the host waits in a step", where or "nowhere", not places)


def resume_findings(device: torch.device, folder: Path) -> Iterator[Finding]:
    """Whether a run that goes on from its first epoch's checkpoint ends with the weights of one that never stopped."""
    for precision in ("32-true", "bf16-mixed"):
        place = folder / precision
        ends = []
        for resumed in (None, place / "epoch=0.ckpt"):
            cli = tiny_run("face_warping", device, folder, precision)
            saving = [] if resumed else [ModelCheckpoint(place, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)]
            trainer = bare_trainer(
                cli, max_epochs=2, callbacks=[ExactResume(), *saving], enable_checkpointing=not resumed
            )
            trainer.fit(cli.method, datamodule=cli.data, ckpt_path=resumed, weights_only=True)
            ends.append({name: value.cpu() for name, value in cli.method.landmarker.state_dict().items()})
        apart = max(float((ends[0][name].double() - ends[1][name].double()).abs().max()) for name in ends[0])
        yield Finding(
            f"resumed run, {precision}", "bit for bit" if apart == 0 else f"weights {apart:.2g} apart", apart < 1e-3
        )
