"""Gradient alignment: an image term that leads to the labels is told from one that does not."""

from pathlib import Path

import pytest
import torch
import yaml

from datamodules.faces import FaceBatch
from experiments.grids.alignment import gradient_alignment
from lightning_modules.warping import ImageLoss, WarperObjective
from tests.experiments.helpers import PHASES, TINY, merged, run
from tests.lightning_modules.warping.layouts import mean_face, random_faces, smooth_images


def test_it_trains_nothing_but_the_start(tmp_path: Path) -> None:
    content = {
        "choices": {"setting": "da_cariface", "method": "face_warping"},
        "rows": {"sobel": {}, "pixels": {"config": _image_loss("PixelMSE")}},
        "seeds": [0],
        "config": merged(TINY, PHASES, {"paths": {"runs": str(tmp_path / "runs")}}),
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(content))
    run("grid", tmp_path / "small.yaml", "--out", tmp_path / "out", "--alignment", "caricature", "--rows", "pixels")
    *_, line = (tmp_path / "out/alignment.md").read_text().splitlines()
    name, cosine, *shares = (text.strip() for text in line.strip("|").split("|"))
    assert name == "pixels"
    assert -1 <= float(cosine) <= 1
    assert all(0 <= int(share) <= 100 for share in shares)
    assert not list((tmp_path / "out").glob("*-seed0"))


def _image_loss(name: str) -> dict[str, object]:
    loss = {"class_path": f"lightning_modules.warping.{name}"}
    return {
        "model": {
            "init_args": {
                "warper": {
                    "class_path": "lightning_modules.warping.WarperObjective",
                    "init_args": {"image_loss": loss, "coarse": 17},
                }
            }
        }
    }


class _PixelsAtTheLabel(ImageLoss):
    """On faces that are photos warped by known landmarks, it is lowest at those."""

    def compare(self, warped: torch.Tensor, stylised: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return (warped - stylised).square().mean(dim=(1, 2, 3))


def test_a_term_that_is_lowest_at_the_labels_is_aligned() -> None:
    photo = smooth_images(1, 64).expand(3, -1, -1, -1)
    shape = mean_face().float()[None].expand(3, -1, -1)
    labels = random_faces(3, seed=1, jitter=0.0).float()
    objective = WarperObjective(_PixelsAtTheLabel(), coarse=None)
    drawn = objective(photo, shape, photo, labels).warped

    def batch(images: torch.Tensor, landmarks: torch.Tensor) -> FaceBatch:
        count = len(images)
        return FaceBatch(
            images, torch.zeros(count, 2, 3), torch.zeros(count), landmarks, torch.arange(count), [""] * count
        )

    noise = 0.01 * torch.randn(labels.shape, generator=torch.Generator().manual_seed(0))
    found = gradient_alignment(objective, batch(photo, shape), batch(drawn, labels), labels + noise, photos_per_face=2)
    assert found.cosine > 0.2
    assert (found.faces_aligned, found.pairs_ranked, found.faces_ranked) == (1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="found 3 photos; expected 4 or more"):
        gradient_alignment(objective, batch(photo, shape), batch(drawn, labels), labels, photos_per_face=4)
