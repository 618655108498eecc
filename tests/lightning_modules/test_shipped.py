"""The weights that ship: that they are what their cards say, by name, and that runs start from them.

After new weights (see their card for the command), ``make card DATA=../shared/data/paper`` writes all figures that are
compared here, those on drawn faces too.
"""

import importlib.util
import json
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from experiments.card import Figure, drawn_figures, figure, read_figures, section, with_section
from experiments.checkpoints import DEFAULT_WEIGHTS, fastest, load_fastest, load_landmarker, read_checkpoint
from experiments.commands.export import drawn_batches
from experiments.commands.pack import MOST_BYTES
from experiments.errors import CheckpointError
from experiments.published_sets import columns
from lightning_modules.landmarkers import ExportedLandmarker, Integral
from lightning_modules.landmarkers.onnx.check import largest_difference, random_crops
from lightning_modules.weights import shipped
from tests.experiments.helpers import TINY, metrics, refused, run, write_config
from tests.layouts import write_folder

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
NAMES = sorted(shipped())


def test_the_default_is_shipped() -> None:
    assert DEFAULT_WEIGHTS in NAMES


def test_the_fastest_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = shipped()[DEFAULT_WEIGHTS].with_suffix(".onnx")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert fastest() == fastest(DEFAULT_WEIGHTS) == file
    assert isinstance(load_fastest(), ExportedLandmarker)
    assert fastest("runs/a/last.ckpt") == "runs/a/last.ckpt"
    assert fastest("warpmark_lite") == "warpmark_lite", "whoever loads it says what is wrong"
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        assert fastest() == DEFAULT_WEIGHTS, "without onnxruntime"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert fastest() == DEFAULT_WEIGHTS, "on a GPU"


@pytest.mark.parametrize("name", NAMES)
class TestShipped:
    def test_the_file_is_small_and_says_where_it_comes_from(self, name: str) -> None:
        assert shipped()[name].stat().st_size <= MOST_BYTES
        content = read_checkpoint(name)
        assert "research use only" in content["provenance"].terms
        assert all(value.isfinite().all() for value in content["state_dict"].values())

    def test_its_onnx_form_is_the_same_network(self, name: str) -> None:
        """Made by the same ``pack``: stale where only the other file was replaced."""
        file = shipped()[name].with_suffix(".onnx")
        assert file.stat().st_size <= MOST_BYTES
        landmarker, copy = load_landmarker(name), load_landmarker(file)
        assert isinstance(copy, ExportedLandmarker)
        drawn = drawn_batches(landmarker.image_size)
        assert largest_difference(landmarker, copy, [*random_crops(landmarker.image_size), *drawn]) < 1e-5
        origin = read_checkpoint(name)["provenance"]
        assert copy.about.terms == origin.terms
        assert copy.about.fingerprints == origin.data
        assert copy.about.source == name

    def test_the_card_is_written_from_the_figures(self, name: str) -> None:
        path = shipped()[name].with_suffix(".md")
        text, figures = path.read_text(), read_figures(path.with_suffix(".json"))
        origin, landmarker = read_checkpoint(name)["provenance"], load_landmarker(name)
        expected = section(figures, origin, landmarker, shipped()[name].stat().st_size)
        assert text == with_section(text, expected, path)
        assert list(figures.sets) == ["300W common", "caricatures", "ArtiFace"]

    def test_its_output_on_drawn_faces_is_fixed(self, name: str) -> None:
        expected = read_figures(shipped()[name].with_suffix(".json")).drawn
        found = drawn_figures(load_landmarker(name))
        assert found.nme == pytest.approx(expected.nme, abs=0.01)
        for style, landmarks in expected.landmarks.items():
            torch.testing.assert_close(
                torch.tensor(found.landmarks[style]), torch.tensor(landmarks), rtol=0, atol=1e-3, msg=style
            )

    @pytest.mark.real
    @pytest.mark.skipif(not REAL.is_dir(), reason="no real faces in ../shared/data")
    def test_its_figures_on_real_faces_are_the_cards(self, name: str) -> None:
        """All of those on the caricatures; 700 faces in eleven crops each would take minutes."""
        expected = read_figures(shipped()[name].with_suffix(".json")).sets["caricatures"]
        (caricatures,) = columns(str(REAL / "paper"), ("cariface",))
        found = figure(load_landmarker(name), caricatures.test)
        for of in (field.name for field in fields(Figure)):
            assert getattr(found, of) == pytest.approx(getattr(expected, of), abs=0.01), of


@pytest.mark.real
@pytest.mark.skipif(not REAL.is_dir(), reason="no real faces in ../shared/data")
def test_evaluate_without_a_checkpoint_gives_the_cards_figures(tmp_path: Path) -> None:
    """300W's common set lies in two folders, and ArtiFace's lists leave out most of its labelled paintings."""
    paintings = tmp_path / "paintings"
    paintings.mkdir()
    for part in ("images", "landmarks"):
        (paintings / part).symlink_to(REAL / "paper/AF_dataset" / part)
    folders = {
        "300W common": [REAL / "paper/300W" / part / "testset" for part in ("helen", "lfpw")],
        "caricatures": [REAL / "paper/CariFace_dataset"],
        "ArtiFace": [paintings],
    }
    figures = read_figures(shipped()[DEFAULT_WEIGHTS].with_suffix(".json")).sets
    for title, parts in folders.items():
        found = []
        for folder in parts:
            run("evaluate", f"--test={folder}", f"--out={tmp_path}/scores.json")
            found.append(json.loads((tmp_path / "scores.json").read_text())["test"]["own"])
        count = sum(one["n"] for one in found)
        assert count == figures[title].n
        assert sum(one["nme"] * one["n"] for one in found) / count == pytest.approx(figures[title].nme, abs=0.01)


def test_evaluate_without_a_checkpoint_says_what_it_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "faces", 3)
    run("evaluate", f"--test={folder}", f"--out={tmp_path}/scores.json")
    message = capsys.readouterr().err
    assert f"using the weights {DEFAULT_WEIGHTS} (warpmark" in message
    assert "for research use only" in message
    assert json.loads((tmp_path / "scores.json").read_text())["checkpoint"] == DEFAULT_WEIGHTS


def test_a_name_that_is_neither_a_file_nor_shipped() -> None:
    with pytest.raises(CheckpointError, match=f"Did you mean '{DEFAULT_WEIGHTS}'"):
        load_landmarker("warpmark_lite")


def test_it_is_where_a_landmarkers_training_starts_from() -> None:
    spec = read_checkpoint(DEFAULT_WEIGHTS)["landmarker"]
    if spec["class_path"] != "lightning_modules.landmarkers.Integral":
        pytest.skip("the shipped landmarker is another one")
    started, ready = Integral(**spec["init_args"], weights=DEFAULT_WEIGHTS), load_landmarker(DEFAULT_WEIGHTS)
    assert all(torch.equal(value, ready.state_dict()[name]) for name, value in started.state_dict().items())


START = f"--pretraining.checkpoint={DEFAULT_WEIGHTS}"


def test_a_method_starts_from_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = read_checkpoint(DEFAULT_WEIGHTS)["landmarker"]
    short = {"trainer": {"accelerator": "cpu", "max_epochs": 1}, "data": {"batch_size": 4}}
    config = write_config(tmp_path / "short.yaml", short, {"model": {"init_args": {"landmarker": spec}}})
    method = ["--method=stylize", "--landmarker=integral", config, f"--paths.runs={tmp_path}/runs", START]
    photos = write_folder(tmp_path / "photos", 8)
    drawings, labelled = write_folder(tmp_path / "drawings", 4, "unlabelled"), write_folder(tmp_path / "labelled", 3)
    run("train", "--setting=own", f"--source={photos}", f"--target={drawings}", f"--test={labelled}", *method)
    assert "for research use only" in capsys.readouterr().err
    run("evaluate", f"--test={labelled}", f"--out={tmp_path}/scores.json")
    shipped_scores = json.loads((tmp_path / "scores.json").read_text())["test"]["own"]
    found = metrics(tmp_path / "runs/own/stylize-integral/seed0")
    assert found["source_only"]["test"]["own"] == pytest.approx(shipped_scores, rel=1e-5)
    assert found["test"]["own"]["nme"] != found["source_only"]["test"]["own"]["nme"]
    assert not (tmp_path / "runs/pretrained").exists()


def test_a_run_with_another_landmarker_does_not_start_from_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = read_checkpoint(DEFAULT_WEIGHTS)["landmarker"]
    command = ["train", "--setting=da_cariface", "--method=stylize", START, f"--paths.runs={tmp_path}/runs"]
    data = {"data": TINY["data"], "trainer": TINY["trainer"]}
    other = write_config(tmp_path / "slpt.yaml", data, {"model": TINY["model"]})
    message = refused(capsys, *command, other)
    assert f"{DEFAULT_WEIGHTS}: holds the weights of {spec['class_path'].rsplit('.', 1)[-1]}" in message
    assert "this run's landmarker is SLPT. Give the LANDMARKER and PROFILE" in message
    larger = {**spec, "init_args": {**spec["init_args"], "image_size": 2 * spec["init_args"]["image_size"]}}
    config = write_config(tmp_path / "larger.yaml", data, {"model": {"init_args": {"landmarker": larger}}})
    message = refused(capsys, *command, "--landmarker=integral", config)
    assert f"reads crops of {spec['init_args']['image_size']} pixels; this run's" in message
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").rglob("*.ckpt"))
