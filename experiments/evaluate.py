"""``python -m experiments evaluate``: score a checkpoint on a labelled folder, per face and in total."""

import argparse
import csv
import json
import logging
from pathlib import Path

import torch

from callbacks.nme_table import print_scores
from datamodules.datasets import FolderDataModule
from datamodules.faces import DataError
from datamodules.setting import TestSet
from experiments.checkpoints import load_landmarker
from experiments.errors import UsageError
from experiments.run_folder import require_writable
from experiments.scoring import score

log = logging.getLogger(__name__)


def evaluate(arguments: list[str]) -> Path:
    """Write NME, FR@8 and AUC@8 as JSON, and each face's NME as CSV beside it; returns the JSON's path.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        DataError: bad input files, or no labelled face.
        UsageError: the output cannot be written.
    """
    parser = argparse.ArgumentParser("python -m experiments evaluate", description=__doc__, allow_abbrev=False)
    parser.add_argument("--ckpt", required=True, help="a checkpoint of a run")
    parser.add_argument("--test", required=True, help="folder of labelled faces, in either layout")
    parser.add_argument("--out", default="metrics.json", help="where to write the figures (per-face figures beside it)")
    parser.add_argument("--on-error", choices=("raise", "skip"), default="raise", help="what an unreadable image does")
    options = parser.parse_args(arguments)
    out = Path(options.out)
    try:
        require_writable(out.parent)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror}). Give another OUT.") from error
    if out.is_dir():
        raise UsageError(
            f"{out}: found a folder, expected a file's name. Give another OUT, e.g. {out / 'metrics.json'}."
        )
    landmarker = load_landmarker(options.ckpt)
    faces = FolderDataModule(options.test, name="own", on_error=options.on_error).test_faces()
    if len(faces) == 0:
        raise DataError(
            f"{options.test}: no labelled test face. Expected NAME.pts beside NAME.jpg, or landmarks/NAME.jpg.npy "
            "(68×2, zero-based pixels)."
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    scores = score(landmarker, [TestSet(faces, faces.subsets())], device=device)
    figures = {"checkpoint": options.ckpt, "folder": options.test, **scores.as_dict()}
    out.write_text(json.dumps(figures, indent=2) + "\n")
    per_face = out.with_suffix(".faces.csv")
    with per_face.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "nme"))
        writer.writerows((path, f"{nme:.6f}") for path, nme in scores.per_face)
    print_scores(scores.figures, scores.average_nme, f"{options.ckpt} on {options.test}")
    log.info("wrote %s and %s", out, per_face)
    return out
