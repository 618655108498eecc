"""Pictures of errors, by what they show."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from PIL import Image

from callbacks.drawing import GREEN, RED, SYNTHETIC
from datamodules.transforms import Square
from experiments.analysis.error_pictures import draw_error_curves, draw_part_bars
from experiments.analysis.face_pictures import Line, draw_comparison, draw_worst, save
from experiments.analysis.measured import Array, Measured
from experiments.analysis.parts import PART_NAMES, part_scores
from tests.experiments.analysis.faces import made_up


@pytest.fixture
def both() -> list[Measured]:
    return [made_up("ours"), made_up("theirs", worse=2)]


def seen(figure: Figure, panel: Axes, place: Array) -> np.ndarray:
    """The colour of a page, in [0, 1], where a panel has a place."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3] / 255
    x, y = panel.transData.transform(place)
    return np.asarray(pixels[len(pixels) - 1 - int(y), int(x)])


def test_error_curves(both: list[Measured]) -> None:
    figure = draw_error_curves(both)
    assert [panel.get_title() for panel in figure.axes] == ["every, 5 faces", "even, 3 faces"]
    for panel, subset in zip(figure.axes, ("every", "even"), strict=True):
        for line, one in zip(panel.lines, both, strict=False):
            nme = one.errors[:: 2 if subset == "even" else 1].mean(1)
            x, y = np.asarray(line.get_xydata()).T
            for place in np.linspace(0, panel.get_xlim()[1], 50):
                # Of a staircase, the step that was reached last.
                assert y[np.searchsorted(x, place, side="right") - 1] == pytest.approx(np.mean(nme <= place))
            assert x[-1] > panel.get_xlim()[1], "the line goes on to the panel's edge"
        legend = panel.get_legend()
        assert legend is not None
        texts = [text.get_text() for text in legend.get_texts()]
        figures = [one.scores[subset] for one in both]
        assert texts == [
            f"{name}: {f['auc@8']:.1f}, {f['fr@8']:.1f}" for name, f in zip(("ours", "theirs"), figures, strict=True)
        ]
    assert figure.get_suptitle() == ""
    assert draw_error_curves(both, synthetic=True).get_suptitle() == SYNTHETIC


def test_a_landmarker_that_was_not_measured_on_a_subset(both: list[Measured]) -> None:
    del both[1].scores["even"]
    every, even = draw_error_curves(both).axes
    assert [len(panel.lines) for panel in (every, even)] == [3, 2], "the last one is at 8 %"
    assert [len(panel.containers) for panel in draw_part_bars(part_scores(both)).axes] == [2 * 2, 2]


def test_part_bars(both: list[Measured]) -> None:
    scores = part_scores(both)
    figure = draw_part_bars(scores, synthetic=True)
    assert figure.get_suptitle() == SYNTHETIC
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ours", "theirs"]
    for panel, subset in zip(figure.axes, ("every", "even"), strict=True):
        assert [text.get_text() for text in panel.get_xticklabels()] == list(PART_NAMES)
        bars = [one for one in panel.containers if isinstance(one, BarContainer)]
        for container, one in zip(bars, [one for one in scores if one.subset == subset], strict=True):
            heights = [bar.get_height() for bar in container]
            assert heights == [one.means[part] for part in PART_NAMES]
            assert container.errorbar is not None
            (whiskers,) = container.errorbar.lines[2]
            ends = [sorted(segment[:, 1]) for segment in whiskers.get_segments()]
            np.testing.assert_allclose(ends, [one.intervals[part] for part in PART_NAMES])
        lefts = sorted((bar.get_x(), bar.get_width()) for container in bars for bar in container)
        assert all(x + width <= after + 1e-9 for (x, width), (after, _) in pairwise(lefts))


def test_the_worst_faces(both: list[Measured]) -> None:
    """Worst first, with green at the labels and red at what was found."""
    measured = both[0]
    moved = made_up(found=measured.labels + np.array([0.0, -12.0]) * np.arange(1, 6)[:, None, None] / 5)
    figure = draw_worst(moved, "every", 3)
    order = np.argsort(-moved.errors.mean(1))[:3]
    titles = [f"face{i}: {moved.errors[i].mean():.1f} %" for i in order]
    assert [panel.get_title() for panel in figure.axes] == titles
    assert "the worst 3 of 5 faces" in figure.texts[-1].get_text()
    panel, i = figure.axes[0], order[0]
    labels = measured.labels[i]
    around = Square.around(np.concatenate([labels.min(0), labels.max(0)]).astype(np.float32))
    # 1.5 times the longer side of the labels' box, in 300 pixels.
    scale = 300 / (1.5 * np.ptp(labels, axis=0).max())
    # The chin's labels, above which nothing red ends up, and the brows that were found.
    for points, colour in ((labels[[7, 8, 9]], GREEN), (moved.found[i, 17:27], RED)):
        for place in (points - (around.x, around.y)) * scale + 150:
            np.testing.assert_allclose(seen(figure, panel, place), to_rgb(colour), atol=0.1)
    assert len(draw_worst(moved, "even", 12).axes) == 3


def test_a_comparison(both: list[Measured], tmp_path: Path) -> None:
    lines = [Line(f"{one.landmarker}\n1.00", one.found[:4], one.nme[:4]) for one in both]
    faces = [both[0].faces[i] for i in range(4)]
    # A caption longer than the margin that is cut off above.
    caption = "\n".join(["said below"] * 10)
    figure = draw_comparison(faces, lines, caption, synthetic=True)
    panels = np.array(figure.axes, dtype=object).reshape(3, 4)
    assert [panel.get_title() for panel in panels[0]] == [f"face{i}" for i in range(4)]
    assert [row[0].texts[-1].get_text() for row in panels] == ["ground truth", "ours\n1.00", "theirs\n1.00"]
    for row, one in zip(panels[1:], both, strict=True):
        assert [panel.texts[0].get_text() for panel in row] == [f"{nme:.1f}" for nme in one.nme[:4]]
    colours = [{line.get_color() for panel in row for line in panel.lines} for row in panels]
    assert colours == [{"black", GREEN}, {"black", RED}, {"black", RED}]
    assert [text.get_text() for text in figure.texts] == [SYNTHETIC, caption]
    # What is written beside the panels is on the page that is written, too.
    save(figure, tmp_path / "x.png")
    height, width, _ = np.asarray(Image.open(tmp_path / "x.png")).shape
    assert width > figure.get_size_inches()[0] * figure.dpi
    assert height > figure.get_size_inches()[1] * figure.dpi
