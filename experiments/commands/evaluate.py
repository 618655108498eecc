"""A checkpoint's scores on labelled faces, under a crop protocol."""

import csv
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import torch

from callbacks.countdown import Countdown
from callbacks.nme_table import ProtocolScores, print_protocols, print_scores
from datamodules.datasets import FolderDataModule
from datamodules.face_sets import BoxedFaces
from datamodules.faces import DataError, FaceSet
from datamodules.files import FileFaces
from datamodules.loading import TestSet
from datamodules.transforms import StartBox
from experiments.checkpoints import DEFAULT_WEIGHTS, load_landmarker
from experiments.detectors import detect_boxes, load_detector
from experiments.errors import UsageError
from experiments.run.folder import beside, output_file
from experiments.scoring import LOOSE, Protocol, Scores, score
from experiments.values.plain_json import as_json
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.landmarkers.inference import Inference

log = logging.getLogger(__name__)


def evaluate(
    test: str,
    ckpt: str = DEFAULT_WEIGHTS,
    out: str = "metrics.json",
    on_error: Literal["raise", "skip"] = "raise",
    box: StartBox = "annotated",
    loosen: float = 1.0,
    shift: float = 0.0,
    recrop: int = 0,
    mirror: bool = False,
    scales: tuple[float, ...] = (1.0,),
    tolerance: float = Inference.tolerance,
    seed: int = 0,
    protocols: bool = False,
) -> Path:
    """Score a checkpoint, or the shipped weights, on a labelled folder, in total and per face.

    Args:
        test: folder of labelled faces, in either layout
        ckpt: a checkpoint of a run, packed weights, the name of shipped ones, or a YAML file that describes a
            landmarker, e.g. configs/peers/pfld.yaml
        out: where to write NME, FR@8 and AUC@8; each face's NME goes beside it, as .faces.csv
        on_error: what an unreadable image does
        box: first crop: the annotated landmarks' box, the given one (boxes.csv; else the whole image), that of the face
            detector (the one nearest the annotated face; else the whole image), or the whole image
        loosen: make the annotated box so many times too large, as a detector's may be
        shift: and shift it by such a share of its side, each face's in a direction of its own
        recrop: crop again to the landmarks found, at most so often
        mirror: average the estimates on each crop and its mirror image
        scales: average the estimates on crops so many times as large, e.g. 0.95 1.05
        tolerance: change of a crop, as a share of its side, up to which it is not cropped again
        seed: of the directions of shift
        protocols: also print annotated and loose box side by side, the latter cropped again up to four times

    Returns:
        The file of the scores.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        DataError: bad input files, or no labelled face.
        UsageError: an option is out of its range, or the output cannot be written.

    Examples:
        warpmark evaluate --test faces
        warpmark evaluate --test faces --ckpt runs/own/stylize-integral/seed0/checkpoints/last.ckpt --recrop 3
    """
    protocol = protocol_of(box, loosen, shift, seed, recrop, mirror, scales, tolerance)
    path = output_file(out)
    landmarker = load_landmarker(ckpt)
    faces: FaceSet = labelled_faces(test, on_error, protocol)
    faces = with_detected_boxes(faces, test) if protocol.box == "detected" else faces
    scores = _score(landmarker, faces, protocol)
    said = _said(protocol, faces)
    found: dict[str, Any] = {"checkpoint": ckpt, "folder": test, **said, **scores.as_dict()}
    print_scores(scores.subsets, scores.average_nme, f"{ckpt} on {test}: {said['protocol']}")
    if protocols:
        found["protocols"] = _compare(landmarker, faces, protocol)
    path.write_text(as_json(found))
    per_face = beside(path, ".faces.csv")
    _write_faces(per_face, scores)
    log.info("wrote %s and %s", path, per_face)
    log.info("next: make analyse OF=%s TEST=%s shows where it errs, and on which faces", ckpt, test)
    return path


def protocol_of(
    box: StartBox,
    loosen: float,
    shift: float,
    seed: int,
    recrop: int,
    mirror: bool,
    scales: Sequence[float],
    tolerance: float,
) -> Protocol:
    """The crop protocol of the options of a command.

    Raises:
        UsageError: an option is out of its range.
    """
    try:
        return Protocol(box, loosen, shift, seed, Inference(recrop, mirror, tuple(scales), tolerance))
    except ValueError as error:  # its message begins with the option's name
        raise UsageError(f"--{error}") from error


def labelled_faces(folder: str, on_error: Literal["raise", "skip"], protocol: Protocol) -> FileFaces:
    """The labelled faces of a folder, in the subset ``own``.

    Raises:
        DataError: bad files, no labelled face, or no box for any where the protocol asks for given ones.
    """
    faces = FolderDataModule(folder, name="own", on_error=on_error).test_faces()
    if len(faces) == 0:
        raise DataError(
            f"{folder}: no labelled test face. Expected NAME.pts beside NAME.jpg, or landmarks/NAME.jpg.npy "
            "(68×2, zero-based pixels)."
        )
    lacking = _without_box(protocol, faces)
    if lacking == len(faces):
        raise DataError(
            f"{folder}: found no box for any of {len(faces)} faces, and --box=given; expected boxes.csv with the "
            "header name,x0,y0,x1,y1. Add it, or give --box=whole."
        )
    if lacking:
        log.warning("%s: %d of %d faces have no box: the whole image is taken", folder, lacking, len(faces))
    return faces


def with_detected_boxes(faces: FaceSet, folder: str) -> BoxedFaces:
    """The faces with the default detector's boxes."""
    boxed = BoxedFaces(faces, detect_boxes(load_detector(), faces).boxes)
    found = len(boxed) - boxed.lacking
    log.info("%s: the detector found %d of %d faces; of the others the whole image is taken", folder, found, len(boxed))
    return boxed


def _without_box(protocol: Protocol, faces: FaceSet) -> int:
    """For how many faces the whole image takes the place of the given or the detected box."""
    if isinstance(faces, BoxedFaces):
        return faces.lacking
    if protocol.box != "given" or not isinstance(faces, FileFaces):
        return 0
    return sum(entry.box is None for entry in faces.entries)


def _said(protocol: Protocol, faces: FaceSet) -> dict[str, Any]:
    """What ``metrics.json`` says about the protocol: in words, its options, and how many faces have no box."""
    lacking = _without_box(protocol, faces)
    words = protocol.in_words(lacking, len(faces))
    return {"protocol": words, "options": asdict(protocol), **({"without_box": lacking} if lacking else {})}


def _score(landmarker: Landmarker, faces: FaceSet, protocol: Protocol, tell: bool = True) -> Scores:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with Countdown("faces", len(faces)) as countdown:
        tests = [TestSet(faces, faces.subsets())]
        return score(landmarker, tests, device=device, protocol=protocol, tell=tell, progress=countdown.tell)


def _compare(landmarker: Landmarker, faces: FaceSet, protocol: Protocol) -> list[dict[str, Any]]:
    """Score and print the annotated box, and a loose one cropped again 0 to 4 times; all else as in ``protocol``.

    The loose box is as loose as ``protocol`` says; :data:`LOOSE` where that has the annotated box as it is.
    """
    once = replace(protocol.inference, recrop=0)
    tight = replace(protocol, box="annotated", loosen=1.0, shift=0.0, inference=once)
    given = (protocol.loosen, protocol.shift)
    loosen, shift = (LOOSE.loosen, LOOSE.shift) if given == (1.0, 0.0) else given
    loose = [replace(tight, loosen=loosen, shift=shift, inference=replace(once, recrop=recrop)) for recrop in range(5)]
    results = [(row, _score(landmarker, faces, row, tell=False)) for row in (tight, *loose)]
    first = results[0][1].average_nme
    table = [
        ProtocolScores(str(row), *_figures(scores), 100 * (scores.average_nme / first - 1)) for row, scores in results
    ]
    print_protocols(table)
    return [asdict(row) for row in table]


def _figures(scores: Scores) -> tuple[float, float, float]:
    """Mean NME in %, crops per face, and milliseconds per face."""
    count = len(scores.per_face)
    return scores.average_nme, sum(face.crops for face in scores.per_face) / count, 1000 * scores.seconds / count


def _write_faces(path: Path, scores: Scores) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "nme", "uncertainty", "crops"))
        for face in scores.per_face:
            uncertainty = "" if math.isnan(face.uncertainty) else f"{face.uncertainty:.6f}"
            writer.writerow((face.path, f"{face.nme:.6f}", uncertainty, face.crops))
