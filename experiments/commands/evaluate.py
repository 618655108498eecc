"""A checkpoint's scores on labelled faces."""

import csv
import json
import logging
from pathlib import Path
from typing import Literal

import torch

from callbacks.nme_table import print_scores
from datamodules.datasets import FolderDataModule
from datamodules.faces import DataError
from datamodules.loading import TestSet
from experiments.checkpoints import DEFAULT_WEIGHTS, load_landmarker
from experiments.run_folder import output_file
from experiments.scoring import score

log = logging.getLogger(__name__)


def evaluate(
    test: str,
    ckpt: str = DEFAULT_WEIGHTS,
    out: str = "metrics.json",
    on_error: Literal["raise", "skip"] = "raise",
) -> Path:
    """Score a checkpoint, or the shipped weights, on a labelled folder, in total and per face.

    Args:
        test: folder of labelled faces, in either layout
        ckpt: a checkpoint of a run, packed weights, or the name of shipped ones
        out: where to write NME, FR@8 and AUC@8; each face's NME goes beside it, as .faces.csv
        on_error: what an unreadable image does

    Returns:
        The file of the scores.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        DataError: bad input files, or no labelled face.
        UsageError: the output cannot be written.
    """
    path = output_file(out)
    landmarker = load_landmarker(ckpt)
    faces = FolderDataModule(test, name="own", on_error=on_error).test_faces()
    if len(faces) == 0:
        raise DataError(
            f"{test}: no labelled test face. Expected NAME.pts beside NAME.jpg, or landmarks/NAME.jpg.npy "
            "(68×2, zero-based pixels)."
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    scores = score(landmarker, [TestSet(faces, faces.subsets())], device=device)
    path.write_text(json.dumps({"checkpoint": ckpt, "folder": test, **scores.as_dict()}, indent=2) + "\n")
    per_face = path.with_suffix(".faces.csv")
    with per_face.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "nme"))
        writer.writerows((name, f"{nme:.6f}") for name, nme in scores.per_face)
    print_scores(scores.subsets, scores.average_nme, f"{ckpt} on {test}")
    log.info("wrote %s and %s", path, per_face)
    return path
