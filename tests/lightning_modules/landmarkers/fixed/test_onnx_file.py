"""ONNX files with known answers: coordinates, colours, frames, and what is refused."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_modules.coordinates import pixel_grid
from lightning_modules.landmarkers import OnnxLandmarker
from lightning_modules.landmarkers.fixed import InputFormat, OutputFormat
from lightning_modules.landmarkers.inference import estimate
from lightning_modules.landmarkers.reference_shape import MEAN_FACE
from lightning_modules.weights import WeightsError, WeightsNotFoundError
from tests.lightning_modules.landmarkers.fixed.onnx_networks import (
    write_centre_of_light,
    write_channel_means,
    write_fixed_points,
)

FACE = np.array(MEAN_FACE)
SHORT = {"rtol": 0.0, "atol": 1e-5}


def close(found: Tensor, expected: Any) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float32).expand_as(found), **SHORT)


def built(path: Path, output: dict[str, Any] | None = None, **options: Any) -> OnnxLandmarker:
    image_size = options.pop("image_size", 32)
    shape = InputFormat(**{"size": 16, **options})
    return OnnxLandmarker(path, shape, OutputFormat(**output or {}), image_size).eval()


def images(count: int = 2, size: int = 32) -> Tensor:
    return torch.rand(count, 3, size, size)


@pytest.mark.parametrize("batch", ["batch", 1, 2])
@pytest.mark.parametrize("side", [16, "side"])
def test_shares_of_the_input_become_crop_coordinates(tmp_path: Path, batch: int | str, side: int | str) -> None:
    """Of an input of 1.1 × the box in a crop of 1.2 ×, about the same centre."""
    landmarker = built(write_fixed_points(tmp_path / "a.onnx", FACE, side, batch), box_factor=1.1)
    output = landmarker(images(3))
    assert output.stages.shape == (3, 1, 68, 2)
    close(output.landmarks, 0.5 + (FACE - 0.5) * 1.1 / 1.2)


def test_which_numbers_are_the_landmarks(tmp_path: Path) -> None:
    """98 points of three numbers in pixels from the outer edge, behind seven others; 68 of them, in reverse."""
    numbers = np.arange(7 + 98 * 3) / 20
    points = numbers[7:].reshape(98, 3)[::-1][:68, :2]
    chosen = {"name": "landmarks", "first": 7, "points": 98, "dimensions": 3, "unit": "pixel", "pixel_offset": 0.5}
    path = write_fixed_points(tmp_path / "a.onnx", numbers)
    landmarker = built(path, {**chosen, "index_map": list(range(97, 29, -1))})
    close(landmarker(images()).landmarks, (points - 0.5) / 16)


def test_numbers_after_the_landmarks_are_left_alone(tmp_path: Path) -> None:
    numbers = np.concatenate([FACE.ravel(), np.full(7, np.nan)])
    close(built(write_fixed_points(tmp_path / "a.onnx", numbers))(images()).landmarks, FACE)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (0.1, 0.4, 0.8)),
        ({"colours": "BGR"}, (0.8, 0.4, 0.1)),
        ({"pixel_range": 255.0, "mean": 127, "std": 128}, (-101.5 / 128, -25 / 128, 77 / 128)),
        ({"mean": [0.1, 0.2, 0.3], "std": [1, 2, 4]}, (0.0, 0.1, 0.125)),
        ({"colours": "BGR", "mean": [0.1, 0.2, 0.3]}, (0.7, 0.2, -0.2)),
    ],
)
def test_colours_and_normalisation(
    tmp_path: Path, options: dict[str, Any], expected: tuple[float, float, float]
) -> None:
    """Mean and deviation are in the network's order of channels."""
    crop = torch.tensor([0.1, 0.4, 0.8])[None, :, None, None].expand(1, 3, 16, 16)
    found = built(write_channel_means(tmp_path / "a.onnx"), image_size=16, **options)(crop).landmarks
    close(found[0].flatten()[:3], expected)


def blob(x: float, y: float, size: int) -> Tensor:
    """A crop with light around a point, in crop coordinates."""
    off = pixel_grid(size) - torch.tensor([x, y])
    return torch.exp(-off.square().sum(-1) / (2 * 0.05**2)).expand(1, 3, size, size)


@pytest.mark.parametrize("size", [32, 48, 200])
@pytest.mark.parametrize(("factor", "raised"), [(1.2, 0.0), (1.0, 0.1), (1.5, 0.08)])
def test_what_is_seen_is_found_where_it_is(tmp_path: Path, size: int, factor: float, raised: float) -> None:
    """In crops as large as the input, larger, and so much larger that they are averaged before they are sampled."""
    path = write_centre_of_light(tmp_path / "a.onnx", 32)
    landmarker = built(path, {"unit": "pixel"}, size=32, box_factor=factor, raised=raised, image_size=size)
    (found,) = landmarker(blob(0.45, 0.6, size)).landmarks
    exact = size == 32 and factor == 1.2
    torch.testing.assert_close(found, torch.tensor([0.45, 0.6]).expand(68, 2), rtol=0, atol=1e-5 if exact else 1e-3)


def test_the_second_pass_of_a_stretched_input_has_the_landmarks_shape(tmp_path: Path) -> None:
    """A network that finds a face half as wide as high in the first pass is right about the second in these shares."""
    narrow = 0.5 + (FACE - 0.5) * (0.5 * np.ptp(FACE[:, 1]) / np.ptp(FACE[:, 0]), 1)
    landmarker = built(write_fixed_points(tmp_path / "a.onnx", narrow), box_factor=1.4, stretched=True)
    close(landmarker(images()).landmarks, 0.5 + (narrow - 0.5) * 1.4 / 1.2 * (0.5, 1.0))
    path = write_centre_of_light(tmp_path / "b.onnx", 32)
    assert built(path, size=32, stretched=True)(blob(0.5, 0.5, 48)).landmarks.isfinite().all(), "a single point"


def test_half_precision(tmp_path: Path) -> None:
    found = built(write_fixed_points(tmp_path / "a.onnx", FACE, half=True))(images()).landmarks
    torch.testing.assert_close(found[0], torch.tensor(MEAN_FACE), rtol=0, atol=1e-3)


def test_it_takes_as_many_threads_as_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which the machine's cores, ``OMP_NUM_THREADS`` (here OpenMP's list of levels) and ``torch`` have settled."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2,1")
    path = write_fixed_points(tmp_path / "a.onnx", FACE)
    for count in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        assert built(path).session.get_session_options().intra_op_num_threads == count


def test_the_pseudo_landmarks_of_a_teacher(tmp_path: Path) -> None:
    """On crops of any size, in training mode, and averaged with the mirror image."""
    landmarker = built(write_centre_of_light(tmp_path / "a.onnx", 32), {"unit": "pixel"}, size=32).train()
    found, disagreement = estimate(landmarker, blob(0.4, 0.5, 64), mirror_average=True)
    torch.testing.assert_close(found, torch.tensor([0.4, 0.5]).expand(1, 68, 2), rtol=0, atol=1e-3)
    assert disagreement.shape == (1,)


def test_it_is_not_trained(tmp_path: Path) -> None:
    landmarker = built(write_fixed_points(tmp_path / "a.onnx", FACE))
    output = landmarker(images())
    calls = [
        lambda: landmarker(images().requires_grad_()),
        lambda: landmarker.loss(output, output.landmarks),
        lambda: landmarker.fit_shapes(output.landmarks),
    ]
    for call in calls:
        with pytest.raises(WeightsError, match=r"a\.onnx: found a network of OnnxLandmarker, which cannot"):
            call()
    assert landmarker.blank_crop().shape == (1, 3, 32, 32)


BAD_FORMATS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"size": 20}, {}, r"input is \(None, 3, 16, 16\); expected \(batch, \*\(3, 20, 20\)\)"),
    ({}, {"name": "heatmaps"}, "found the outputs landmarks; expected one that is 'heatmaps'"),
    ({}, {"name": 1}, "found the outputs landmarks; expected one that is 1"),
    ({}, {"first": 7}, r"of shape \(1, 136\); expected 1 × at least 143 numbers"),
    ({}, {"dimensions": 3}, r"of shape \(1, 136\); expected 1 × at least 204 numbers"),
]


@pytest.mark.parametrize(("input", "output", "message"), BAD_FORMATS)
def test_a_network_of_another_format(
    tmp_path: Path, input: dict[str, Any], output: dict[str, Any], message: str
) -> None:
    path = write_fixed_points(tmp_path / "a.onnx", FACE)
    with pytest.raises(WeightsError, match=r"a\.onnx: .*" + message):
        built(path, output, **input)


@pytest.mark.parametrize(
    "options",
    [{"points": 98}, {"index_map": [0, 1]}, {"index_map": [*range(67), 68]}, {"dimensions": 1}, {"first": -1}],
)
def test_outputs_that_make_no_68_landmarks(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        OutputFormat(**options)


@pytest.mark.parametrize("options", [{"size": 0}, {"std": 0}, {"mean": [1, 2]}, {"box_factor": -1.0}])
def test_inputs_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        InputFormat(**{"size": 16, **options})


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match=r"no network file .*none\.onnx .*Give its path"):
        built(tmp_path / "none.onnx")
    good = write_fixed_points(tmp_path / "a.onnx", FACE).read_bytes()
    for name, content in {"cut": good[:-200], "empty": b"", "text": b"not a network"}.items():
        (tmp_path / f"{name}.onnx").write_bytes(content)
        with pytest.raises(WeightsError, match=rf"{name}\.onnx .*bytes\) cannot be read: .*Expected an ONNX network"):
            built(tmp_path / f"{name}.onnx")
    two = write_fixed_points(tmp_path / "two.onnx", FACE, more_inputs=("scale",))
    with pytest.raises(WeightsError, match=r"two\.onnx: found the inputs images: tensor\(float\), scale: "):
        built(two)


def test_landmarks_that_are_no_numbers(tmp_path: Path) -> None:
    """At once where they never are; otherwise on the faces where it happens."""
    with pytest.raises(WeightsError, match=r"a\.onnx: found landmarks that are no numbers on 1 of 1 faces"):
        built(write_fixed_points(tmp_path / "a.onnx", np.full(136, np.nan)))
    dark = built(write_centre_of_light(tmp_path / "b.onnx", 16), image_size=16)
    with pytest.raises(WeightsError, match=r"b\.onnx: found landmarks that are no numbers on 1 of 2 faces"):
        dark(torch.stack([torch.zeros(3, 16, 16), torch.ones(3, 16, 16)]))


def test_without_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_fixed_points(tmp_path / "a.onnx", FACE)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(WeightsError, match=r"onnxruntime is not installed, .*a\.onnx needs: `pip install onnxruntime`"):
        built(path)
