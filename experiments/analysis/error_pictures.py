"""Errors as plots: cumulative curves, and bars for the parts of the face."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from callbacks.drawing import OKABE_ITO, mark_synthetic
from experiments.analysis.measured import Measured, subset_names
from experiments.analysis.parts import PART_NAMES, PartScores
from lightning_modules.metrics import FAILURE

_SHORTEST, _LONGEST = 10.0, 30.0
"""In %: where the axis of a cumulative curve may end."""
_STYLES: Final = ("-", "--", ":", "-.")
"""Lines after the last colour have the first again, in another style."""


def draw_error_curves(measured: Sequence[Measured], synthetic: bool = False) -> Figure:
    """The share of faces whose NME is at most x, over x: a panel for each subset, a line for each landmarker.

    The legend gives AUC@8, the area under the line up to 8 %, and FR@8, what the line lacks to 100 % there.

    Args:
        measured: one or more landmarkers.
        synthetic: mark the picture as one of drawn faces.
    """
    subsets = subset_names(measured)
    columns = min(2, len(subsets))
    rows = math.ceil(len(subsets) / columns)
    figure = Figure((5.2 * columns, 3.9 * rows), dpi=150, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[len(subsets) :]:
        panel.set_axis_off()
    for panel, subset in zip(panels, subsets, strict=False):
        _draw_curves(panel, measured, subset)
    mark_synthetic(figure, synthetic)
    return figure


def _draw_curves(panel: Axes, measured: Sequence[Measured], subset: str) -> None:
    errors = {place: one.of(subset).nme for place, one in enumerate(measured) if subset in one.scores}
    end = min(math.ceil(max(_SHORTEST, *(np.quantile(nme, 0.98) for nme in errors.values()))), _LONGEST)
    for place, nme in errors.items():
        scores = measured[place].scores[subset]
        said = f"{measured[place].landmarker}: {scores['auc@8']:.1f}, {scores['fr@8']:.1f}"
        colour, style = OKABE_ITO[place % len(OKABE_ITO)], _STYLES[place // len(OKABE_ITO) % len(_STYLES)]
        # From the panel's left edge to beyond its right one.
        x = np.array([0.0, *np.sort(nme), max(nme.max(), end) + 1])
        share = np.array([*np.arange(len(nme) + 1) / len(nme), 1.0])
        panel.step(x, share, where="post", label=said, color=colour, linestyle=style, linewidth=1.3)
    panel.axvline(FAILURE, color="0.6", linewidth=0.8, linestyle=":")
    panel.set(xlim=(0, end), ylim=(0, 1.005), xlabel="NME in %", ylabel="faces with at most that NME")
    panel.set_title(f"{subset}, {_counts(map(len, errors.values()))}")
    panel.yaxis.set_major_formatter(PercentFormatter(1.0))
    panel.grid(color="0.9", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    legend = panel.legend(
        title="AUC@8, FR@8 in %", loc="lower right", fontsize=7, title_fontsize=7, frameon=True, framealpha=0.8
    )
    legend.get_frame().set_linewidth(0)


def draw_part_bars(scores: Sequence[PartScores], synthetic: bool = False) -> Figure:
    """The error in each part of the face, with its interval: a panel for each subset, a colour for each landmarker.

    Args:
        scores: one or more.
        synthetic: mark the picture as one of drawn faces.
    """
    subsets = list(dict.fromkeys(one.subset for one in scores))
    landmarkers = list(dict.fromkeys(one.landmarker for one in scores))
    figure = Figure((9, 2.6 * len(subsets) + 0.3 * math.ceil(len(landmarkers) / 3)), dpi=150, layout="constrained")
    panels = figure.subplots(len(subsets), 1, squeeze=False).ravel()
    width = 0.82 / len(landmarkers)
    for panel, subset in zip(panels, subsets, strict=True):
        of_subset = [one for one in scores if one.subset == subset]
        for one in of_subset:
            place = landmarkers.index(one.landmarker)
            _draw_bars(panel, one, width, (place - (len(landmarkers) - 1) / 2) * width, place)
        panel.set_title(f"{subset}, {_counts(one.count for one in of_subset)}", fontsize=10)
        panel.set_ylabel("error in %")
        panel.set_xticks(range(len(PART_NAMES)), PART_NAMES)
        panel.tick_params(axis="x", length=0)
        panel.grid(axis="y", color="0.9", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    entries = {text: bar for panel in panels for bar, text in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(entries.values(), entries, loc="outside lower left", frameon=False, ncols=3, fontsize=8)
    mark_synthetic(figure, synthetic)
    return figure


def _draw_bars(panel: Axes, scores: PartScores, width: float, shift: float, place: int) -> None:
    means = np.array([scores.means[part] for part in PART_NAMES])
    low, high = np.array([scores.intervals[part] for part in PART_NAMES]).T
    panel.bar(
        np.arange(len(means)) + shift,
        means,
        width,
        # The interval of a mean by percentiles may lie off it by rounding.
        yerr=np.maximum([means - low, high - means], 0),
        label=scores.landmarker,
        color=OKABE_ITO[place % len(OKABE_ITO)],
        hatch="/" * 3 * (place // len(OKABE_ITO)),
        error_kw={"elinewidth": 0.8, "capsize": 1.5, "ecolor": "0.25", "capthick": 0.8},
    )


def _counts(counts: Iterable[int]) -> str:
    """How many faces; several numbers where landmarkers were measured on sets of different sizes."""
    return f"{' or '.join(map(str, dict.fromkeys(counts)))} faces"
