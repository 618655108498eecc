"""Imports go one way, between rooms and within them, in no circle; and no folder is too full to find one's way in."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = {
    "datamodules": (
        *(
            "ranges",
            "ibug68",
            "faces",
            "face_sets",
            "formats",
            "checks",
            "layout",
            "files",
            "resampling",
            "augmentation",
            "transforms",
            "store",
        ),
        *("kept", "loading", "experiment", "base"),
        *("synthetic", "datasets", "setting"),
    ),
    "lightning_modules": (
        *(
            "processor",
            "devices",
            "coordinates",
            "sampling",
            "weights",
            "finite",
            "metrics",
            "standing_out",
            "training",
        ),
        *("backbones", "landmarkers", "replay", "warping", "augment"),
        *("translation", "methods"),
    ),
    "callbacks": (),
    "prediction": (
        *("faces", "images", "views", "detection", "predictor", "pictures", "outputs", "smoothing", "tracking"),
        *("video", "video_outputs", "camera", "demo"),
    ),
    "experiments": (
        *(
            "machine",
            "errors",
            "values",
            "intervals",
            "run",
            "catalogue",
            "compose",
            "checkpoints",
            "detectors",
            "published_sets",
            "scoring",
            "card",
            "artifacts",
            "cli",
            "bench",
            "analysis",
        ),
        *("grids", "peers", "sweeps", "commands", "command_line", "__main__"),
    ),
    "warpmark": (),
}
"""Rooms, and the files and folders within them, from the ground up: each may import what stands before it."""
MOST_FILES = 15


def modules() -> dict[str, Path]:
    files = [path for room in FLOORS for path in (ROOT / room).rglob("*.py")]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imports() -> Iterator[tuple[str, str]]:
    """Every module and each of ours that it imports, wherever in the file."""
    known = modules()
    for name, file in known.items():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                assert node.level == 0, f"{name}: imports are written in full"
                targets = [f"{node.module}.{alias.name}" for alias in node.names]
                yield from ((name, target if target in known else node.module) for target in targets)
            elif isinstance(node, ast.Import):
                yield from ((name, alias.name) for alias in node.names)


OURS = sorted({(name, target) for name, target in imports() if target in modules()})


def test_every_part_of_a_room_has_its_floor() -> None:
    parts = {(name.split(".")[0], name.split(".")[1]) for name in modules() if "." in name}
    assert {part for room, part in parts if FLOORS[room] and part not in FLOORS[room]} == set()


def test_imports_go_down_from_room_to_room_and_within_rooms() -> None:
    rooms = list(FLOORS)
    wrong: list[str] = []
    for name, target in OURS:
        (room, *inside), (other, *there) = name.split("."), target.split(".")
        same_part = not inside or not there or inside[0] == there[0] or not FLOORS[room]
        if room != other:
            fine = rooms.index(room) > rooms.index(other)
        else:
            fine = same_part or FLOORS[room].index(inside[0]) > FLOORS[room].index(there[0])
        wrong += [] if fine else [f"{name} imports {target}"]
    assert wrong == []


def test_no_import_is_part_of_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for name, target in OURS:
        graph.setdefault(name, set()).add(target)
    assert set(TopologicalSorter(graph).static_order()) <= set(modules())


@pytest.mark.parametrize("room", [*FLOORS, "configs", "tests"])
def test_no_folder_is_too_full(room: str) -> None:
    folders = [ROOT / room, *(path for path in (ROOT / room).rglob("*") if path.is_dir() and path.name[0] not in "._")]
    # YAML files are looked up by name, a choice each; of Python files one wants to know what is where.
    counts = {str(folder.relative_to(ROOT)): len(list(folder.glob("*.py"))) for folder in folders}
    assert {name: count for name, count in counts.items() if count > MOST_FILES} == {}
