"""The figures of a model card."""

import logging
from pathlib import Path

from experiments.card import (
    Figures,
    drawn_figures,
    new_card,
    real_figures,
    section,
    with_section,
    write_figures,
)
from experiments.checkpoints import DEFAULT_WEIGHTS, load_landmarker, read_checkpoint
from experiments.errors import CheckpointError
from lightning_modules.weights import Provenance, located

log = logging.getLogger(__name__)


def card(data: str, weights: str = DEFAULT_WEIGHTS) -> Path:
    """Measure packed weights and write the figures of their model card, NAME.md, and NAME.json beside them.

    What the card says outside of its figures' part stays; without a card, one is begun.

    Args:
        data: folder with all three published data sets; of each, the faces that are there are scored
        weights: the name of shipped ones, or a file of packed ones

    Returns:
        The card.

    Raises:
        CheckpointError: there are no such packed weights, or they cannot be read.
        DataError: a data set is missing, or bad input files.
        UsageError: the card has no place for figures.

    Examples:
        warpmark card --data ROOT
    """
    checkpoint = read_checkpoint(weights)
    provenance = checkpoint.get("provenance")
    if not isinstance(provenance, Provenance):
        raise CheckpointError(
            f"{weights}: found a checkpoint, expected packed weights. Make them with `warpmark pack`."
        )
    landmarker, file = load_landmarker(weights), located(weights)
    path = file.with_suffix(".md")
    text = path.read_text() if path.exists() else new_card(file.stem)
    with_section(text, "", path)  # found before anything is measured
    figures = Figures(real_figures(landmarker, data), drawn_figures(landmarker))
    write_figures(figures, path.with_suffix(".json"))
    path.write_text(with_section(text, section(figures, provenance, landmarker, file.stat().st_size), path))
    for title, figure in figures.sets.items():
        log.info("%s: NME %.3f %% (%.3f to %.3f) on %d faces", title, figure.nme, *figure.interval, figure.n)
    log.info("wrote %s and %s", path, path.with_suffix(".json"))
    return path
