"""Figure 8 and the study of artists' warps: grids without rows, their pictures and tables; what is said without."""

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml

from experiments.artifacts.field_files import read_field
from experiments.catalogue import file_of
from experiments.cli import WarpmarkCLI
from experiments.commands.grid import grid
from experiments.errors import UsageError
from experiments.grids.figures.field_measures import FacePairs, log_jacobian_spread, measure_field
from experiments.grids.grid import read_grid
from lightning_modules.coordinates import pixel_grid
from lightning_modules.warping import SplineFitter
from lightning_modules.warping.fields.dense import Identity
from lightning_modules.weights import WeightsError
from tests.experiments.helpers import PHASES, TINY, checkpoint, fit_files, refused, run, write_config
from tests.layouts import write_face
from tests.lightning_modules.warping.layouts import random_faces, smooth_images

SIZE = 64
SMOKE: dict[str, Any] = {
    "pairs": 3,
    "shown": 2,
    "size": SIZE,
    "landmarks": "labels",
    "fields": {
        "AutoToon": {
            "init_args": {"backbone": "test_efficientnet", "pretrained": False},
            "train": {"max_epochs": 1, "steps_per_epoch": 2, "batch_size": 2},
        },
        "RAFT": {"init_args": {"pretrained": False, "updates": 1}},
    },
}


def write_figure(top: Path, only: dict[str, Any] | None = None, **changes: Any) -> Path:
    """Figure 8 as it is shipped, on tiny drawn faces and in its smallest form; or with other fields only."""
    content = yaml.safe_load(file_of("grid", "figure8").read_text())
    content["choices"] |= {"setting": "da_cariface", "profile": "quick"}
    content["config"] = {**TINY, "paths": {"runs": str(top / "runs")}}
    content["figure"]["profiles"] = {"quick": {**SMOKE, **changes}}
    if only is not None:
        content["figure"]["fields"] = only
        del content["figure"]["profiles"]["quick"]["fields"]
    (top / "figure8.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return top / "figure8.yaml"


def rows(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as file:
        return {row[next(iter(row))]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("figure8")
    assert grid(str(write_figure(top)), out=str(top / "out")) == top / "out/fields.md"
    return top


class TestFigure8:
    def test_its_table_has_every_field(self, drawn: Path) -> None:
        assert "SYNTHETIC" in (drawn / "out/fields.md").read_text()
        assert (drawn / "out/fields.tex").exists()
        found = rows(drawn / "out/fields.csv")
        assert list(found) == [*yaml.safe_load(file_of("grid", "figure8").read_text())["figure"]["fields"]]
        assert float(found["spline"]["transfer NME %"]) < 1 < float(found["no warp"]["transfer NME %"])
        for name in ("no warp", "spline", "AutoToon", "RAFT"):
            assert float(found[name]["ms / pair"]) > 0
            assert int(found[name]["folded %, n"]) == 3

    def test_a_field_whose_data_are_not_there_is_missing(self, drawn: Path) -> None:
        # CariGeoGAN: no landmarker to find landmarks with, as labels are asked for.
        assert set([*rows(drawn / "out/fields.csv")["CariGeoGAN"].values()][1:]) <= {"", "0"}, "no value; n may be 0"

    def test_its_picture(self, drawn: Path) -> None:
        picture = cv2.imread(str(drawn / "out/fields.png"))
        assert picture is not None
        height, width = picture.shape[:2]
        assert (height, width) > (4 * 1.3 * 150, 7 * 1.3 * 150), (
            "two pairs in two rows each; six fields beside the faces"
        )
        assert (drawn / "out/fields.pdf").exists()

    def test_trained_fields_are_used_again(self, drawn: Path) -> None:
        (weights,) = (drawn / "runs/fields").glob("autotoon-*/field.ckpt")
        spec = yaml.safe_load((drawn / "figure8.yaml").read_text())["figure"]["fields"]["AutoToon"]
        arguments = {**spec["init_args"], **SMOKE["fields"]["AutoToon"]["init_args"], "weights": str(weights)}
        (drawn / "mine.yaml").write_text(yaml.safe_dump({"class_path": spec["class_path"], "init_args": arguments}))
        field = read_field(str(drawn / "mine.yaml"))
        face, photo = random_faces(1).float(), smooth_images(1, SIZE)
        assert field.fit(face, face, photo).warp(photo).shape == photo.shape

    def test_bad_options_are_named(self, tmp_path: Path) -> None:
        file = write_figure(tmp_path, only={"mine": {"class_path": "lightning_modules.warping.Sobel"}})
        with pytest.raises(UsageError, match=r"figure.fields: .*Sobel"):
            grid(str(file), out=str(tmp_path / "out"))
        file = write_figure(
            tmp_path, only={"mine": {"class_path": "lightning_modules.warping.SplineFitter", "train": {}}}
        )
        assert grid(str(file), out=str(tmp_path / "out")).exists()
        for wrong, said in (
            ({"landmark": "labels"}, "unexpected keyword argument 'landmark'"),
            ({"train": {"recipe": "autotoon"}}, "expected class_path, and possibly"),
            ({"landmarks": "found"}, "expected class_path, and possibly"),
        ):
            file = write_figure(
                tmp_path, only={"mine": {"class_path": "lightning_modules.warping.SplineFitter", **wrong}}
            )
            with pytest.raises(UsageError, match=said):
                grid(str(file), out=str(tmp_path / "out"))
        with pytest.raises(UsageError, match="'cari' is no subset of the test sets"):
            grid(str(write_figure(tmp_path, subset="cari")), out=str(tmp_path / "out"))


@pytest.mark.parametrize("name", ["figure8", "artist_warps"])
def test_what_is_shipped_can_be_read(name: str) -> None:
    assert read_grid(name).all_cells() == []


def test_a_grid_is_of_rows_or_of_a_figure(tmp_path: Path) -> None:
    content = yaml.safe_load(file_of("grid", "figure8").read_text())
    (tmp_path / "none.yaml").write_text(yaml.safe_dump({**content, "figure": {}}))
    with pytest.raises(UsageError, match="neither rows nor a figure"):
        read_grid(str(tmp_path / "none.yaml"))


class TestMeasures:
    def test_a_perfect_field(self) -> None:
        """Photos that were made by warping the stylised faces back: the spline through the labels undoes it."""
        photo_labels, labels = random_faces(2, jitter=0.0), random_faces(2, seed=1, jitter=0.0)
        stylised = smooth_images(2, SIZE, dtype=torch.float64)
        photos = SplineFitter().fit(labels, photo_labels).warp(stylised)
        pairs = FacePairs(photos, photo_labels, stylised, labels, labels)
        found, none = measure_field(SplineFitter(), pairs), measure_field(Identity(), pairs)
        assert float(found.transfer.max()) < 1e-4 < 1 < float(none.transfer.min())
        assert float(found.correlation.min()) > 0.9 > float(none.correlation.max())
        # Between faces that differ by an affine map, the field is affine.
        torch.testing.assert_close(found.spread, torch.zeros(2).double(), atol=1e-3, rtol=0)
        assert found.folded.tolist() == none.folded.tolist() == [0.0, 0.0]

    def test_the_spread_of_a_known_field(self) -> None:
        """w = (x²/2 + x, y): its determinant is 1 + x."""
        grid = pixel_grid(SIZE, dtype=torch.float64)[None]
        bent = torch.stack([grid[..., 0].square() / 2 + grid[..., 0], grid[..., 1]], dim=-1)
        mask = torch.zeros(1, 1, SIZE, SIZE)
        mask[..., 10:50] = 1
        middles = (np.arange(10, 50) + 0.5) / SIZE
        assert float(log_jacobian_spread(bent, mask)) == pytest.approx(np.log(1 + middles).std(), rel=1e-6)
        assert float(log_jacobian_spread(bent, 0 * mask)) == 0


class TestFieldByName:
    @pytest.mark.parametrize("name", ["autotoon", "carigeogan", "raft", "spline"])
    def test_each_is_read(self, name: str, tmp_path: Path) -> None:
        spec = yaml.safe_load(file_of("field", name).read_text())
        small = {"autotoon": {"backbone": "test_efficientnet"}, "raft": {"pretrained": False}}
        spec["init_args"] |= small.get(name, {})
        (tmp_path / "field.yaml").write_text(yaml.safe_dump(spec))
        assert type(read_field(str(tmp_path / "field.yaml"))).__name__ == spec["class_path"].rsplit(".", 1)[-1]

    def test_what_is_wrong_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="Did you mean 'raft'"):
            read_field("raf")
        (tmp_path / "field.yaml").write_text("class_path: lightning_modules.warping.SplineFitter\nextra: 1\n")
        with pytest.raises(UsageError, match=r"field\.yaml: found \['class_path', 'extra'\]"):
            read_field(str(tmp_path / "field.yaml"))
        (tmp_path / "field.yaml").write_text(
            "class_path: lightning_modules.warping.fields.carigeogan.CariGeoGAN\ninit_args: {weights: missing.ckpt}\n"
        )
        with pytest.raises(WeightsError, match=r"no weights file missing\.ckpt"):
            read_field(str(tmp_path / "field.yaml"))

    def test_figure_draws_it(self, tmp_path: Path) -> None:
        for k, name in enumerate(("photo", "drawing")):
            write_face(tmp_path / f"{name}.png", tmp_path / f"{name}.pts", 96, seed=k)
        (tmp_path / "none.yaml").write_text("class_path: lightning_modules.warping.fields.dense.Identity\n")
        faces = [f"--photo={tmp_path}/photo.png", f"--stylised={tmp_path}/drawing.png", f"--out={tmp_path}/figure.png"]
        run("figure", *faces, f"--field={tmp_path}/none.yaml", "--size=64")
        assert (tmp_path / "figure.png").exists()


class TestInFaceWarping:
    """Chosen by YAML in METHOD=face_warping."""

    def configured(self, top: Path, name: str, **arguments: Any) -> str:
        spec = yaml.safe_load(file_of("field", name).read_text())
        spec["init_args"] |= arguments
        warper = {"warper": {"init_args": {"field": spec, "coarse": 9}}}
        return write_config(top / f"{name}.yaml", TINY, PHASES, {"model": {"init_args": warper}})

    def test_each_field_takes_the_splines_place(self, tmp_path: Path) -> None:
        for name, arguments in (("raft", {"pretrained": False}), ("carigeogan", {}), ("spline", {"order": 3})):
            options = [*fit_files("face_warping"), self.configured(tmp_path, name, **arguments)]
            method: Any = WarpmarkCLI(options, run=False).method
            assert type(method.warper.field).__name__.lower().startswith(name)

    def test_a_run_that_goes_on_training_autotoon(self, tmp_path: Path) -> None:
        config = self.configured(tmp_path, "autotoon", backbone="test_efficientnet", trainable=True)
        run("train", "--setting=da_cariface", "--method=face_warping", config, f"--paths.runs={tmp_path}/runs")
        folder = tmp_path / "runs/da_cariface/face_warping-slpt/seed0"
        state = checkpoint(folder / "checkpoints/last.ckpt")["state_dict"]
        learned = state["warper.field.last.bias"]
        assert learned.abs().max() > 0, "it began at zero"
        assert (folder / "pictures/epoch002.png").exists()


class TestArtistWarps:
    def write_pairs(self, top: Path, count: int = 10) -> Path:
        for k in range(count):
            for folder in ("photos", "caricatures"):
                write_face(top / folder / f"{k}.png", top / folder / f"{k}.pts", 64, seed=k + 50 * (folder[0] == "c"))
        return top

    def test_its_table(self, tmp_path: Path) -> None:
        content = yaml.safe_load(file_of("grid", "artist_warps").read_text())
        content["figure"] |= {"size": 48, "orders": [1, 2], "smoothings": [0.0, 0.1], "autotoon": {}}
        (tmp_path / "artist.yaml").write_text(yaml.safe_dump(content))
        source = self.write_pairs(tmp_path / "pairs")
        grid(str(tmp_path / "artist.yaml"), source=str(source), out=str(tmp_path / "out"))
        with (tmp_path / "out/artist_warps.csv").open(newline="") as file:
            found = {(row["warp"], row["pairs"]): row for row in csv.DictReader(file)}
        assert len(found) == 2 * (1 + 2 * 3)
        nme = {name: float(row["NME %"]) for (name, part), row in found.items() if part == "all"}
        assert nme["spline, order 2, λ = 0"] < nme["spline, order 2, λ = 0.1"] < nme["no warp"]
        assert (found["no warp", "all"]["n"], found["no warp", "test"]["n"]) == ("10", "1")
        assert (tmp_path / "out/artist_warps.png").exists()

    def test_without_pairs(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "expected --source FOLDER" in refused(capsys, "grid", "--name=artist_warps")
