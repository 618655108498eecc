"""A model card's figures: what is measured, how sure it is, and that a card is written from them."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from datamodules import loading
from datamodules.datasets import FolderDataModule
from experiments import card
from experiments.card import (
    drawn_figures,
    figure,
    new_card,
    read_figures,
    section,
    with_section,
    write_figures,
)
from experiments.errors import UsageError
from experiments.scoring import score
from lightning_modules.landmarkers import SLPT, Landmarker, LandmarkerOutput
from lightning_modules.landmarkers.reference_shape import MEAN_FACE
from lightning_modules.weights import Provenance, pack
from tests.conftest import TINY_LANDMARKER
from tests.experiments.helpers import refused, run
from tests.layouts import write_artiface, write_cariface, write_folder, write_w300

ORIGIN = Provenance("make toy", "2 photos", "source ab12 (2 faces)", "warpmark 0", "for research use only")


class InTheMiddle(Landmarker):
    """Finds the mean face in the middle of every crop."""

    image_size = 32

    def forward(self, images: Tensor) -> LandmarkerOutput:
        return LandmarkerOutput(stages=torch.tensor(MEAN_FACE).float().expand(len(images), 1, 68, 2))

    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        raise NotImplementedError


def test_the_figures_are_those_of_evaluate_and_a_loose_box_is_worse_for_one_that_looks_at_its_middle(
    tmp_path: Path,
) -> None:
    faces = FolderDataModule(str(write_folder(tmp_path / "faces", 5)), name="own").test_faces()
    found = figure(InTheMiddle(), loading.TestSet(faces, faces.subsets()))
    scores = score(InTheMiddle(), [loading.TestSet(faces, faces.subsets())])
    assert found.nme == pytest.approx(scores.subsets["own"]["nme"], abs=1e-4)
    assert found.fr8 == pytest.approx(scores.subsets["own"]["fr@8"], abs=1e-4)
    assert (17 * found.jaw + 51 * found.inner) / 68 == pytest.approx(found.nme)
    assert found.n == 5
    assert found.interval[0] <= found.nme <= found.interval[1]
    assert found.loose_box > found.nme + 5
    assert figure(InTheMiddle(), loading.TestSet(faces, faces.subsets())) == found, "drawn from fixed seeds"


def test_figures_are_kept_to_five_decimals(tmp_path: Path) -> None:
    faces = FolderDataModule(str(write_folder(tmp_path / "faces", 2))).test_faces()
    figures = card.Figures(
        {"two faces": figure(InTheMiddle(), loading.TestSet(faces, faces.subsets()))}, drawn_figures(InTheMiddle())
    )
    write_figures(figures, tmp_path / "figures.json")
    read = read_figures(tmp_path / "figures.json")
    assert read.sets["two faces"].interval == pytest.approx(figures.sets["two faces"].interval, abs=1e-5)
    assert read.drawn.nme == pytest.approx(figures.drawn.nme, abs=1e-5)
    write_figures(read, tmp_path / "again.json")
    assert read_figures(tmp_path / "again.json") == read
    for content in ("", "[]", '{"sets": {"a": {}}, "drawn": {}}'):
        (tmp_path / "figures.json").write_text(content)
        with pytest.raises(UsageError, match=r"figures\.json: no figures of a model card .*make card"):
            read_figures(tmp_path / "figures.json")


def test_a_card_keeps_what_a_person_wrote(tmp_path: Path) -> None:
    begun = with_section(new_card("toy"), "figures", tmp_path).replace("# toy\n", "# toy\n\nBy hand.\n") + "\nAfter.\n"
    again = with_section(begun, "new ones", tmp_path)
    assert again == begun.replace("figures\n\n<!--", "new ones\n\n<!--")
    assert "By hand." in again
    with pytest.raises(UsageError, match="between which the figures go"):
        with_section("# A card without a place\n", "figures", tmp_path)


def test_the_command_writes_figures_and_card_beside_the_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_w300(tmp_path / "data/300W", {"afw": 1, "helen/testset": 2, "lfpw/testset": 1})
    write_cariface(tmp_path / "data/CariFace_dataset")
    write_artiface(tmp_path / "data/AF_dataset")
    arguments = dict(TINY_LANDMARKER)
    landmarker = SLPT(**arguments)  # type: ignore[arg-type]
    spec = {"class_path": "lightning_modules.landmarkers.SLPT", "init_args": arguments}
    weights = tmp_path / "toy.safetensors"
    weights.write_bytes(pack("toy", spec, landmarker.state_dict(), ORIGIN))
    (tmp_path / "toy.md").write_text("no place for figures")
    command = ["card", f"--weights={weights}", f"--data={tmp_path}/data"]
    assert "between which the figures go" in refused(capsys, *command)
    (tmp_path / "toy.md").unlink()
    run(*command)
    figures, text = read_figures(tmp_path / "toy.json"), (tmp_path / "toy.md").read_text()
    assert {name: one.n for name, one in figures.sets.items()}["300W common"] == 3
    assert list(figures.sets) == ["300W common", "caricatures", "ArtiFace"]
    assert text == with_section(new_card("toy"), section(figures, ORIGIN, landmarker, weights.stat().st_size), weights)
    assert "- terms: for research use only" in text
    assert f"| {figures.sets['ArtiFace'].nme:.2f} |" in text.replace("  ", " ")
    shutil.rmtree(tmp_path / "data/AF_dataset")
    assert f"{tmp_path}/data/AF_dataset: found no such folder" in refused(capsys, *command)
    for part in ("helen", "lfpw"):
        shutil.rmtree(tmp_path / "data/300W" / part)
    assert f"{tmp_path}/data/300W: found no image but afw/" in refused(capsys, *command)
    torch.save({"state_dict": {}, "landmarker": spec}, tmp_path / "run.ckpt")
    assert "expected packed weights" in refused(capsys, "card", f"--weights={tmp_path}/run.ckpt", f"--data={tmp_path}")
