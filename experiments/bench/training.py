"""Our training beside the published program's: the same network, files and device, in turns, phase by phase.

Ratios are of laps that follow each other, so that others on the machine disturb both alike. The first round is not
counted in them: in it, ours reads files that it may keep.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch

from datamodules.faces import FloatArray
from experiments.bench.faces_on_disk import FaceFolders
from experiments.bench.measuring import Clock, Lap, peak_bytes
from experiments.bench.our_loop import Form, OurLoop, Phase, network_seconds
from experiments.bench.published import PublishedLoop, read_records
from lightning_modules.replay import EAGER_PASSES

PHASES: Final[tuple[Phase, ...]] = ("pretraining", "warper", "proximal")
Pseudo = Literal["pseudo landmarks", "pseudo landmarks, batches of 4 of which 1 is kept"]
PSEUDO: Final[dict[Pseudo, int]] = {
    "pseudo landmarks": 1,
    "pseudo landmarks, batches of 4 of which 1 is kept": 4,
}
"""How many faces go through the published network for each that gets landmarks: read kindly, and as it is written."""


@dataclass
class Compared:
    """What one phase takes in both loops.

    Attributes:
        theirs: laps of the published loop, one a round.
        ours: laps of ours, in the same rounds.
        first: ours, in the round before, whose files no one has read.
        network: seconds an image of the network alone.
        their_bytes: most memory held by a step, beyond what was held before; None where not measured.
        our_bytes: likewise.
    """

    theirs: list[Lap] = field(default_factory=list)
    ours: list[Lap] = field(default_factory=list)
    first: Lap | None = None
    network: float = float("nan")
    their_bytes: int | None = None
    our_bytes: int | None = None

    @property
    def most(self) -> float:
        """The ratio that a loop would have which costs nothing around this network in float32."""
        return 1 / (self.network * float(np.median([lap.rate for lap in self.theirs])))


@dataclass(frozen=True)
class Scaled:
    """Ours on batches of another size: laps of pretraining, and the most memory of a step."""

    batch: int
    laps: list[Lap]
    bytes: int


@dataclass(frozen=True)
class Bench:
    """Both loops on the same faces.

    Args:
        faces: in files.
        form: of SLPT.
        device: where.
        clock: that times them.
        batch: of the published loop, and of ours beside it.
        steps: of a lap.
        rounds: laps of each, after one that warms up.
        overrides: dotted options of the Lightning CLI, for ours.
    """

    faces: FaceFolders
    form: Form
    device: torch.device
    clock: Clock
    batch: int = 4
    steps: int = 4
    rounds: int = 3
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def _warm(self) -> int:
        """Steps of ours before the clock starts: on a GPU, those until its passes are recorded."""
        return EAGER_PASSES + 3 if self.device.type == "cuda" else 1

    def loops(self, runs: Path) -> tuple[OurLoop, PublishedLoop]:
        """Ours and theirs, each with a copy of the same network."""
        ours = OurLoop(self.faces, self.form, self.batch, self.device, self.clock, runs, self.overrides)
        frontal = ours.data.source_faces.frontal() or list(range(len(ours.data.source_faces)))
        # A handful of drawn faces may have fewer frontal ones than a batch.
        frontal = frontal * -(-self.batch // len(frontal))
        target = ours.data.target_faces
        assert target is not None, "the setting has a target"
        records = read_records(ours.data.source_faces), read_records(target)
        network = copy.deepcopy(ours.landmarker)
        return ours, PublishedLoop(network, records[0], frontal, records[1], self.device, self.batch, self.clock)

    def phases(
        self, ours: OurLoop, theirs: PublishedLoop, folder: Path, phases: Sequence[Phase] = PHASES
    ) -> Iterator[tuple[str, Compared]]:
        """Each phase by its name, as soon as it is measured; pseudo landmarks first: the proximal phase needs them.

        Args:
            ours: the one loop, and
            theirs: the other, of :meth:`loops`.
            folder: for pseudo landmarks; exists.
            phases: those to measure.
        """
        _, found = ours.pseudo_landmarks()
        points = list(found.landmarks.cpu().numpy())
        for name, kept in PSEUDO.items():
            yield name, self._pseudo(ours, theirs, folder, kept)
        for phase in phases:
            yield phase, self._phase(ours, theirs, phase, points)

    def _phase(self, ours: OurLoop, theirs: PublishedLoop, phase: Phase, points: Sequence[FloatArray]) -> Compared:
        laps: dict[Phase, Callable[[int, int], Lap]] = {
            "pretraining": theirs.pretraining,
            "warper": theirs.warper,
            "proximal": lambda steps, warm: theirs.proximal(steps, points, warm),
        }
        result = Compared()
        for round_ in range(self.rounds + 1):
            other, mine = laps[phase](self.steps, 1), ours.lap(phase, self.steps, self._warm)
            if round_:
                result.theirs.append(other)
                result.ours.append(mine)
            else:
                result.first = mine
        result.network = network_seconds(ours.landmarker, self.batch, phase, self.clock)
        result.their_bytes = peak_bytes(lambda: laps[phase](1, 0), self.device)
        result.our_bytes = peak_bytes(lambda: ours.lap(phase, 1), self.device)
        return result

    def _pseudo(self, ours: OurLoop, theirs: PublishedLoop, folder: Path, kept: int) -> Compared:
        result, count = Compared(), max(self.steps, 4)
        for round_ in range(self.rounds + 1):
            other, (mine, _) = theirs.pseudo_landmarks(folder, count, kept), ours.pseudo_landmarks()
            if round_:
                result.theirs.append(other)
                result.ours.append(mine)
            else:
                result.first = mine
        result.network = network_seconds(ours.landmarker, self.batch, "pseudo", self.clock)
        result.their_bytes = peak_bytes(lambda: theirs.pseudo_landmarks(folder, 1, kept), self.device)
        result.our_bytes = peak_bytes(lambda: ours.pseudo_landmarks(), self.device)
        return result

    def scaling(self, ours: OurLoop, batches: Sequence[int]) -> Iterator[Scaled]:
        """Ours on batches of several sizes, in pretraining: forward and backward on every image."""
        for batch in batches:
            # About as many images for each size.
            steps = max(2, self.steps * self.batch // batch)
            laps = [ours.lap("pretraining", steps, self._warm, batch) for _ in range(self.rounds)]
            yield Scaled(batch, laps, peak_bytes(lambda batch=batch: ours.lap("pretraining", 1, 0, batch), self.device))  # type: ignore[misc]
