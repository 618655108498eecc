"""``PROFILE=paper`` is the published program: the composed configuration, item by item; and it runs, and resumes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.transforms import Normal
from experiments.artifacts import Pretraining
from experiments.artifacts.pretrained import Start
from experiments.catalogue import CONFIGS
from experiments.checkpoints import load_landmarker, shipped_spec
from experiments.cli import WarpmarkCLI
from experiments.compose import Choices
from lightning_modules.landmarkers import SLPT
from lightning_modules.landmarkers.inference import Inference
from lightning_modules.methods import FaceWarping, Supervised
from lightning_modules.warping import GradientMSE, InOrder
from tests.experiments.helpers import RESUMING, TINY, differences, learned, metrics, run, write_config
from tests.experiments.processes.killing import run_and_kill
from tests.experiments.processes.two_processes import run_on_two_processes

OFFLINE = {"model.init_args.landmarker.init_args.pretrained": False, "trainer.accelerator": "cpu"}
"""Without asking timm's hub, which ``pretrained: true`` does."""


def composed(*config: str, **overrides: Any) -> WarpmarkCLI:
    chosen = Choices("gzsl_artiface", profile="paper", config=config, overrides=OFFLINE | overrides)
    return WarpmarkCLI(chosen.arguments(), run=False)


@pytest.fixture(scope="module")
def paper() -> WarpmarkCLI:
    return composed()


@pytest.fixture(scope="module")
def method(paper: WarpmarkCLI) -> FaceWarping:
    assert isinstance(paper.method, FaceWarping)
    return paper.method


class TestTheStart:
    def test_adam_with_two_steps_over_120_epochs(self, paper: WarpmarkCLI) -> None:
        how = paper.options.pretraining
        assert isinstance(how, Pretraining)
        assert (how.max_epochs, how.learning_rate, list(how.milestones)) == (120, 1e-3, [80, 100])
        assert (how.weight_decay, how.gradient_clip_norm, how.batch_size) == (0.0, None, None)

    def test_the_learning_rate_that_follows(self, paper: WarpmarkCLI) -> None:
        """Read off the optimizer of the pretraining that the composed options make, epoch by epoch."""
        start = Start(paper.method, paper.data, paper.options.pretraining, paper.landmarker_config)
        assert start.learning().cuda_graphs, "its passes are recorded as the method's are"
        made = start.learning().configure_optimizers()
        optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
        assert made["lr_scheduler"]["interval"] == "epoch"
        rates = []
        for _ in range(120):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        assert rates == pytest.approx([1e-3] * 80 + [1e-4] * 20 + [1e-5] * 20)

    def test_imagenet_hrnet_w18(self) -> None:
        """As the command line has it, before anything is asked for."""
        arguments = shipped_spec("slpt", "paper")["init_args"]
        assert (arguments["backbone"], arguments["pretrained"]) == ("hrnet_w18", True)

    def test_labels_alone_are_learned_so_too(self) -> None:
        """``SETTING=oracle``, whose method needs no start."""
        overrides = OFFLINE | {"trainer.accelerator": "cpu"}
        for profile, milestones, longest in (("paper", [80, 100], None), ("quick", [], 1.0)):
            chosen = Choices("oracle", profile=profile, overrides=overrides)
            cli = WarpmarkCLI(chosen.arguments(), run=False)
            assert isinstance(cli.method, Supervised)
            assert (cli.method.milestones, cli.method.learning_rate, cli.method.weight_decay) == (milestones, 1e-3, 0.0)
            assert cli.trainer.gradient_clip_val == longest
        changed = {"pretraining.weight_decay": 0.1, "pretraining.milestones": [3], **overrides}
        method = WarpmarkCLI(Choices("oracle", overrides=changed).arguments(), run=False).method
        assert isinstance(method, Supervised)
        assert (method.milestones, method.weight_decay) == ([3], 0.1)


class TestTheLandmarker:
    def test_slpt_at_256_pixels(self, method: FaceWarping) -> None:
        landmarker = method.landmarker
        assert isinstance(landmarker, SLPT)
        assert landmarker.image_size == 256
        assert list(landmarker.stage_weights) == [0.2, 0.3, 0.5]
        # The published network's 13,195,394 parameters but for a layer norm that it never applies (golden/slpt.json).
        assert 13.0e6 < sum(p.numel() for p in landmarker.parameters()) < 13.4e6

    def test_images_are_normalised_with_one_half(self, method: FaceWarping) -> None:
        landmarker = method.landmarker
        assert isinstance(landmarker, SLPT)
        assert landmarker.image_mean.flatten().tolist() == landmarker.image_std.flatten().tolist() == [0.5] * 3
        assert torch.equal(landmarker.state_dict()["image_mean"], landmarker.image_mean)


class TestTheCrops:
    def test_batch_4_and_annotated_boxes(self, paper: WarpmarkCLI) -> None:
        assert paper.data.batch_size == 4
        assert paper.data.oracle_box

    def test_augmentation(self, paper: WarpmarkCLI) -> None:
        how = paper.data.augmentation
        assert how.crop_factor == Normal(1.2, 0.05, 1.0)
        assert how.rotation == Normal(0.0, 15.0, 2.0)
        assert how.translation == Normal(0.0, 0.05, 1.0)
        assert (how.flip, how.grey, how.occlusion) == (0.5, 0.2, 0.5)
        assert how.occluder == Normal(0.2, 0.08, 2.5)
        assert (how.colour, how.blur) == (0.0, 0.0)


class TestThePhases:
    def test_five_epochs_each_300_in_all(self, paper: WarpmarkCLI, method: FaceWarping) -> None:
        assert paper.trainer.max_epochs == 300
        assert paper.trainer.reload_dataloaders_every_n_epochs == 1
        phases = [method.phase_of(epoch) for epoch in range(300)]
        assert phases == (["warper"] * 5 + ["proximal"] * 5) * 30
        # Pseudo landmarks: anew whenever a warper phase has ended.
        assert [method.pseudo_cycle_of(epoch) for epoch in range(20)] == [None] * 5 + [0] * 5 + [None] * 5 + [1] * 5

    def test_adam_at_constant_rates(self, method: FaceWarping) -> None:
        warper, proximal = method.configure_optimizers()
        assert type(warper) is type(proximal) is torch.optim.Adam
        assert (warper.param_groups[0]["lr"], proximal.param_groups[0]["lr"]) == (1e-4, 1e-3)
        assert (warper.param_groups[0]["weight_decay"], proximal.param_groups[0]["weight_decay"]) == (0, 0)
        assert (method.schedule, method.gradient_clip_norm, method.return_to_start) == ("constant", None, 0.0)

    def test_the_warper_phase(self, method: FaceWarping) -> None:
        assert method.warper_plain
        assert method.warper_frontal
        assert not method.freeze_batch_norm
        assert (method.image_weight, method.landmark_weight, method.anchor_weight) == (1.0, 0.0, 0.0)
        warper = method.warper
        assert not warper.gradient_through_warp
        assert isinstance(warper.image_loss, GradientMSE)
        assert isinstance(warper.pairing, InOrder)

    def test_the_proximal_phase(self, method: FaceWarping) -> None:
        assert method.mixed
        assert method.target_boxes
        assert method.stylization is None
        assert (method.pseudo_weight, method.pseudo.keep, method.pseudo.how) == (1.0, 1.0, Inference())


def test_the_literal_equations_can_be_laid_over_it(method: FaceWarping) -> None:
    literal = composed(str(CONFIGS / "literal_equations.yaml")).method
    assert isinstance(literal, FaceWarping)
    assert literal.warper.gradient_through_warp
    assert literal.landmark_weight == 1.0
    same = ("warper_plain", "warper_frontal", "mixed", "target_boxes", "warper_learning_rate", "image_weight")
    assert [getattr(literal, name) for name in same] == [getattr(method, name) for name in same]
    assert type(literal.warper.image_loss) is type(method.warper.image_loss)


RUN = Path("gzsl_artiface/face_warping-slpt/seed0")
FEW = {
    "trainer": {"max_epochs": 4},
    "pretraining": {"max_epochs": 2, "milestones": [1]},
    "data": {"batch_size": 2, "num_workers": 0},
    "model": {"init_args": {"warper_epochs": 1, "proximal_epochs": 1}},
}
"""Eight drawn photos and six caricatures: warper epochs of a step or more, proximal ones of seven."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("paper")


@pytest.fixture(scope="module")
def command(folder: Path) -> list[str]:
    return ["train", "--profile=paper", write_config(folder / "tiny.yaml", TINY, FEW)]


@pytest.fixture(scope="module")
def whole(folder: Path, command: list[str]) -> Path:
    run(*command, f"--paths.runs={folder}/whole")
    return folder / "whole" / RUN


class TestRuns:
    pytestmark = RESUMING

    def test_it_runs_on_drawn_faces(self, whole: Path) -> None:
        assert metrics(whole)["profile"] == "paper"
        last = whole / "checkpoints/last.ckpt"
        assert learned(last)["pseudo_landmarks"]["landmarks"].shape == (6, 68, 2)
        landmarker = load_landmarker(last)
        assert isinstance(landmarker, SLPT)
        assert landmarker.image_mean.flatten().tolist() == landmarker.image_std.flatten().tolist() == [0.5] * 3

    @pytest.mark.parametrize(("epoch", "batch"), [(1, 3), (3, 5)])
    def test_killed_amid_a_proximal_epoch_it_ends_the_same(
        self, tmp_path: Path, whole: Path, command: list[str], epoch: int, batch: int
    ) -> None:
        run_and_kill([*command, f"--paths.runs={tmp_path}"], FaceWarping, epoch, batch)
        run(*command, f"--paths.runs={tmp_path}", "--resume")
        last = "checkpoints/last.ckpt"
        assert list(differences(learned(tmp_path / RUN / last), learned(whole / last))) == []
        assert metrics(tmp_path / RUN) == metrics(whole)


@pytest.mark.slow
def test_two_processes_share_pseudo_landmarks_and_weights(tmp_path: Path) -> None:
    """Also where loader processes draw a proximal epoch's first batches, and so ask for boxes, before it begins."""
    two = {"trainer": {"strategy": "ddp", "max_epochs": 3, "enable_progress_bar": False}, "data": {"num_workers": 1}}
    config = write_config(tmp_path / "tiny.yaml", TINY, FEW, two)
    report = "--trainer.callbacks+=tests.experiments.processes.ranks.RankReport"
    run_on_two_processes(["train", "--profile=paper", config, f"--paths.runs={tmp_path}/runs", report])
    first, second = (json.loads((tmp_path / f"runs/{RUN}/ranks/{rank}.json").read_text()) for rank in (0, 1))
    assert first["pseudo_faces"] == 6
    for name in ("pseudo", "weights", "optimizers"):
        assert first[name] == second[name], name
