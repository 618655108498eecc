"""How the epochs of bidirectional learning are shared out (Li et al., CVPR 2019, Algorithm 1)."""

from dataclasses import dataclass
from typing import Literal

RoundPhase = Literal["translation", "adaptation", "self_training"]


@dataclass(frozen=True)
class Rounds:
    """Rounds of three phases; the last one's self-training lasts as long as the run.

    Args:
        count: K, how many rounds.
        translation: epochs in which the translators learn, in each round.
        adaptation: epochs in which the landmarker learns from translated photos and against the discriminator.
        self_training: epochs in which it learns from pseudo landmarks as well.
        renew: epochs after which pseudo landmarks are taken anew (the paper's N is ``self_training / renew``).

    Raises:
        ValueError: a number below what makes sense.
    """

    count: int = 2
    translation: int = 20
    adaptation: int = 65
    self_training: int = 65
    renew: int = 33

    def __post_init__(self) -> None:
        if min(self.count, self.renew) < 1 or min(self.translation, self.adaptation, self.self_training) < 0:
            raise ValueError(f"{self}; expected count and renew of 1 or more, and no phase of less than 0 epochs.")
        if self.adaptation + self.self_training == 0:
            raise ValueError(f"{self}; the landmarker would not learn. Give adaptation or self_training an epoch.")

    def place(self, epoch: int) -> tuple[RoundPhase, int]:
        """The phase of an epoch, counted from 0, and how many epochs of that phase came before it in its round."""
        cycle = self.translation + self.adaptation + self.self_training
        within = epoch - cycle * min(epoch // cycle, self.count - 1)
        if within < self.translation:
            return "translation", within
        within -= self.translation
        if within < self.adaptation:
            return "adaptation", within
        return "self_training", within - self.adaptation
