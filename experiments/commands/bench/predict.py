"""How fast ``predict`` is."""

import logging
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from datamodules.faces import DataError
from experiments.bench.prediction import draw_pictures, first_result_seconds, speed
from experiments.bench.video import video_speed
from experiments.catalogue import file_of
from experiments.checkpoints import DEFAULT_WEIGHTS, fastest, load_fastest, read_landmarker
from experiments.detectors import DEFAULT_DETECTOR, load_detector
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.weights import WeightsError
from prediction.detection.fixed import GivenBoxes
from prediction.images import list_pictures
from prediction.predictor import USUAL, Predictor

log = logging.getLogger(__name__)


def bench_predict(
    input: str = "",
    ckpt: str = DEFAULT_WEIGHTS,
    peer: str = "pfld",
    peers: str = "",
    detector: str = DEFAULT_DETECTOR,
    recrop: int = USUAL.recrop,
    pictures: int = 64,
    rounds: int = 3,
    frames: int = 150,
) -> None:
    """Time folders of pictures, beside another landmarker; the start; and a video.

    Args:
        input: folder of pictures, with boxes.csv where given boxes are to be timed (default: drawn ones, 640×480)
        ckpt: the landmarker
        peer: another one, of configs/peers, with the same detector; left out where its file is not there
        peers: folder of the peers' files
        detector: what finds faces
        recrop: crop again to the landmarks found, at most so often
        pictures: how many are drawn
        rounds: the best of so many counts
        frames: of a video of 640×480 pixels in which one face moves; 0 leaves it out

    Raises:
        UsageError: there is no such peer or detector.
        DataError: the folder has no pictures.

    Examples:
        warpmark bench-predict
    """
    with tempfile.TemporaryDirectory() as drawn:
        if not input:
            draw_pictures(Path(drawn), pictures)
        paths = list_pictures(input or drawn)
        try:
            given: GivenBoxes | None = GivenBoxes(paths[0].parent)
        except DataError as error:
            log.info("given boxes are left out: %s", error)
            given = None
        console = Console()
        table = Table("", title=f"{len(paths)} pictures, best of {rounds}, {os.cpu_count()} cores")
        table.add_column("faces/s, detected", justify="right")
        table.add_column("faces/s, given boxes", justify="right")
        finding = load_detector(detector)
        for name, landmarker, again in _landmarkers(ckpt, peer, peers, recrop):
            predictor = Predictor(landmarker, finding, replace(USUAL, recrop=again))
            figures = [
                f"{speed(predictor, paths, boxes, rounds).faces:.1f}" for boxes in [None, *([given] if given else [])]
            ]
            table.add_row(f"{name}, cropped again {again}×", *figures)
        console.print(table)
        seconds = min(first_result_seconds(paths[0]) for _ in range(rounds))
        console.print(f"start to first result, a fresh process: {seconds:.1f} s")
        if frames:
            rate = video_speed(Predictor(load_fastest(ckpt), finding), frames, rounds=rounds).wall
            console.print(f"video of one face, tracked, drawn and written again: {rate:.0f} frames/s")


def _landmarkers(ckpt: str, peer: str, peers: str, recrop: int) -> list[tuple[str, Landmarker, int]]:
    """Ours as it is used and with one crop, and the peer with one."""
    ours = load_fastest(ckpt)
    form = (
        f"{ckpt} (onnxruntime)"
        if str(fastest(ckpt)).endswith(".onnx")
        else f"{ckpt} ({torch.get_num_threads()} threads)"
    )
    found = [(form, ours, recrop), *([(form, ours, 0)] if recrop else [])]
    try:
        other = read_landmarker(file_of("peer", peer), **({"peers": peers} if peers else {}))
        found.append((peer, other, 0))
    except WeightsError as error:
        log.info("%s is left out: %s", peer, error)
    return found
