"""Landmarkers from checkpoints of ours, from shipped weights, and from the shipped configurations."""

import importlib.util
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import torch
import yaml
from jsonargparse import ArgumentError
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from experiments.catalogue import config_files
from experiments.compose import build
from experiments.errors import CheckpointError, option_error
from lightning_modules.landmarkers.base import Landmarker
from lightning_modules.weights import Provenance, WeightsError, load_matching, read_tensors, shipped

log = logging.getLogger(__name__)

DEFAULT_WEIGHTS: Final = "warpmark-light"
"""The shipped weights that a command uses where it is given none."""

_STARTING_POINTS = ("weights", "pretrained", "mean_face")
"""Landmarker arguments that say where training started: a checkpoint's own weights take their place."""

_WRITTEN_BY: Final = "one written by `make train` or `make pack`"

LANDMARKER = "landmarker"
"""Key of the landmarker's specification in a checkpoint, and prefix of its tensors' names."""


def read_checkpoint(path: str | Path, network: str = LANDMARKER) -> dict[str, Any]:
    """Read a checkpoint of ours, or packed weights; code that a file may contain is never run.

    Args:
        path: of the file, or the name of shipped weights.
        network: what it must hold.

    Raises:
        CheckpointError: no such file or name, a damaged file, pickled code, or a file without that network.
    """
    try:
        content = read_tensors(path)
    except WeightsError as error:
        raise CheckpointError(f"{error} Checkpoints of a run are in its folder checkpoints/.") from error
    if not isinstance(content, Mapping) or "state_dict" not in content or network not in content:
        found = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
        raise CheckpointError(
            f"{path}: found {found}; expected a Warpmark checkpoint with 'state_dict' and {network!r}. "
            f"Use {_WRITTEN_BY}."
        )
    if wrong := _other_type(content, network):
        raise CheckpointError(f"{path}: found {wrong}. It is no checkpoint of this program: use {_WRITTEN_BY}.")
    return dict(content)


def _other_type(content: Mapping[str, Any], network: str) -> str:
    """What of a checkpoint is of another type than it should be, and what was expected; empty if nothing."""
    state, spec = content["state_dict"], content[network]
    if not isinstance(state, Mapping):
        return f"{type(state).__name__} as 'state_dict', expected tensors by name"
    for name, value in state.items():
        # Others may have a state that is no tensor, as pools of images do.
        if not isinstance(name, str) or (name.startswith(f"{network}.") and not isinstance(value, torch.Tensor)):
            return f"{type(value).__name__} as {name!r} in 'state_dict', expected a tensor"
    if network != LANDMARKER:
        return ""
    arguments = spec.get("init_args") if isinstance(spec, Mapping) else None
    if not isinstance(spec, Mapping) or not isinstance(spec.get("class_path"), str):
        return f"{str(spec)[:60]!r} as {network!r}, expected its class_path and init_args"
    return "" if arguments is None or isinstance(arguments, Mapping) else f"{arguments!r} as init_args, expected names"


def load_landmarker(path: str | Path) -> Landmarker:
    """Rebuild the landmarker of a checkpoint, with its weights, in evaluation mode.

    Args:
        path: of a checkpoint or of packed weights, or the name of shipped ones, e.g. ``warpmark-light``; or of a
            ``.yaml`` file that describes a landmarker without a checkpoint, see :func:`read_landmarker`; or of an
            ``.onnx`` file that `warpmark export` wrote.

    Raises:
        CheckpointError: see :func:`read_checkpoint`; or the landmarker's class cannot be built.
        WeightsError: an ONNX file that is not there, damaged, or not one of this project.
    """
    if Path(path).suffix in (".yaml", ".yml"):
        return read_landmarker(path)
    if Path(path).suffix.lower() == ".onnx":
        return _exported(path)
    checkpoint = read_checkpoint(path)
    tell_origin(checkpoint, path)
    try:
        landmarker = build_landmarker(checkpoint[LANDMARKER])
    except (ArgumentError, ValueError) as error:
        if isinstance(cause := own_error(error), WeightsError):
            raise cause from None
        raise CheckpointError(
            f"{path}: its landmarker {checkpoint[LANDMARKER].get('class_path')} cannot be built: "
            f"{option_error(str(error), ())}"
        ) from error
    load_weights(landmarker, checkpoint, path)
    return landmarker.eval()


def load_fastest(name: str | Path = DEFAULT_WEIGHTS) -> Landmarker:
    """:func:`load_landmarker`, in the form that is fastest here, see :func:`fastest`."""
    return load_landmarker(fastest(name))


def fastest(name: str | Path = DEFAULT_WEIGHTS) -> str | Path:
    """The form of shipped weights that is fastest here, for :func:`load_landmarker`.

    Args:
        name: of shipped weights; anything else is returned as it is.

    Returns:
        The ONNX file where there is one, onnxruntime is installed and there is no GPU: it starts without timm, whose
        import takes longer than many faces, and finds as much. Else ``name``, for torch.
    """
    if Path(name).is_file() or str(name) not in shipped():
        return name
    file = shipped()[str(name)].with_suffix(".onnx")
    here = file.is_file() and importlib.util.find_spec("onnxruntime") is not None and not torch.cuda.is_available()
    return file if here else name


def _exported(path: str | Path) -> Landmarker:
    from lightning_modules.landmarkers.onnx.exported import ExportedLandmarker

    landmarker = ExportedLandmarker(path)
    about = landmarker.about
    if about.trained_on:
        log.info("using the weights %s (%s), trained on %s: %s", *(path, about.version, about.trained_on, about.terms))
    return landmarker.eval()


def read_landmarker(path: str | Path, **variables: str) -> Landmarker:
    """The landmarker that a YAML file describes, e.g. one of configs/peers, in evaluation mode.

    Args:
        path: of a file of ``class_path`` and ``init_args``, where these may refer to the file's other keys.
        variables: values of such keys, instead of the file's.

    Raises:
        CheckpointError: there is no such file, or it does not describe a landmarker.
        WeightsError: the landmarker's own file cannot be used.
    """
    try:
        loaded = OmegaConf.load(path)
        merged = OmegaConf.merge(loaded, variables) if isinstance(loaded, DictConfig) else loaded
        content = OmegaConf.to_container(merged, resolve=True)
    except (OSError, UnicodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        said = " ".join(str(error).split())
        raise CheckpointError(f"{path}: found {said}; expected a YAML file of class_path and init_args.") from error
    if not isinstance(content, dict) or "class_path" not in content:
        found = ", ".join(map(str, content or ["nothing"]))
        raise CheckpointError(
            f"{path}: found {found}; expected class_path and init_args of a landmarker, as in configs/peers/pfld.yaml."
        )
    try:
        return build_landmarker({key: content[key] for key in ("class_path", "init_args") if key in content}).eval()
    except (ArgumentError, ValueError) as error:
        if isinstance(cause := own_error(error), WeightsError):
            raise cause from None
        said = re.sub(r"^--landmarker[.:]\s*", "", str(option_error(str(cause), ())))
        raise CheckpointError(f"{path}: {said} Correct it in that file.") from error


def own_error(error: BaseException) -> BaseException:
    """What went wrong while an object was built: jsonargparse wraps it in errors about its options."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, WeightsError):
        cause = cause.__cause__
    return cause or error


def load_start(landmarker: Landmarker, spec: Mapping[str, Any], path: str | Path) -> Mapping[str, Any]:
    """Give a landmarker the weights of a checkpoint of the same kind of landmarker, to go on training from.

    Args:
        landmarker: is changed in place.
        spec: its ``class_path`` and ``init_args``.
        path: of a checkpoint or of packed weights, or the name of shipped ones.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: see :func:`read_checkpoint`; or its landmarker is of another class or shape, or reads crops of
            another size.
    """
    checkpoint = read_checkpoint(path)
    theirs = checkpoint[LANDMARKER]
    found, wanted = (str(one["class_path"]).rsplit(".", 1)[-1] for one in (theirs, spec))
    size = (theirs.get("init_args") or {}).get("image_size", landmarker.image_size)
    remedy = (
        "Give the LANDMARKER and PROFILE it was trained with, or --model.init_args.landmarker.init_args.… as in "
        f"{theirs.get('init_args')}."
    )
    if found != wanted:
        raise CheckpointError(f"{path}: holds the weights of {found}; this run's landmarker is {wanted}. {remedy}")
    load_weights(landmarker, checkpoint, path)
    if size != landmarker.image_size:
        raise CheckpointError(
            f"{path}: reads crops of {size} pixels; this run's {wanted} has image_size {landmarker.image_size}. "
            f"{remedy}"
        )
    return checkpoint


def tell_origin(checkpoint: Mapping[str, Any], path: str | Path) -> None:
    """Log where packed weights come from and on which terms; of other checkpoints, which do not say, nothing."""
    origin = checkpoint.get("provenance")
    if isinstance(origin, Provenance):
        log.info("using the weights %s (%s), trained on %s: %s", path, origin.version, origin.trained_on, origin.terms)


def load_weights(module: nn.Module, checkpoint: Mapping[str, Any], path: str | Path, network: str = LANDMARKER) -> None:
    """Load a checkpoint's weights into a landmarker, or into the network of another name.

    Raises:
        CheckpointError: keys or shapes differ; the first ones are named.
    """
    state = {
        name.removeprefix(f"{network}."): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith(f"{network}.")
    }
    lacking, unknown = load_matching(module, state)
    if differences := [*lacking, *unknown]:
        more = f"; and {len(differences) - 5} more" if len(differences) > 5 else ""
        raise CheckpointError(
            f"{path}: does not fit {type(module).__name__}: {'; '.join(differences[:5])}{more}. Give the LANDMARKER "
            "and PROFILE it was trained with, and for a translator the METHOD."
        )


def build_landmarker(spec: Mapping[str, Any]) -> Landmarker:
    """A landmarker from its ``class_path`` and ``init_args``.

    Raises:
        ArgumentError: there is no such class, or it does not take these arguments.
    """
    return cast(Landmarker, build(Landmarker, spec, LANDMARKER))


def shipped_spec(name: str, profile: str = "") -> dict[str, Any]:
    """``class_path`` and ``init_args`` of ``LANDMARKER=name`` under a profile; as published if that is empty.

    Raises:
        UsageError: an unknown name; the message suggests the nearest.
    """
    chosen = {"profile": profile} if profile else {}
    files = config_files({**chosen, "landmarker": name})
    merged = OmegaConf.merge(*(OmegaConf.load(file) for file in files))
    return cast(dict[str, Any], OmegaConf.to_container(merged.model.init_args.landmarker, resolve=True))


def landmarker_spec(config: Mapping[str, Any]) -> dict[str, Any]:
    """What it takes to rebuild a landmarker: its ``class_path`` and ``init_args`` without its starting points."""
    arguments = {k: v for k, v in (config.get("init_args") or {}).items() if k not in _STARTING_POINTS}
    return {"class_path": config["class_path"], "init_args": arguments}
