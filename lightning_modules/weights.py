"""Weights from files: our own state dicts, Lightning checkpoints of ours, and what authors published."""

import logging
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

StateDict = dict[str, Tensor]

log = logging.getLogger(__name__)

CHECKPOINT_PREFIX = "landmarker."
"""Where a landmarker's tensors lie in the checkpoint of a method."""

WRAPPERS = ("state_dict", "net", "model")
"""Keys under which authors put the tensors in files that hold more than those."""


class WeightsError(ValueError):
    """A weights file that cannot be used. The message names it, what was found, what was expected, what to do."""


class WeightsNotFoundError(WeightsError, FileNotFoundError):
    """There is no such weights file."""


def read_state(path: str | Path) -> StateDict:
    """Read a landmarker's tensors from ``path``, without running any code the file may hold.

    Args:
        path: a state dict saved with ``torch.save``, by itself or under ``state_dict``, ``net`` or ``model`` (an
            author's checkpoint), or a Lightning checkpoint of a run of this project, of which the tensors under
            ``landmarker.`` are returned without that prefix. A ``module.`` prefix, as ``DataParallel`` leaves it, is
            taken off.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: it is damaged, holds more than tensors, or holds no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsNotFoundError(
            f"there is no weights file {path} (looked from {Path.cwd()}). Give the path of a saved landmarker."
        )
    content = _unwrapped(_load_tensors(path), path)
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


@dataclass(frozen=True)
class Published:
    """How the state dict of a published program reads under our names.

    Args:
        name: what it holds, for messages.
        marker: a tensor that every such file has, and none of ours.
        renamed: patterns of names, and what they become; applied one after the other.
        unused: whether a tensor, given its published name and itself, takes no part in the output and is left out.
        optional: tensors of ours that a published file does not have.
    """

    name: str
    marker: str
    renamed: tuple[tuple[str, str], ...]
    unused: Callable[[str, Tensor], bool] = lambda name, value: False
    optional: frozenset[str] = frozenset()

    def holds(self, state: StateDict) -> bool:
        """Whether ``state`` has the published program's names."""
        return self.marker in state

    def translate(self, state: StateDict) -> StateDict:
        """The published state dict under our names, without what takes no part in the output.

        Raises:
            WeightsError: the names are not the published ones.
        """
        if not self.holds(state):
            raise WeightsError(
                f"not the published {self.name}'s weights: expected a tensor {self.marker!r}, found "
                f"{list(state)[:5]} ({len(state)} tensors)."
            )
        return {self._ours(name): value for name, value in state.items() if not self.unused(name, value)}

    def _ours(self, name: str) -> str:
        for pattern, replacement in self.renamed:
            name = re.sub(pattern, replacement, name)
        return name


def start_from(module: nn.Module, path: str | Path, published: Published) -> None:
    """Give ``module`` the weights of a file: its own state dict, a checkpoint of a run, or the published one.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: it cannot be read or does not fit; the message lists what differs.
    """
    state = read_state(path)
    if published.holds(state):
        ours = published.translate(state)
        load_state(module, ours, f"{path} (the published {published.name})", published.optional)
        if kept := sorted(published.optional - set(ours)):
            log.info("%s does not hold %s: %s keeps its own", path, ", ".join(kept), type(module).__name__)
    else:
        load_state(module, state, str(path))


PUBLISHED_SLPT = Published(
    name="SLPT",
    marker="Transformer.structure_encoding",
    renamed=(
        (r"^feature_extractor\.", "patch_embedding."),
        (r"^out_layer\.", "offset_head."),
        (r"^Transformer\.Transformer_block\.", "decoder."),
        (r"^Transformer\.", "decoder."),
        (r"^(decoder\.layers\.\d+)\.self_attn\.", r"\1.self_attention."),
        (r"^(decoder\.layers\.\d+)\.multihead_attn\.", r"\1.patch_attention."),
        (r"^backbone\.(?!head\.)", "backbone.trunk."),
    ),
    # A layer norm that the published network creates (512 parameters) and never applies.
    unused=lambda name, value: name.startswith("feature_norm."),
    optional=frozenset({"mean_face"}),
)


def _unwrapped(content: Any, path: Path) -> Any:
    """The tensors of a file that may hold more."""
    if not isinstance(content, Mapping):
        return content
    inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), content)
    ours = {k.removeprefix(CHECKPOINT_PREFIX): v for k, v in inner.items() if str(k).startswith(CHECKPOINT_PREFIX)}
    if not ours and "pytorch-lightning_version" in content:
        raise WeightsError(
            f"{path} is a checkpoint without a landmarker: none of its {len(inner)} tensors begins with "
            f"{CHECKPOINT_PREFIX!r} (the first is {next(iter(inner), None)!r}). Give a checkpoint of this project."
        )
    return ours or inner


def _harmless() -> list[Any]:
    """What authors' checkpoints hold beside tensors: NumPy numbers (a best score), rebuilt without running code."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")]
    return [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar"), np.dtype, *kinds]


def _load_tensors(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_harmless()):
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
