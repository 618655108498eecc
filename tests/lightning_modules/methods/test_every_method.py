"""What holds for every method: it trains in either precision, lowers its loss, resumes exactly, refuses bad options."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from torch.nn.utils import get_total_norm

from datamodules.augmentation import Augmentation
from lightning_modules.augment.exaggeration import Exaggeration
from lightning_modules.augment.stylization import Stylization
from lightning_modules.methods import (
    BDL,
    FDA,
    AdaptSegNet,
    CycleGAN,
    FaceMethod,
    FaceWarping,
    RevGrad,
    SelfTraining,
    Stylize,
    Supervised,
)
from lightning_modules.methods.bdl import Rounds
from lightning_modules.translation import PatchDiscriminator, ResNetGenerator, Translator
from lightning_modules.warping import LearnedField, WarperObjective
from tests.lightning_modules.methods.running import Watch, fit, setting, weights, whole_and_resumed
from tests.lightning_modules.methods.small import TwoStages

Make = Callable[..., FaceMethod]
MAPS: dict[str, Any] = {"map_size": 32, "sigma": 1.0, "width": 4}
ROUNDS = Rounds(count=1, translation=2, adaptation=1, self_training=2, renew=2)


def translator() -> Translator:
    return Translator(ResNetGenerator(4, 1), PatchDiscriminator(4, 2))


def face_warping(**options: Any) -> FaceWarping:
    given = {"warper_epochs": 1, "proximal_epochs": 1, "exaggeration": Exaggeration(), "mirror_average": True}
    return FaceWarping(TwoStages(), **{**given, "schedule": "cosine", "gradient_clip_norm": 1.0, **options})


def with_gamma(**options: Any) -> FaceWarping:
    return face_warping(warper=WarperObjective(learned=LearnedField(hidden=8)), **options)


METHODS: dict[str, Make] = {
    "supervised": lambda **o: Supervised(TwoStages(), **o),
    "face_warping": face_warping,
    "face_warping, joint": lambda **o: face_warping(optimization="joint", **o),
    "face_warping, γ": with_gamma,
    "adaptsegnet": lambda **o: AdaptSegNet(TwoStages(), **{**MAPS, **o}),
    "revgrad": lambda **o: RevGrad(TwoStages(), **{"width": 8, **o}),
    "stylize": lambda **o: Stylize(TwoStages(), Stylization(), **o),
    "self_training": lambda **o: SelfTraining(TwoStages(), stylization=Stylization(), **o),
    "fda": lambda **o: FDA(TwoStages(), **o),
    "cyclegan": lambda **o: CycleGAN(TwoStages(), translator(), **o),
    "bdl": lambda **o: BDL(TwoStages(), translator(), **{"rounds": ROUNDS, "pool_size": 3, **MAPS, **o}),
}
"""With a landmarker that has two stages and a feature map."""
DEVICES = ["cpu", pytest.param("gpu", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("method", METHODS)
def test_every_phase_moves_the_landmarker(method: str, precision: str, device: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained = METHODS[method]()
    seen = Watch(lambda m: (m.phase, weights(m.landmarker).cpu(), dict(m.trainer.callback_metrics)))
    fit(trained, tmp_path, 4, seen, precision=precision, accelerator=device)
    for phase in {phase for phase, *_ in seen.seen} - {"translation"}:
        first, *_, last = (landmarker for name, landmarker, _ in seen.seen if name == phase)
        assert not torch.equal(first, last), phase
        assert last.isfinite().all()
        assert last.dtype == torch.float32
    assert all(value.isfinite() for *_, metrics in seen.seen for value in metrics.values())


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")  # that is what resuming means
@pytest.mark.parametrize(
    ("method", "cut"), [*((name, 2) for name in METHODS), ("face_warping", 1), ("fda", 1), ("bdl", 1), ("bdl", 3)]
)
def test_a_resumed_run_ends_where_a_whole_one_does(method: str, cut: int, tmp_path: Path) -> None:
    """Cut in its phases and between them: pools, pseudo landmarks, teachers and γ come back."""
    whole, resumed = whole_and_resumed(METHODS[method], tmp_path, 4, cut)
    assert torch.equal(weights(whole), weights(resumed))
    assert whole.scores == resumed.scores


@pytest.mark.parametrize("method", [name for name in METHODS if name != "supervised"])
def test_the_landmarkers_gradient_is_clipped(method: str, tmp_path: Path) -> None:
    """In all phases; and each of several landmarkers by itself. A step leaves the gradient that it took."""
    phases: dict[str, Any] = {"bdl": {"rounds": Rounds(1, 0, 1, 1, 1)}, "fda": {"band_share": 1.0}}
    trained = METHODS[method](gradient_clip_norm=1e-3, **phases.get(method, {}))
    networks = [trained.trained, *getattr(trained, "others", [])]
    norms = Watch(lambda m: [get_total_norm(grads) for n in networks if (grads := _gradients(n))])
    fit(trained, tmp_path, 2, norms)
    found = [float(norm) for step in norms.seen for norm in step]
    assert found
    assert found == pytest.approx([1e-3] * len(found), rel=1e-3)


def _gradients(network: torch.nn.Module) -> list[torch.Tensor]:
    return [p.grad for p in network.parameters() if p.grad is not None]


@pytest.mark.parametrize("method", ["self_training", "fda"])
def test_copies_start_where_the_landmarker_starts(method: str, tmp_path: Path) -> None:
    trained = METHODS[method](learning_rate=0.0)
    with torch.no_grad():
        trained.landmarker.conv.weight.add_(1.0)  # a start that was loaded after the method was built
    before = weights(trained.landmarker)
    fit(trained, tmp_path, 1)
    for copy in [trained.other] if method == "self_training" else trained.others:
        torch.testing.assert_close(weights(copy), before)


STILL = Augmentation(
    flip=0.0, rotation=0.0, scale=(1.0, 1.0), translation=0.0, occlusion=0.0, colour=0.0, grey=0.0, blur=0.0
)


@pytest.mark.parametrize("method", ["supervised", "stylize", "self_training", "fda"])
def test_it_lowers_its_loss(method: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"fda": {"band_share": 1.0, "bands": (0.05, 0.2)}}.get(method, {})
    losses = Watch(lambda m: float(m.trainer.callback_metrics["train/bands_loss" if method == "fda" else "train/loss"]))
    torch.manual_seed(0)
    fit(METHODS[method](learning_rate=3e-3, **options), tmp_path, 20, losses, data=setting(augmentation=STILL))
    assert sum(losses.seen[-8:]) < 0.7 * sum(losses.seen[:8])


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("face_warping", {"warper_epochs": 0, "proximal_epochs": 0}),
        ("face_warping", {"warper_epochs": -1}),
        ("face_warping", {"exaggerated_share": 1.5}),
        ("stylize", {"return_to_start": -0.1}),
        ("self_training", {"ema_decay": 2.0}),
        ("self_training", {"ramp_up": -1.0}),
        ("self_training", {"tolerance": 0.0}),
        ("fda", {"bands": []}),
        ("fda", {"bands": [0.7]}),
        ("fda", {"band_share": 1.5}),
        ("fda", {"keep": 0.0}),
        ("cyclegan", {"translated_share": 1.5}),
        ("bdl", {"translated_share": -1}),
        ("adaptsegnet", {"map_size": 31}),
    ],
)
def test_options_out_of_range_are_named(method: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(options))}.*expected"):
        METHODS[method](**options)


def test_yaml_chooses_every_part() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(FaceMethod, "model")
    stylization = {"exaggeration": {"part_scale": 0.2}, "share": 0.25, "look": {"ink": 0.4, "pencil": 0.0}}
    options = {
        "landmarker": {"class_path": "tests.lightning_modules.methods.small.LinearLandmarker"},
        "view": {"class_path": "lightning_modules.augment.strong_view.StrongView", "init_args": {"bend": 0.1}},
        "stylization": stylization,
        "learning_rate": 1e-4,
        "schedule": "constant",
    }
    given = {"model": {"class_path": "lightning_modules.methods.SelfTraining", "init_args": options}}
    method = parser.instantiate_classes(parser.parse_object(given)).model
    assert isinstance(method, SelfTraining)
    assert (method.view.bend, method.learning_rate, method.schedule) == (0.1, 1e-4, "constant")
    how = method.stylization
    assert how is not None and how.exaggeration is not None and how.look is not None  # noqa: PT018
    assert (how.exaggeration.part_scale, how.share, how.look.ink) == (0.2, 0.25, 0.4)
