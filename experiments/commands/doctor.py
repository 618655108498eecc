"""``doctor``: what is installed, what runs here, whether the shipped weights load."""

import importlib.metadata
import json as json_format
import logging
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

import torch
from packaging.requirements import Requirement

from experiments.checkpoints import load_landmarker
from experiments.errors import CheckpointError
from experiments.run.account import has_login
from lightning_modules.weights import WeightsError, shipped

_CORE: Final = ("torch", "torchvision", "lightning", "timm", "kornia", "albumentations", "jsonargparse", "numpy")
_FOR_DEVELOPERS: Final = ("dev", "docs")
_GIGABYTE: Final = 1e9


@dataclass(frozen=True)
class Item:
    """A line of the report.

    Attributes:
        group: what it is about.
        name: of the thing.
        found: what there is.
        problem: what to do about it, where something does not work that should.
    """

    group: str
    name: str
    found: str
    problem: str = ""


def doctor(json: bool = False) -> list[Item]:
    """Tell versions, devices, optional packages, whether the shipped weights load, and which services are at hand.

    Nothing is fetched or sent. It ends with status 1 where something that should work does not.

    Args:
        json: print it as JSON instead of text

    Returns:
        What was found.

    Examples:
        warpmark doctor
        warpmark doctor --json
    """
    told = logging.getLogger("experiments.checkpoints")
    before = told.level
    # The weights' origin is not what is asked for here.
    told.setLevel(logging.WARNING)
    try:
        items = list(report())
    finally:
        told.setLevel(before)
    print(json_format.dumps([asdict(item) for item in items], indent=2) if json else _as_text(items))
    if any(item.problem for item in items):
        sys.exit(1)
    return items


def report() -> Iterator[Item]:
    """All items, in the order in which they are read."""
    yield Item("versions", "warpmark", f"{_version_of('warpmark')}, in {Path(__file__).parents[2]}")
    yield Item("versions", "Python", f"{platform.python_version()}, {sys.executable}")
    yield Item("versions", "system", platform.platform())
    yield from (Item("versions", name, _version_of(name)) for name in _CORE)
    yield from devices()
    yield from extras()
    yield from weights()
    yield from services()


def devices() -> Iterator[Item]:
    """GPUs, cores, threads, and room on the disk."""
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        yield Item("devices", f"GPU {number}", f"{about.name}, {about.total_memory / _GIGABYTE:.0f} GB")
    if not torch.cuda.is_available():
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built for CPUs"
        apple = "; Apple's GPU is not used: it lacks float64" if torch.backends.mps.is_available() else ""
        yield Item("devices", "GPU", f"none ({built}{apple})")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Item("devices", "CPU", f"{usable} cores usable, torch takes {torch.get_num_threads()} threads")
    yield Item("devices", "OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "not set"))
    yield Item("devices", "disk", f"{shutil.disk_usage(Path.cwd()).free / _GIGABYTE:.0f} GB free in {Path.cwd()}")


def extras() -> Iterator[Item]:
    """The optional packages of each extra that users may want, as the installed program names them."""
    try:
        written = importlib.metadata.requires("warpmark") or []
    except importlib.metadata.PackageNotFoundError:
        yield Item("optional", "warpmark", "not installed", 'Install it: pip install -e "."')
        return
    wanted: dict[str, list[str]] = {}
    for text in written:
        requirement = Requirement(text)
        extra = str(requirement.marker).rpartition("extra == ")[2].strip('"') if requirement.marker else ""
        if extra and extra not in _FOR_DEVELOPERS and requirement.name != "warpmark":
            wanted.setdefault(extra, []).append(requirement.name)
    for extra, names in wanted.items():
        found = [f"{name} {_version_of(name)}" for name in names]
        lacking = any(_version_of(name) == "not installed" for name in names)
        yield Item("optional", extra, ", ".join(found) + (f'   (pip install ".[{extra}]")' if lacking else ""))


def weights() -> Iterator[Item]:
    """Whether each of the shipped weights loads, in both of its forms."""
    for name, file in shipped().items():
        yield _loaded(name, name)
        if (other := file.with_suffix(".onnx")).is_file():
            yield _loaded(other.name, other)


def services() -> Iterator[Item]:
    """Slurm, and a login for Weights & Biases; nothing is asked of other machines."""
    found = shutil.which("sbatch")
    yield Item("services", "Slurm", f"sbatch in {Path(found).parent}" if found else "no sbatch here")
    yield Item("services", "W&B login", "found" if has_login() else "none (sweeps search on this machine)")


def _loaded(name: str, path: str | Path) -> Item:
    try:
        landmarker = load_landmarker(path)
    except (CheckpointError, WeightsError) as error:
        return Item("weights", name, "do not load", str(error))
    return Item("weights", name, f"load: {type(landmarker).__name__}, crops of {landmarker.image_size} pixels")


def _version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _as_text(items: list[Item]) -> str:
    wide = max(len(item.name) for item in items)
    lines: list[str] = []
    for group, of_group in groupby(items, key=lambda item: item.group):
        lines += ["", group] if lines else [group]
        for item in of_group:
            lines.append(f"  {item.name:<{wide}}  {item.found}")
            lines += [f"  {'':<{wide}}  ! {item.problem}"] if item.problem else []
    return "\n".join(lines)
