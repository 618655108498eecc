"""Published landmarkers, and ours, side by side."""

import logging
from pathlib import Path

from experiments.catalogue import file_of, names
from experiments.checkpoints import load_landmarker, read_landmarker
from experiments.errors import UsageError
from experiments.peers.comparison import Result, compare, comparison_table, write_results
from experiments.published_sets import SUBSETS, columns
from experiments.run.folder import output_file
from experiments.scoring import AVERAGED
from lightning_modules.weights import WeightsError

log = logging.getLogger(__name__)


def peers(
    peers: str = "",
    data: str = "../shared/data/paper",
    only: tuple[str, ...] = (),
    beside: tuple[str, ...] = (),
    subsets: tuple[str, ...] = SUBSETS,
    scales: tuple[float, ...] = AVERAGED.inference.scales,
    out: str = "runs/peers",
) -> Path:
    """Score published landmarkers (configs/peers), and checkpoints beside them, on the published test sets.

    Faces are cropped to the annotated box. Each landmarker is scored on one crop, and as the mean over crops of several
    scales and their mirror images; with 95 % bootstrap intervals over faces. A landmarker whose package is not
    installed, or whose file is missing, is named and left out.

    Args:
        peers: folder of the published landmarkers' files, which do not come with the program (default: that of the
            environment variable PEERS, else ../shared/peers)
        data: folder with the published data sets
        only: names in configs/peers (default: all)
        beside: checkpoints of runs, packed weights, names of shipped ones, or YAML files that describe a landmarker,
            to score as well
        subsets: of the test faces
        scales: sides of the crops that are averaged, over the usual one
        out: folder for table.md, .csv and .tex, results.csv (each mean and interval) and faces.csv (each face's NME)

    Returns:
        The table in Markdown.

    Raises:
        UsageError: an unknown name, or no landmarker can be scored.
        CheckpointError: a checkpoint cannot be used.
        DataError: bad input files.

    Examples:
        warpmark peers --data ROOT --peers folder --beside warpmark-light
    """
    table_file = output_file(f"{out}/table.md")
    files = {name: file_of("peer", name) for name in only or names("peer")}
    ours = {ckpt: load_landmarker(ckpt) for ckpt in beside}
    on = columns(data, subsets)
    folder = {"peers": peers} if peers else {}
    results: list[Result] = []
    problems: list[str] = []
    for name, file in files.items():
        try:
            results += compare(name, read_landmarker(file, **folder), on, scales)
        except WeightsError as error:
            log.warning("%s is left out: %s", name, error)
            problems.append(f"{name}: {error}")
    for name, landmarker in ours.items():
        results += compare(name, landmarker, on, scales)
    if not results:
        raise UsageError("no landmarker could be scored:\n" + "\n".join(problems))
    title = (
        f"NME in % (95 % bootstrap interval over faces), faces of {data}, annotated box; averaged: mirror image and "
        f"scales {', '.join(f'{scale:g}' for scale in scales)}"
    )
    table = comparison_table([*files, *ours], on, results, title)
    written = [*table.write(table_file.with_suffix("")), *write_results(results, table_file.parent)]
    print(f"{table.title}\n{table.text('rounded_outline')}")
    log.info("wrote %s", ", ".join(map(str, written)))
    return table_file
