"""What a grid's figure shows of its finished cells."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure

from callbacks.drawing import SYNTHETIC
from datamodules.transforms import FaceTransform
from experiments.checkpoints import load_landmarker
from experiments.commands.grid import grid
from experiments.commands.train import train
from experiments.errors import UsageError
from experiments.grids.cells import Runner
from experiments.grids.figures import comparison, curves, errors, warper
from experiments.grids.figures.comparison import spread_by_error
from experiments.grids.figures.landmarkers import sets_of, shown
from experiments.grids.grid import Cell, read_grid
from experiments.grids.results import START, Result, read_results
from experiments.scoring import score
from tests.experiments.helpers import PHASES, TINY, merged, metrics, rows

JOINT = {"model": {"init_args": {"optimization": "joint"}}}


@dataclass
class Finished:
    """A grid of two rows on drawn faces, and what it left."""

    runner: Runner
    results: list[Result]
    written: list[Figure]

    @property
    def out(self) -> Path:
        return self.runner.out


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    top = tmp_path_factory.mktemp("figures")
    content = {
        "choices": {"setting": "da_cariface", "landmarker": "slpt", "profile": "quick", "method": "face_warping"},
        "rows": {"alternating": {"config": PHASES}, "joint": {"config": JOINT}},
        "seeds": [0],
        "config": merged(TINY, {"paths": {"runs": str(top / "runs")}}),
        "budget": {"epochs": 2, "steps_per_epoch": 2},
        "figure": {"draw": "curves", "subsets": ["caricature"]},
    }
    (top / "some.yaml").write_text(yaml.safe_dump(content))
    grid(str(top / "some.yaml"), out=str(top / "out"), isolated=False)
    runner = Runner(read_grid(str(top / "some.yaml")), {}, top / "out", train)
    return Finished(runner, read_results(runner.grid, runner.out, runner.grid.all_cells()), [])


@pytest.fixture(autouse=True)
def watched(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages that are written, also as files."""
    write = Figure.savefig

    def watch(page: Figure, *args: Any, **options: Any) -> None:
        finished.written.append(page)
        write(page, *args, **options)

    monkeypatch.setattr(Figure, "savefig", watch)
    finished.written.clear()


def test_a_grid_draws_what_its_file_asks_for(finished: Finished) -> None:
    assert (finished.out / "some.png").read_bytes().startswith(b"\x89PNG")
    curves.draw(finished.runner, finished.results, file="all.pdf")
    (page,) = finished.written
    assert (finished.out / "all.pdf").read_bytes().startswith(b"%PDF")
    assert [text.get_text() for text in page.legends[0].get_texts()] == ["alternating", "joint", "warper phase"]
    assert page.get_suptitle() == SYNTHETIC
    photo = page.axes[0]
    for line, cell in zip(photo.lines, ("alternating-seed0", "joint-seed0"), strict=True):
        nme = [float(row["nme"]) for row in rows(finished.out / cell / "nme.csv") if row["subset"] == "photo"]
        start = metrics(finished.out / cell)["source_only"]["test"]["photo"]["nme"]
        np.testing.assert_allclose(line.get_xydata(), [*enumerate([start, *nme])])
    with pytest.raises(UsageError, match="Did you mean 'caricature'"):
        curves.draw(finished.runner, finished.results, subsets=["caricatur"])


def test_the_landmarkers_of_a_grid(finished: Finished) -> None:
    found = shown(finished.runner, finished.results[::-1])
    assert [one.name for one in found] == [START, "alternating", "joint"]
    assert found[0].checkpoint.name == "landmarker.ckpt"
    again = {**{one.cell: one for one in finished.results}, Cell("alternating", None, 1): finished.results[1]}
    assert len(shown(finished.runner, list(again.values()))) == 3, "of each row the first seed"
    with pytest.raises(UsageError, match="no such file, and the figure needs it"):
        shown(replace(finished.runner, out=finished.out / "nowhere"), finished.results)


def test_the_same_faces_by_each_row(finished: Finished) -> None:
    comparison.draw(finished.runner, finished.results, "caricature", faces=2, seed=1)
    (page,) = finished.written
    panels = np.array(page.axes, dtype=object).reshape(4, 2)
    names = [row[0].texts[-1].get_text() for row in panels]
    means = [metrics(finished.out / cell) for cell in ("alternating-seed0", "joint-seed0")]
    start = means[0]["source_only"]["test"]["caricature"]["nme"]
    assert names == [
        "ground truth",
        f"{START}\n{start:.2f}",
        *(
            f"{name}\n{one['test']['caricature']['nme']:.2f}"
            for name, one in zip(("alternating", "joint"), means, strict=True)
        ),
    ]
    # Easy to hard by the start, and each NME that of the whole set's scores.
    (test,), _ = sets_of(finished.runner, finished.results[0].cell, ["caricature"])
    scored = [score(one.load(), [test]) for one in shown(finished.runner, finished.results)]
    nme = np.array([face.nme for face in scored[0].per_face])
    places = spread_by_error(nme, 2, seed=1)
    for row, scores in zip(panels[1:], scored, strict=True):
        assert [panel.texts[0].get_text() for panel in row] == [f"{scores.per_face[i].nme:.1f}" for i in places]
    assert "of its 3 faces" in page.texts[-1].get_text()
    with pytest.raises(UsageError, match="Known: caricature, photo"):
        comparison.draw(finished.runner, finished.results, "cartoon")


def test_faces_from_easy_to_hard() -> None:
    nme = np.random.default_rng(3).permutation(60) / 4
    chosen = spread_by_error(nme, 6)
    assert [nme[i] * 4 // 10 for i in chosen] == [0, 1, 2, 3, 4, 5], "one of each sixth"
    assert chosen == spread_by_error(nme, 6)
    assert chosen != spread_by_error(nme, 6, seed=1)
    assert [nme[i] for i in spread_by_error(nme[:3], 6)] == sorted(nme[:3])


def test_errors_of_each_row(finished: Finished) -> None:
    errors.draw(finished.runner, finished.results, worst=1)
    parts = rows(finished.out / "errors/parts.csv")
    assert [*dict.fromkeys(row["landmarker"] for row in parts)] == [START, "alternating", "joint"]
    for name, cell in (("alternating", "alternating-seed0"), ("joint", "joint-seed0")):
        for subset, values in metrics(finished.out / cell)["test"].items():
            line = next(row for row in parts if (row["landmarker"], row["subset"]) == (name, subset))
            assert (line["part"], line["n"]) == ("all", str(values["n"]))
            assert float(line["nme"]) == pytest.approx(values["nme"], rel=1e-5)
    assert "SYNTHETIC" in (finished.out / "errors/table.md").read_text()
    assert len([*(finished.out / "errors").glob("worst-*.png")]) == 3 * 2


def test_the_warper(finished: Finished) -> None:
    warper.draw(finished.runner, finished.results, pairs=2, gradient="laplacian")
    (page,) = finished.written
    panels = np.array(page.axes, dtype=object).reshape(2, 8)
    assert [panel.get_title() for panel in panels[0]][4:6] == ["Laplacian, stylised face", "Laplacian, warped photo"]
    assert SYNTHETIC in [text.get_text() for text in page.texts]
    cell = finished.results[0].cell
    data = finished.runner.in_cell(cell).data
    data.setup()
    assert data.target_faces is not None
    # The landmarks drawn on the second stylised face, the target's last, are those of the cell's last weights.
    sample = FaceTransform(64)(data.target_faces[len(data.target_faces) - 1])
    landmarker = load_landmarker(finished.out / cell.name / "checkpoints/last.ckpt")
    found = landmarker(sample.image[None]).landmarks[0].detach().numpy() * 64
    x, y = np.asarray(panels[1][1].lines[-1].get_xydata()).T
    drawn = np.stack([x, y], axis=1)
    np.testing.assert_allclose(drawn[np.isfinite(x)][:17], found[:17], atol=1e-3)
    shown_face, warped = (np.asarray(panel.images[0].get_array()) for panel in panels[1][1:3])
    np.testing.assert_array_equal(shown_face, (sample.image.permute(1, 2, 0) * 255).round().byte().numpy())
    assert warped.shape == (64, 64, 3)
    assert np.abs(warped.astype(float) - shown_face).mean() > 1
    with pytest.raises(UsageError, match="no finished row has a warper"):
        warper.draw(finished.runner, [])
