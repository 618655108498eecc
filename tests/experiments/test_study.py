"""Studies: cells that differ by their row alone, tables of what was found, and terms that point to the labels."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from datamodules.faces import FaceBatch
from experiments.pointing import pointing
from experiments.study import STUDIES, read_study
from experiments.study_table import Cell, study_table
from lightning_modules.warping import ImageLoss, WarperObjective
from tests.experiments.helpers import TINY, merged, refused, run
from tests.lightning_modules.warping.layouts import mean_face, random_faces, smooth_images

LOSSES = "lightning_modules.warping."
QUIET = {"logger": False, "callbacks": None, "enable_progress_bar": False, "enable_checkpointing": False}


def small_study(path: Path, **changes: Any) -> Path:
    warper = {"class_path": f"{LOSSES}WarperObjective", "init_args": {"coarse": 17}}
    content = {
        "names": {"setting": "da_cariface", "method": "face_warping"},
        "seeds": [0],
        "option": "model.init_args.warper_learning_rate",
        "values": [1e-4, 1e-2],
        "base": merged(TINY, {"paths": {"runs": str(path.parent / "runs")}}),
        "cells": {
            "trainer": QUIET,
            "model": {"init_args": {"warper_epochs": 1, "proximal_epochs": 1, "anchor_weight": 0.0, "warper": warper}},
        },
        "fixed_rows": ["none"],
        "rows": {
            "none": {"warper": {"init_args": {"image_loss": {"class_path": f"{LOSSES}NoImageLoss"}}}},
            "pixels": {"warper": {"init_args": {"image_loss": {"class_path": f"{LOSSES}PixelMSE"}}}},
        },
    }
    path.write_text(yaml.safe_dump({**content, **changes}))
    return path


def cells(out: Path) -> dict[str, dict[str, Any]]:
    return {file.stem: json.loads(file.read_text()) for file in (out / "cells").glob("*.json")}


def test_a_study_in_parts_is_the_study(tmp_path: Path) -> None:
    file, out = small_study(tmp_path / "small.yaml"), tmp_path / "out"
    run("study", file, "--out", out, "--part", "1/2")
    first = cells(out)
    assert set(first) == {"none-0.0001-seed0", "pixels-0.01-seed0"}
    kept = out / "cells" / "none-0.0001-seed0.json"
    written = kept.stat().st_mtime_ns
    run("study", file, "--out", out)
    assert kept.stat().st_mtime_ns == written, "a cell that is done is not run again"
    found = cells(out)
    assert set(found) == {*first, "pixels-0.0001-seed0"}
    starts = {json.dumps(cell["nme"]["start"]) for cell in found.values()}
    assert len(starts) == 1
    nothing, small, large = (found[f"{name}-seed0"]["nme"] for name in ("none-0.0001", "pixels-0.0001", "pixels-0.01"))
    assert set(nothing) == {"start", "warper", "proximal"}
    assert nothing["warper"] == nothing["start"], "without an image term the warper phase leaves the landmarker alone"
    moved = {name: abs(cell["nme"]["warper"]["photo"] - cell["nme"]["start"]["photo"]) for name, cell in found.items()}
    assert moved["pixels-0.01-seed0"] > moved["pixels-0.0001-seed0"] > 0
    assert small["proximal"] != small["warper"]
    table = (out / "table.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == ["start", "none", "pixels", "pixels"]
    assert f"{large['warper']['caricature']:.2f}" in table[-1]


def test_pointing_trains_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("study", small_study(tmp_path / "small.yaml"), "--out", out, "--pointing", "caricature", "--rows", "pixels")
    lines = (out / "pointing.md").read_text().splitlines()
    name, cosine, *shares = (text.strip() for text in lines[2].strip("|").split("|"))
    assert name == "pixels"
    assert -1 <= float(cosine) <= 1
    assert all(0 <= int(share) <= 100 for share in shares)
    assert not (out / "cells").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["study", "warpin"], r"no such study. Did you mean 'warping'"),
        (["study", "warping", "--part", "3/2"], r"--part is '3/2'; expected k/n"),
        (["study", "warping", "--rows", "sobel_mes"], r"'sobel_mes' is no row of warping. Did you mean 'sobel_mse'"),
    ],
)
def test_bad_commands(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert re.search(message, refused(capsys, *arguments))


def test_a_study_file_with_other_keys_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.yaml").write_text("rows: {}\n")
    assert "found ['rows']; expected the keys ['base'" in refused(capsys, "study", str(tmp_path / "other.yaml"))


def test_shipped_studies_can_be_read() -> None:
    for file in STUDIES.glob("*.yaml"):
        chosen = read_study(file)
        assert set(chosen.fixed_rows) <= set(chosen.rows)
        assert len(chosen.seeds) >= 2


def test_table_means_over_seeds() -> None:
    def cell(seed: int, after: float) -> Cell:
        nme = {"start": {"own": 10.0 + seed}, "warper": {"own": after}}
        return Cell("row", 1e-5, seed, nme, folded=0.01 * seed, seconds=1.0)

    lines = study_table(["row", "missing"], [1e-5, 1e-4], [cell(1, 9.0), cell(0, 8.0)]).splitlines()
    assert lines[2] == "| start |  | 10.50 (10.00, 11.00) |  |"
    assert lines[3] == "| row | 1e-05 | 8.50 (8.00, 9.00) | 0.5 |"
    assert len(lines) == 4


class _ToLabel(ImageLoss):
    """Knows where the label is: the term that points straight at it."""

    def compare(self, warped: torch.Tensor, stylised: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return (warped - stylised).square().mean(dim=(1, 2, 3))


def test_the_right_term_points_and_its_negative_does_not() -> None:
    """Stylised faces that are photos warped by known landmarks: pixels are lowest at those."""
    photo = smooth_images(1, 64).expand(3, -1, -1, -1)
    shape = mean_face().float()[None].expand(3, -1, -1)
    labels = random_faces(3, seed=1, jitter=0.0).float()
    objective = WarperObjective(_ToLabel(), coarse=None)
    drawn = objective(photo, shape, photo, labels).warped

    def batch(images: torch.Tensor, landmarks: torch.Tensor) -> FaceBatch:
        count = len(images)
        return FaceBatch(
            images, torch.zeros(count, 2, 3), torch.zeros(count), landmarks, torch.arange(count), [""] * count
        )

    noise = 0.01 * torch.randn(labels.shape, generator=torch.Generator().manual_seed(0))
    found = pointing(objective, batch(photo, shape), batch(drawn, labels), labels + noise, photos_per_face=2)
    assert found.cosine > 0.2
    assert (found.faces_pointed, found.pairs_ranked, found.faces_ranked) == (1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="found 3 photos; expected 4 or more"):
        pointing(objective, batch(photo, shape), batch(drawn, labels), labels, photos_per_face=4)
