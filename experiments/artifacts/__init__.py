"""What is made once and used again by later runs: pretrained starts and translators."""

from experiments.artifacts.pretrained import Pretraining, pretrained_start
from experiments.artifacts.store import Recipe, RunContext, provide
from experiments.artifacts.translators import Translation, trained_translator

__all__ = ["Pretraining", "Recipe", "RunContext", "Translation", "pretrained_start", "provide", "trained_translator"]
