"""Where landmarkers err: cumulative error curves, NME of the parts of the face, and the worst faces as pictures."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import torch

from callbacks.drawing import FORMATS
from datamodules.loading import TestSet
from datamodules.setting import SYNTHETIC
from datamodules.transforms import StartBox
from experiments.analysis.measured import measure
from experiments.analysis.parts import TABLE_HEAD, table_rows
from experiments.analysis.report import write_errors
from experiments.checkpoints import DEFAULT_WEIGHTS, load_landmarker
from experiments.commands.evaluate import labelled_faces, protocol_of, with_detected_boxes
from experiments.errors import UsageError, nearest
from experiments.grids.tables import Table
from experiments.published_sets import setting_data
from experiments.run.folder import output_file
from experiments.scoring import Protocol
from lightning_modules.landmarkers.inference import Inference

log = logging.getLogger(__name__)

_LAST: Final = Path("checkpoints/last.ckpt")


def analyse(
    of: tuple[str, ...] = (DEFAULT_WEIGHTS,),
    test: str = "",
    data: str = "",
    setting: str = "gzsl_artiface",
    subsets: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
    out: str = "analysis",
    picture: str = "png",
    worst: int = 12,
    on_error: Literal["raise", "skip"] = "raise",
    box: StartBox = "annotated",
    loosen: float = 1.0,
    shift: float = 0.0,
    recrop: int = 0,
    mirror: bool = False,
    scales: tuple[float, ...] = (1.0,),
    tolerance: float = Inference.tolerance,
    seed: int = 0,
) -> Path:
    """Show where landmarkers err: error curves, NME of jaw, brows, nose, eyes and mouth, and the worst faces.

    Args:
        of: what to analyse, one or several: folders of runs, checkpoints, packed weights, names of shipped ones,
            exported .onnx files, or YAML files that describe a landmarker, e.g. configs/peers/pfld.yaml
        test: folder of labelled faces, in either layout
        data: instead of test: folder with the published data sets, of whatever numbers, or 'synthetic' (the default)
        setting: with data, the setting whose test sets are used
        subsets: only these subsets of the test sets
        names: a name for each of them
        out: folder for error_curves, parts and worst-… (pictures), table.md, .csv and .tex, parts.csv and faces.csv
        picture: what pictures are written as: png, pdf, svg, jpg, tif or webp
        worst: how many of the worst faces to show of each subset; 0 for none
        on_error: what an unreadable image does
        box: first crop, see evaluate
        loosen: make the annotated box so many times too large
        shift: and shift it by such a share of its side, each face's in a direction of its own
        recrop: crop again to the landmarks found, at most so often
        mirror: average the estimates on each crop and its mirror image
        scales: average the estimates on crops so many times as large, e.g. 0.95 1.05
        tolerance: change of a crop, as a share of its side, up to which it is not cropped again
        seed: of the directions of shift

    Returns:
        The table in Markdown.

    Raises:
        CheckpointError: a checkpoint cannot be used.
        WeightsError: a landmarker's own file, or the package it runs in, is missing.
        DataError: bad input files, or no labelled face.
        UsageError: an option is not as expected, or the output cannot be written.

    Examples:
        warpmark analyse --of runs/own/stylize-integral/seed0 --test faces
    """
    protocol = protocol_of(box, loosen, shift, seed, recrop, mirror, scales, tolerance)
    folder = output_file(f"{out}/error_curves.{picture}", FORMATS).parent
    if worst < 0:
        raise UsageError(f"--worst: found {worst}, expected 0 or more faces.")
    called = _names(of, names)
    # All are read before any is measured, which takes long.
    landmarkers = [load_landmarker(_checkpoint(one)) for one in of]
    tests, where, drawn = _tests(test, data, setting, on_error, protocol)
    tests = _with_subsets(tests, subsets)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = [measure(name, one, tests, protocol, device) for name, one in zip(called, landmarkers, strict=True)]
    scores = write_errors(found, folder, worst, picture, drawn)
    said = f"{'SYNTHETIC faces: not results. ' if drawn else ''}Faces of {where}, {protocol}; errors in %"
    title = f"{said} of the inter-ocular distance (95 % bootstrap interval over faces)"
    return Table(title, TABLE_HEAD, table_rows(scores)).show(folder / "table")


def _names(of: Sequence[str], names: Sequence[str]) -> list[str]:
    """What the landmarkers are called: as asked for; else by their files or runs, in full where those are alike."""
    if not of:
        raise UsageError("--of names nothing to analyse; give a run's folder, a checkpoint or another landmarker.")
    if names and len(names) != len(of):
        raise UsageError(f"--names: found {len(names)}, expected one for each of {len(of)} landmarkers.")
    called = list(names) or [_short_name(one) for one in of]
    called = called if len(set(called)) == len(called) else list(names or of)
    if twice := [name for name in called if called.count(name) > 1]:
        raise UsageError(f"{twice[0]} is there twice; expected different landmarkers, and different --names for them.")
    return called


def _short_name(one: str) -> str:
    path = Path(one)
    if not (path.is_dir() or path.suffix == ".ckpt"):
        return path.stem
    if path.is_dir():
        return "/".join(path.resolve().parts[-2:])
    run = path.parent.parent if path.parent.name == _LAST.parent.name else path.parent
    return "/".join([*run.resolve().parts[-2:], *([] if path.stem == _LAST.stem else [path.stem])])


def _checkpoint(one: str) -> Path | str:
    """The last checkpoint of a run, where its folder is given; anything else as it is."""
    if not Path(one).is_dir():
        return one
    if not (Path(one) / _LAST).is_file():
        raise UsageError(f"{one}: found no {_LAST} in it; expected the folder of a run. Give one, or a checkpoint.")
    return Path(one) / _LAST


def _tests(
    test: str, data: str, setting: str, on_error: Literal["raise", "skip"], protocol: Protocol
) -> tuple[list[TestSet], str, bool]:
    """The test sets, where they are from, and whether they are drawn."""
    if test and data:
        raise UsageError("--test and --data are both given; expected a labelled folder, or the published data sets.")
    if test:
        faces = labelled_faces(test, on_error, protocol)
        tests, where, drawn = [TestSet(faces, faces.subsets())], test, False
    else:
        module = setting_data(setting, data or SYNTHETIC, on_error)
        module.setup("test")
        tests, where, drawn = module.test_sets, f"{setting} ({data or SYNTHETIC})", module.synthetic
    if protocol.box == "detected":
        tests = [TestSet(with_detected_boxes(one.faces, where), one.subsets) for one in tests]
    return tests, where, drawn


def _with_subsets(tests: Sequence[TestSet], wanted: Sequence[str]) -> list[TestSet]:
    """Those test sets that have a wanted subset, without the other subsets; all where none is named."""
    known = [name for test in tests for name in test.subset_names]
    for subset in wanted:
        if subset not in known:
            raise UsageError(f"--subsets: {subset!r} is none of these test sets'. {nearest(subset, known)}")
    if not wanted:
        return list(tests)
    return [one for test in tests if (one := test.only(wanted)).faces]
