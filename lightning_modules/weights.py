"""The one reader of weights files: our own state dicts, checkpoints of our runs, packed and published weights.

*Packed* weights are what the package ships: a safetensors file of float16 tensors, whose metadata says what to build,
what made it and on what terms. They read as a checkpoint does, without unpickling anything.
"""

import difflib
import json
import logging
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

StateDict = dict[str, Tensor]

log = logging.getLogger(__name__)

CHECKPOINT_PREFIX = "landmarker."
"""Prefix of a landmarker's tensors in the checkpoint of a method."""

_ABOUT: Final = "warpmark"
"""The entry in a safetensors file's metadata that makes it packed weights: JSON."""

SHIPPED: Final = Path(__file__).with_name("shipped")
"""The folder of the packed weights that come with the package, each with its model card and its figures."""

WRAPPERS = ("state_dict", "net", "model")
"""Keys under which authors put the tensors in files that hold more than those."""


class WeightsError(ValueError):
    """Weights that cannot be used. The message names their origin, what was found, what was expected, what to do."""


class WeightsNotFoundError(WeightsError, FileNotFoundError):
    """There is no such weights file."""


@dataclass(frozen=True)
class Provenance:
    """Where packed weights come from.

    Attributes:
        command: what makes them.
        trained_on: the data, in words.
        data: fingerprints of the training faces.
        version: of this project.
        terms: on which they may be used.
    """

    command: str
    trained_on: str
    data: str
    version: str
    terms: str


def shipped() -> dict[str, Path]:
    """The packed weights that come with the package, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.safetensors"))}


def located(path: str | Path) -> Path:
    """The file itself, or that of the shipped weights of this name.

    Raises:
        WeightsNotFoundError: there is neither; the nearest shipped name is said.
    """
    if Path(path).is_file():
        return Path(path)
    known = shipped()
    if str(path) in known:
        return known[str(path)]
    close = difflib.get_close_matches(str(path).lower(), known, n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    raise WeightsNotFoundError(
        f"there is no weights file {path} (looked from {Path.cwd()}). {hint}Give the path of saved weights, or the "
        f"name of shipped ones: {', '.join(known) or 'this package has none'}."
    )


def pack(name: str, landmarker: Mapping[str, Any], state: Mapping[str, Tensor], provenance: Provenance) -> bytes:
    """The content of a file of packed weights.

    Args:
        name: of the weights.
        landmarker: ``class_path`` and ``init_args`` to rebuild the network with, plain values.
        state: the network's state dict; floating-point tensors are kept in float16, others as they are.
        provenance: where they come from.

    Raises:
        WeightsError: a tensor holds values that are not finite in float16.
    """
    from safetensors.torch import save

    tensors = {key: _halved(key, value) if value.is_floating_point() else value for key, value in state.items()}
    about = {"name": name, "landmarker": dict(landmarker), "provenance": asdict(provenance)}
    # In one entry: safetensors writes several in any order, and the same weights should give the same bytes.
    return save(
        {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()},
        {_ABOUT: json.dumps(about, sort_keys=True)},
    )


def read_tensors(path: str | Path) -> Any:
    """Read a file with ``torch.load`` or safetensors, tensors onto the CPU, without running any code it may contain.

    Args:
        path: written by ``torch.save`` (tensors, plain values, NumPy numbers), a ``.safetensors`` file, or the name of
            shipped weights (see :func:`shipped`), unless there is a file of that name.

    Returns:
        What was saved. Of packed weights (see :func:`pack`) what a checkpoint holds: ``state_dict``, with the tensors
        in float32 under ``landmarker.``; ``landmarker``, its specification; and ``provenance``.

    Raises:
        WeightsNotFoundError: there is no such file (also a ``FileNotFoundError``); the nearest shipped name is said.
        WeightsError: it is damaged, holds pickled objects, or values that are not finite.
    """
    path = located(path)
    try:
        if path.suffix == ".safetensors":
            tensors, metadata = _safetensors(path)
            content = _unpacked(tensors, metadata[_ABOUT], path) if _ABOUT in metadata else tensors
        else:
            _require_whole(path)
            with torch.serialization.safe_globals(_harmless()):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is not a plain weights file: it holds pickled Python objects, which could run code, or it is "
            "damaged. Expected tensors only. Save the network's state_dict() with "
            "torch.save, or fetch the file again."
        ) from error
    except WeightsError:
        raise
    except Exception as error:  # of damaged files, zipfile, pickle, torch and safetensors raise what has no common base
        raise WeightsError(
            f"{path} ({path.stat().st_size} bytes) cannot be read as weights: {type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no more data'}. It is truncated or not a torch file; "
            "copy or download it again."
        ) from error
    require_finite(content, path, WRAPPERS)
    return content


TRAINING_STATES: Final = ("state_dict", "current_model_state", "optimizer_states")
"""Entries of a checkpoint that a training goes on from: weights (beside an average of them), and the optimizers'."""


def not_finite_in(content: Mapping[str, Any], entries: Sequence[str] = ("state_dict",)) -> str | None:
    """The name of the first tensor of a checkpoint that holds a value that is not finite; None if there is none.

    Args:
        content: of a checkpoint, or named tensors alone.
        entries: of the checkpoint that are looked at; all of it where it has none of these.
    """
    chosen = {name: content[name] for name in entries if name in content} or content
    floating = [(name, value.detach()) for name, value in _tensors(chosen) if value.is_floating_point()]
    if not floating:
        return None
    # Told in one: of a device the host waits once, not for each tensor.
    flags = [value.isfinite().all() for _, value in floating]
    told = torch.stack([flag.to(flags[0].device) for flag in flags]).tolist()
    return next((name for (name, _), fine in zip(floating, told, strict=True) if not fine), None)


def _tensors(content: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield name, content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from _tensors(value, f"{name}.{key}" if name else str(key))
    elif isinstance(content, list | tuple):
        for place, value in enumerate(content):
            yield from _tensors(value, f"{name}.{place}")


def require_finite(content: Any, path: str | Path, entries: Sequence[str] = ("state_dict",)) -> None:
    """Refuse a file whose weights are not finite, see :func:`not_finite_in`.

    Raises:
        WeightsError: a value is not finite; the tensor is named.
    """
    if isinstance(content, Mapping) and (name := not_finite_in(content, entries)) is not None:
        raise WeightsError(
            f"{path}: the tensor {name} holds values that are not finite; expected numbers. The training that wrote it "
            "diverged. Delete the file, or use one written before; what a run makes by itself it then makes anew."
        )


def _require_whole(path: Path) -> None:
    """Refuse a file of which a bit was flipped, where it holds checksums, as what torch writes does."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            if part.CRC:  # torch can be told to write none
                with archive.open(part) as file:
                    while file.read(1 << 20):  # at its end the checksum is compared
                        pass


def read_state(path: str | Path) -> StateDict:
    """Named tensors of a file, see :func:`read_tensors`.

    Args:
        path: a state dict, by itself or under ``state_dict``, ``net`` or ``model`` (an author's checkpoint), or a
            checkpoint of a run of this project, of which the tensors under ``landmarker.`` are returned without that
            prefix. A ``module.`` prefix, as ``DataParallel`` leaves it, is taken off.

    Raises:
        WeightsNotFoundError: there is no such file.
        WeightsError: it is damaged, holds pickled objects, or holds no named tensors.
    """
    content = _unwrapped(read_tensors(path), path)
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        found = f"a {type(content).__name__}"
        if isinstance(content, Mapping):
            found += f" with the keys {list(content)[:5]}"
        raise WeightsError(
            f"{path} holds {found}; expected named tensors (a state dict). Save one with "
            "torch.save(network.state_dict(), path)."
        )
    named = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    return {name.removeprefix("module."): value for name, value in named.items()}


def load_matching(
    module: nn.Module, state: Mapping[str, Tensor], optional: frozenset[str] = frozenset()
) -> tuple[list[str], list[str]]:
    """Load the tensors of ``state`` that fit ``module`` in name and shape, and list the others.

    Args:
        module: where to load them.
        state: tensors by name. Batch-norm's step counters may be missing, torch supplies them; or be there where the
            module has none, which frozen layers do without.
        optional: other tensors that may be missing; the module keeps its own.

    Returns:
        One line for each of the module's tensors that is missing or of another shape, and one for each tensor of
        ``state`` that the module does not have. Both are empty if everything was loaded.
    """
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    # Set aside, since torch raises for them even with strict=False.
    misshapen = {name: value.shape for name, value in state.items() if value.shape != shapes.get(name, value.shape)}
    missing, unexpected = module.load_state_dict(
        {name: value for name, value in state.items() if name not in misshapen}, strict=False
    )
    lacking = [f"{name}: missing" for name in missing if name not in optional and name not in misshapen]
    lacking += [
        f"{name}: shape {tuple(shape)} in the file, {tuple(shapes[name])} in the network"
        for name, shape in misshapen.items()
    ]
    unknown = [name for name in unexpected if not name.endswith(".num_batches_tracked")]
    return lacking, [f"{name}: unknown to the network" for name in unknown]


def load_state(
    module: nn.Module,
    state: Mapping[str, Tensor],
    origin: str,
    optional: frozenset[str] = frozenset(),
    partial: bool = False,
) -> None:
    """Load ``state`` into ``module``, whose every tensor must be there, in its shape.

    Args:
        module: where to load them. After an error it holds those that fit, and must not be used.
        state: tensors by name.
        origin: where they come from, for messages.
        optional: tensors that may be missing; the module keeps its own.
        partial: whether the module is a part of the network that ``state`` belongs to, which then may hold more.

    Raises:
        WeightsError: tensors are missing, unknown, or of another shape; the message lists them.
    """
    lacking, unknown = load_matching(module, state, optional)
    if lines := lacking + ([] if partial else unknown):
        shown = "\n  ".join(lines[:20]) + (f"\n  ... and {len(lines) - 20} more" if len(lines) > 20 else "")
        raise WeightsError(
            f"{origin} does not hold the weights of this {type(module).__name__}: {len(lines)} of its {len(state)} "
            f"tensors differ from the network's {len(module.state_dict())}.\n  {shown}\n"
            "Use the arguments (backbone, embed_dim, num_layers, ...) the file was saved with, or another file."
        )


@dataclass(frozen=True)
class Published:
    """Translates the state dict of a published program to our names.

    Args:
        name: of the program, for messages.
        marker: a tensor that every such file has, and none of ours.
        renamed: patterns of names and their replacements (``re.sub``), applied one after the other.
        unused: whether a tensor, given by its published name and itself, is never applied and thus left out.
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


def _safetensors(path: Path) -> tuple[StateDict, dict[str, str]]:
    """Tensors and metadata of a file."""
    from safetensors import safe_open  # only here: the warping core runs without it
    from safetensors.torch import load_file

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    return load_file(path), metadata or {}


def _unpacked(tensors: StateDict, text: str, path: Path) -> dict[str, Any]:
    """Packed weights as a checkpoint."""
    try:
        about = json.loads(text)
        landmarker, provenance = about["landmarker"], Provenance(**about["provenance"])
        if not isinstance(landmarker["class_path"], str) or not isinstance(landmarker["init_args"], dict):
            raise TypeError("class_path is no text, or init_args no mapping")
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(
            f"{path}: found metadata {_ABOUT!r} that do not describe a landmarker ({error!r}); expected JSON with "
            "'landmarker' (class_path, init_args) and 'provenance'. Write the file with `warpmark pack`."
        ) from error
    state = {
        f"{CHECKPOINT_PREFIX}{name}": value.float() if value.is_floating_point() else value
        for name, value in tensors.items()
    }
    return {"state_dict": state, "landmarker": landmarker, "provenance": provenance}


def _halved(name: str, value: Tensor) -> Tensor:
    half = value.to(torch.float16)
    if not bool(half.isfinite().all()):
        largest = torch.finfo(torch.float16).max
        raise WeightsError(
            f"{name}: found values up to {value.abs().max():g}; expected finite ones within float16's ±{largest:g}. "
            "Use a checkpoint of a run whose weights stayed small."
        )
    return half


def _unwrapped(content: Any, path: str | Path) -> Any:
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
    """NumPy numbers, which authors' checkpoints hold beside tensors (a best score): rebuilding them runs no code."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")]
    return [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar"), np.dtype, *kinds]
