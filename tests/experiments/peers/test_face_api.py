"""The network of face-api.js: its manifest, and its layers against torch's own modules."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.peers.face_api import FaceApiLandmarker, _shapes, read_manifest
from lightning_modules.landmarkers.fixed import InputFormat, OutputFormat
from lightning_modules.weights import WeightsError

SCALE, MINIMUM = 0.01, -0.4


def write_network(folder: Path, lacking: str = "") -> tuple[Path, dict[str, Tensor]]:
    """A manifest and its bytes; and the tensors that they stand for."""
    rng = np.random.default_rng(0)
    numbers = {name: rng.integers(0, 81, shape, dtype=np.uint8) for name, shape in _shapes().items() if name != lacking}
    quantised = {"dtype": "uint8", "scale": SCALE, "min": MINIMUM}
    entries = [
        {"name": name, "shape": list(value.shape), "dtype": "float32", "quantization": quantised}
        for name, value in numbers.items()
    ]
    whole = b"".join(value.tobytes() for value in numbers.values())
    (folder / "part1").write_bytes(whole[:1000])
    (folder / "part2").write_bytes(whole[1000:])
    path = folder / "manifest.json"
    path.write_text(json.dumps([{"weights": entries, "paths": ["part1", "part2"]}]))
    return path, {name: torch.from_numpy(value * SCALE + MINIMUM).float() for name, value in numbers.items()}


def test_bytes_become_tensors(tmp_path: Path) -> None:
    path, tensors = write_network(tmp_path)
    found = read_manifest(path)
    assert list(found) == list(tensors)
    for name, value in tensors.items():
        torch.testing.assert_close(found[name], value)


def same_padded(maps: Tensor, kernel: Tensor, stride: int, groups: int = 1) -> Tensor:
    """TensorFlow's SAME by its definition: as many outputs as strides fit, what is lacking split, the odd one last."""
    side = maps.shape[-1]
    lacking = max(0, (-(-side // stride) - 1) * stride + 3 - side)
    before, after = lacking // 2, lacking - lacking // 2
    return F.conv2d(F.pad(maps, (before, after, before, after)), kernel, stride=stride, groups=groups)


def reference(tensors: dict[str, Tensor], images: Tensor) -> Tensor:
    """The network written out, a layer at a time."""
    maps = images
    for block in range(4):
        seen: list[Tensor] = []
        for number in range(4):
            name, stride = f"dense{block}/conv{number}", 1 if number else 2
            entering = maps if not seen else (seen[0] if len(seen) == 1 else F.relu(torch.stack(seen).sum(0)))
            if f"{name}/filters" in tensors:
                out = same_padded(entering, tensors[f"{name}/filters"].permute(3, 2, 0, 1), stride)
            else:
                depthwise = tensors[f"{name}/depthwise_filter"].permute(2, 3, 0, 1)
                out = same_padded(entering, depthwise, stride, entering.shape[1])
                out = torch.einsum("bihw,io->bohw", out, tensors[f"{name}/pointwise_filter"][0, 0])
            out = out + tensors[f"{name}/bias"][:, None, None]
            seen.append(out if number else F.relu(out))
        maps = F.relu(torch.stack(seen).sum(0))
    pooled = F.avg_pool2d(maps, maps.shape[-1])[..., 0, 0]
    return F.linear(pooled, tensors["fc/weights"].T, tensors["fc/bias"])


def test_the_layers(tmp_path: Path) -> None:
    path, tensors = write_network(tmp_path)
    landmarker = FaceApiLandmarker(path, InputFormat(112), OutputFormat(), image_size=112).eval()
    images = torch.rand(2, 3, 112, 112)
    expected = reference(tensors, images).reshape(2, 68, 2)
    torch.testing.assert_close(landmarker(images).landmarks, expected, rtol=0, atol=2e-3)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    path, _ = write_network(tmp_path, lacking="fc/bias")
    with pytest.raises(WeightsError, match=r"manifest\.json: found other tensors .*fc/bias: None, not \(136,\)"):
        FaceApiLandmarker(path, InputFormat(112), OutputFormat())
    (tmp_path / "part2").write_bytes(b"short")
    with pytest.raises(WeightsError, match=r"found 1005 bytes; expected \d+ bytes of weights"):
        read_manifest(path)
    (tmp_path / "part2").unlink()
    with pytest.raises(WeightsError, match=r"found no file .*part2"):
        read_manifest(path)
    for text in ("{", "[]", '[{"weights": [{"name": "a", "shape": [1]}], "paths": []}]'):
        path.write_text(text)
        with pytest.raises(WeightsError, match=r"expected a TensorFlow\.js manifest"):
            read_manifest(path)
