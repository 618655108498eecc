"""The 68-point network of face-api.js (V. Mühler, MIT): its architecture in torch, its weights from their manifest."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.landmarkers.fixed import Array, FixedLandmarker
from lightning_modules.weights import StateDict, WeightsError

_BLOCKS: Final = ((3, 32), (32, 64), (64, 128), (128, 256))
_OUTPUTS: Final = 136


class FaceApiLandmarker(FixedLandmarker):
    """Four dense blocks of separable convolutions, each halving the side; then the mean over the map, and 136 numbers.

    In a block, each convolution takes the sum of all maps before it. ``file`` is TensorFlow.js's manifest, which lies
    beside the file of weights of a byte each. See :class:`FixedLandmarker` for the arguments.

    Raises:
        WeightsNotFoundError: there is no such file.
        WeightsError: a file is damaged, or holds other tensors.
    """

    def load(self, path: Path) -> None:
        """Read the weights; see the class for errors."""
        self.weights = read_manifest(path)
        wanted = _shapes()
        found = {name: tuple(value.shape) for name, value in self.weights.items()}
        wrong = [
            f"{name}: {found.get(name)}, not {shape}" for name, shape in wanted.items() if found.get(name) != shape
        ]
        if wrong:
            raise WeightsError(f"{path}: found other tensors than the 68-point network's: {'; '.join(wrong[:5])}.")

    def outputs(self, images: Array) -> Mapping[str, Array]:
        """Run the network; see the base class."""
        maps = torch.from_numpy(images)
        for number in range(len(_BLOCKS)):
            maps = self._block(maps, f"dense{number}")
        numbers = maps.mean((2, 3)) @ self.weights["fc/weights"] + self.weights["fc/bias"]
        return {"landmarks": np.asarray(numbers.numpy(), dtype=np.float32)}

    def _block(self, maps: Tensor, name: str) -> Tensor:
        total = self._convolution(maps, f"{name}/conv0", stride=2)
        for number in (1, 2, 3):
            total = total + self._convolution(F.relu(total), f"{name}/conv{number}")
        return F.relu(total)

    def _convolution(self, maps: Tensor, name: str, stride: int = 1) -> Tensor:
        """3×3, padded as TensorFlow's ``SAME``: an even side that is halved is padded at its end alone."""
        padded = F.pad(maps, (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1))
        bias = self.weights[f"{name}/bias"]
        if (filters := self.weights.get(f"{name}/filters")) is not None:
            return F.relu(F.conv2d(padded, filters.permute(3, 2, 0, 1), bias, stride))
        depthwise = self.weights[f"{name}/depthwise_filter"].permute(2, 3, 0, 1)
        pointwise = self.weights[f"{name}/pointwise_filter"].permute(3, 2, 0, 1)
        mixed = F.conv2d(F.conv2d(padded, depthwise, stride=stride, groups=maps.shape[1]), pointwise, bias)
        return F.relu(mixed) if stride == 2 else mixed


@dataclass(frozen=True)
class _Tensor:
    """A tensor in a manifest: its name, shape, and the number that a byte b stands for, ``minimum + b × scale``."""

    name: str
    shape: tuple[int, ...]
    scale: float
    minimum: float

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "_Tensor":
        quantised = entry["quantization"]
        if quantised["dtype"] != "uint8":
            raise KeyError(f"uint8, not {quantised['dtype']}")
        return cls(entry["name"], tuple(entry["shape"]), float(quantised["scale"]), float(quantised["min"]))


def read_manifest(path: Path) -> StateDict:
    """The tensors of a TensorFlow.js manifest whose weights are bytes.

    Raises:
        WeightsError: a file is missing or damaged, or its weights are not bytes.
    """
    try:
        group = json.loads(path.read_text())[0]
        entries = [_Tensor.of(entry) for entry in group["weights"]]
        parts = [path.parent / name for name in group["paths"]]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path}: found {type(error).__name__}: {error}; expected a TensorFlow.js manifest of uint8 weights. Copy "
            "it again."
        ) from error
    missing = [str(part) for part in parts if not part.is_file()]
    numbers = np.concatenate([np.fromfile(part, np.uint8) for part in parts]) if not missing else np.empty(0, np.uint8)
    sizes = [int(np.prod(entry.shape)) for entry in entries]
    if missing or sum(sizes) != len(numbers):
        found = f"no file {missing[0]}" if missing else f"{len(numbers)} bytes"
        raise WeightsError(f"{path}: found {found}; expected {sum(sizes)} bytes of weights beside it. Copy them again.")
    values = np.split(numbers.astype(np.float32), np.cumsum(sizes)[:-1])
    return {
        entry.name: torch.from_numpy((value * entry.scale + entry.minimum).astype(np.float32).reshape(entry.shape))
        for entry, value in zip(entries, values, strict=True)
    }


def _shapes() -> dict[str, tuple[int, ...]]:
    """The network's tensors: those of its blocks, whose first convolution is a full one, and of its last layer."""
    shapes: dict[str, tuple[int, ...]] = {"fc/weights": (_BLOCKS[-1][1], _OUTPUTS), "fc/bias": (_OUTPUTS,)}
    for block, (entering, leaving) in enumerate(_BLOCKS):
        for number in range(4):
            name, channels = f"dense{block}/conv{number}", leaving if number else entering
            if block == number == 0:
                shapes[f"{name}/filters"] = (3, 3, entering, leaving)
            else:
                shapes[f"{name}/depthwise_filter"] = (3, 3, channels, 1)
                shapes[f"{name}/pointwise_filter"] = (1, 1, channels, leaving)
            shapes[f"{name}/bias"] = (leaving,)
    return shapes
