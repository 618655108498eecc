"""A small part of the soak: two runs, each stopped at random moments, end as runs that never were."""

from pathlib import Path
from random import Random

import pytest
import torch

from experiments.bench.soak.comparing import differences
from experiments.bench.soak.processes import Stop, run
from experiments.bench.soak.soak import Figures, try_out
from experiments.bench.soak.trials import Trial

TRIAL = Trial("face_warping", "slpt", 3)


@pytest.mark.slow
def test_a_run_that_is_killed_twice_ends_the_same(tmp_path: Path) -> None:
    stops = [Stop("full disk", size=20_000), Stop("SIGKILL", seconds=1.0)]
    figures = Figures()
    assert try_out(TRIAL, tmp_path, stops, figures) == ""
    assert figures.stops["full disk"] == 1
    reference, other = TRIAL.folder(tmp_path / "whole"), TRIAL.folder(tmp_path / "stopped")
    path = other / "checkpoints/last.ckpt"
    content = torch.load(path, weights_only=True)
    next(iter(content["state_dict"].values())).view(-1)[0] += 1e-6
    torch.save(content, path)
    (name,) = differences(other, reference)
    assert name.startswith("/state_dict/landmarker.")


def test_what_cannot_run_is_told(tmp_path: Path) -> None:
    wrong = Trial("face_warping", "slpt", -1)
    assert try_out(wrong, tmp_path, [], Figures()) == "the run that is not stopped ended with 2"
    assert run(["fit", "--nothing"], tmp_path / "log").status == 2


def test_trials_and_stops_are_drawn_from_the_seed() -> None:
    drawn = [[Trial.drawn(random) for _ in range(5)] for random in (Random(1), Random(1), Random(2))]
    assert drawn[0] == drawn[1] != drawn[2]
    stops = [Stop.drawn(Random(seed), 10.0, 50_000) for seed in range(40)]
    assert {stop.way for stop in stops} == {"SIGKILL", "SIGTERM", "full disk"}
    assert all(0 <= stop.seconds <= 10 and 2000 <= stop.size < 50_000 for stop in stops)
