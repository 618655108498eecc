"""How large and how fast landmarkers are: parameters, floating-point operations, images a second."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from lightning_modules.landmarkers.base import Landmarker

BATCHES = (1, 16)


@dataclass(frozen=True)
class LandmarkerCost:
    """What a landmarker costs to use.

    Attributes:
        parameters: how many.
        flops: floating-point operations for one image: a multiply-add counts as two; matrix products, convolutions
            and attention only, as torch's ``FlopCounterMode`` counts them.
        images_per_second: by batch size, of CPU time in torch's current number of threads.
    """

    parameters: int
    flops: int
    images_per_second: dict[int, float]


@torch.inference_mode()
def landmarker_costs(landmarkers: Mapping[str, Landmarker], rounds: int = 5) -> dict[str, LandmarkerCost]:
    """Measure landmarkers on the CPU. They take turns and each one's best round counts, so that all meet the same load.

    CPU time is that of all threads: with one thread, images a second of an undisturbed core.
    """
    best = {name: dict.fromkeys(BATCHES, float("inf")) for name in landmarkers}
    for round_ in range(rounds + 1):
        for name, landmarker in landmarkers.items():
            for batch in BATCHES:
                images = torch.rand(batch, 3, landmarker.image_size, landmarker.image_size)
                began = time.process_time()
                landmarker.eval()(images)
                if round_:  # the first one warms up
                    best[name][batch] = min(best[name][batch], time.process_time() - began)
    return {
        name: LandmarkerCost(
            sum(p.numel() for p in landmarker.parameters()),
            _flops(landmarker),
            {batch: batch / best[name][batch] for batch in BATCHES},
        )
        for name, landmarker in landmarkers.items()
    }


def _flops(landmarker: Landmarker) -> int:
    # The counter's hooks want a graph where a parameter goes from module to module.
    with torch.inference_mode(False), torch.enable_grad(), FlopCounterMode(display=False) as counter:
        landmarker(torch.rand(1, 3, landmarker.image_size, landmarker.image_size))
    return int(counter.get_total_flops())
