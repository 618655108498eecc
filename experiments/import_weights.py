"""``python -m experiments import-weights``: an author's published weights under our names, checked tensor by tensor."""

import argparse
import logging
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser

from experiments.catalogue import CONFIGS, FOLDERS, names
from experiments.errors import UsageError, nearest
from experiments.run_folder import require_writable
from lightning_modules.landmarkers.base import Landmarker

log = logging.getLogger(__name__)


def import_weights(arguments: list[str]) -> Path:
    """Read published weights into the landmarker they belong to and save its state dict; returns where.

    The file may be the author's (names and wrapping as published), or one of ours, which is then only checked.

    Raises:
        UsageError: an unknown landmarker, an option it does not have, or an output that cannot be written.
        WeightsError: the file cannot be read safely, or does not hold this landmarker; the message lists what differs.
    """
    parser = argparse.ArgumentParser("python -m experiments import-weights", description=__doc__, allow_abbrev=False)
    parser.add_argument("--landmarker", required=True, help=f"whose weights: {', '.join(names('landmarker'))}")
    parser.add_argument("--from", dest="source", required=True, help="the published file")
    parser.add_argument("--to", help="where to write ours (default: runs/weights/LANDMARKER.pt)")
    parser.add_argument("--profile", default="paper", help="which form of the landmarker: paper (published) or quick")
    parser.epilog = "Further options are the landmarker's own, e.g. --mean_face=FILE."
    options, rest = parser.parse_known_args(arguments)
    if not Path(options.source).is_file():
        raise UsageError(f"FROM={options.source}: no such file (looked from {Path.cwd()}).")
    out = Path(options.to or f"runs/weights/{options.landmarker}.pt")
    if out.resolve() == Path(options.source).resolve():
        raise UsageError(f"TO={out} is the published file itself. Give another TO.")
    spec = _spec(options.landmarker, options.profile)
    try:
        require_writable(out.parent)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror}). Give another TO.") from error
    landmarker = _build(spec, options.source, rest)
    state = landmarker.state_dict()
    torch.save(state, out)
    log.info(
        "%s: %d tensors, %s parameters, all of them those of %s. Wrote %s. Start from it with\n"
        "    make train LANDMARKER=%s PROFILE=%s ARGS=--model.init_args.landmarker.init_args.weights=%s",
        options.source,
        len(state),
        f"{sum(parameter.numel() for parameter in landmarker.parameters()):,}",
        spec["class_path"],
        out,
        options.landmarker,
        options.profile,
        out,
    )
    return out


def _spec(name: str, profile: str) -> dict[str, Any]:
    """The landmarker's ``class_path`` and ``init_args`` from its shipped configurations."""
    if name not in names("landmarker"):
        raise UsageError(f"LANDMARKER={name} is not known. {nearest(name, names('landmarker'))}")
    if profile not in names("profile"):
        raise UsageError(f"PROFILE={profile} is not known. {nearest(profile, names('profile'))}")
    folder = CONFIGS / FOLDERS["landmarker"]
    spec: dict[str, Any] = {"init_args": {}}
    for file in (folder / f"{name}.yaml", folder / f"{name}.{profile}.yaml"):
        if file.exists():
            given = yaml.safe_load(file.read_text())["model"]["init_args"]["landmarker"]
            spec["class_path"] = given["class_path"]
            spec["init_args"] |= given.get("init_args", {})
    return spec


def _build(spec: dict[str, Any], weights: str, options: list[str]) -> Landmarker:
    spec = {**spec, "init_args": {**spec["init_args"], "weights": weights}}
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Landmarker, "landmarker")
    parser.set_defaults({"landmarker": spec})
    own = [f"--landmarker.init_args.{option.removeprefix('--')}" for option in options]
    try:
        parsed = parser.parse_args(own)
    except ArgumentError as error:
        raise UsageError(f"{' '.join(options)}: not an option of {spec['class_path']}: {error}") from error
    return cast(Landmarker, parser.instantiate_classes(parsed).landmarker)
