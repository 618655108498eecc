"""Weights from files: our own state dicts, Lightning checkpoints of ours, and the published SLPT."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

StateDict = dict[str, Tensor]

CHECKPOINT_PREFIX = "landmarker."
"""Where a landmarker's tensors lie in the checkpoint of a method."""


class WeightsError(ValueError):
    """A weights file that cannot be used. The message names it, what was found, what was expected, what to do."""


def read_state(path: str | Path) -> StateDict:
    """Read a landmarker's tensors from ``path``, without running any code the file may hold.

    Args:
        path: a state dict saved with ``torch.save``, or a Lightning checkpoint of a run of this project, of which the
            tensors under ``landmarker.`` are returned without that prefix. A ``module.`` prefix, as ``DataParallel``
            leaves it, is taken off.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: it is damaged, holds more than tensors, or holds no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no weights file {path} (looked from {Path.cwd()}). Give the path of a saved landmarker."
        )
    content = _load_tensors(path)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        whole = content["state_dict"]
        content = {k.removeprefix(CHECKPOINT_PREFIX): v for k, v in whole.items() if k.startswith(CHECKPOINT_PREFIX)}
        if not content:
            raise WeightsError(
                f"{path} is a checkpoint without a landmarker: none of its {len(whole)} tensors begins with "
                f"{CHECKPOINT_PREFIX!r} (the first is {next(iter(whole), None)!r}). Give a checkpoint of this project."
            )
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        found = f"a {type(content).__name__}"
        if isinstance(content, Mapping):
            found += f" with the keys {list(content)[:5]}"
        raise WeightsError(
            f"{path} holds {found}; expected named tensors (a state dict). Save one with "
            "torch.save(landmarker.state_dict(), path)."
        )
    return {name.removeprefix("module."): value for name, value in content.items() if isinstance(value, Tensor)}


def load_state(module: nn.Module, state: StateDict, origin: str, optional: frozenset[str] = frozenset()) -> None:
    """Load ``state`` into ``module``; every tensor must fit, but for the ``optional`` ones, which may be missing.

    Raises:
        WeightsError: names are missing or unknown, or shapes differ; the message lists them one by one.
    """
    wanted = module.state_dict()
    lines = [f"  {name}: missing" for name in wanted if name not in state and name not in optional]
    lines += [f"  {name}: unknown to the network" for name in state if name not in wanted]
    lines += [
        f"  {name}: shape {tuple(value.shape)} in the file, {tuple(wanted[name].shape)} in the network"
        for name, value in state.items()
        if name in wanted and value.shape != wanted[name].shape
    ]
    if lines:
        shown = "\n".join(lines[:20]) + (f"\n  ... and {len(lines) - 20} more" if len(lines) > 20 else "")
        raise WeightsError(
            f"{origin} does not hold the weights of this {type(module).__name__}: {len(lines)} of its "
            f"{len(state)} tensors differ from the network's {len(wanted)}.\n{shown}\n"
            "Use the arguments (backbone, embed_dim, num_layers, ...) the file was saved with, or another file."
        )
    module.load_state_dict({name: state.get(name, value) for name, value in wanted.items()})


_PUBLISHED_TO_OURS = (
    (r"^feature_extractor\.", "patch_embedding."),
    (r"^out_layer\.", "offset_head."),
    (r"^Transformer\.Transformer_block\.", "decoder."),
    (r"^Transformer\.", "decoder."),
    (r"^(decoder\.layers\.\d+)\.self_attn\.", r"\1.self_attention."),
    (r"^(decoder\.layers\.\d+)\.multihead_attn\.", r"\1.patch_attention."),
    (r"^backbone\.(?!head\.)", "backbone.trunk."),
)
"""Names in the published SLPT as patterns, and what they become; applied one after the other."""

_PUBLISHED_UNUSED = "feature_norm."
"""A layer norm that the published network creates (512 parameters) and never applies."""


def is_published_slpt(state: StateDict) -> bool:
    """Whether ``state`` has the published program's names."""
    return "Transformer.structure_encoding" in state


def published_slpt_state(state: StateDict) -> StateDict:
    """The published SLPT's state dict under our names.

    Left out is its ``feature_norm``, which takes no part in its output. The mean face is not in the published file.

    Raises:
        WeightsError: the names are not the published ones.
    """
    if not is_published_slpt(state):
        raise WeightsError(
            "not the published SLPT's weights: expected a tensor 'Transformer.structure_encoding', found "
            f"{list(state)[:5]} ({len(state)} tensors)."
        )
    ours: StateDict = {}
    for name, value in state.items():
        if name.startswith(_PUBLISHED_UNUSED):
            continue
        for pattern, replacement in _PUBLISHED_TO_OURS:
            name = re.sub(pattern, replacement, name)
        ours[name] = value
    return ours


def _load_tensors(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is not a plain weights file: it holds pickled Python objects, which could run code, or it is "
            f"damaged ({str(error).splitlines()[0]}). Expected tensors only. Save the landmarker's state_dict() with "
            "torch.save, or fetch the file again."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{path} ({path.stat().st_size} bytes) cannot be read as weights: {type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no more data'}. It is truncated or not a torch file; "
            "copy or download it again."
        ) from error
