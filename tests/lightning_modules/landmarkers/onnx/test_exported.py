"""Reading exported files back, and files that are not such."""

import sys
from pathlib import Path

import onnx
import pytest
import torch

from lightning_modules.landmarkers import ExportedLandmarker, Landmarker
from lightning_modules.landmarkers.onnx.about import About
from lightning_modules.landmarkers.onnx.export import describe, to_onnx
from lightning_modules.weights import WeightsError, WeightsNotFoundError
from tests.lightning_modules.landmarkers.fixed.onnx_networks import write_fixed_points
from tests.lightning_modules.landmarkers.onnx.networks import about, crops, shaken


@pytest.fixture(scope="module")
def landmarker() -> Landmarker:
    return shaken("integral", "quick")


@pytest.fixture(scope="module")
def file(landmarker: Landmarker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("exported") / "model.onnx"
    file.write_bytes(to_onnx(landmarker, about(landmarker)).SerializeToString())
    return file


def test_it_is_a_landmarker(file: Path, landmarker: Landmarker) -> None:
    copy = ExportedLandmarker(file)
    assert copy.about == about(landmarker)
    assert (copy.image_size, copy.crop_factor) == (128, 1.2)
    images = crops(3, 128)
    with torch.no_grad():
        expected, found = landmarker(images), copy(images)
    assert found.stages.shape == (3, 1, 68, 2)
    torch.testing.assert_close(found.landmarks, expected.landmarks, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.uncertainty, expected.uncertainty, rtol=0, atol=1e-5)


def test_crops_of_another_size_are_resampled(file: Path) -> None:
    copy, images = ExportedLandmarker(file), crops(2, 128)
    larger = torch.zeros(2, 3, 256, 256)
    # Crop coordinates are pixels over the side: pixel 2 i of the larger crop is where pixel i of the smaller one is.
    larger[..., ::2, ::2] = images
    torch.testing.assert_close(copy(larger).landmarks, copy(images).landmarks, rtol=0, atol=1e-5)


def test_it_cannot_be_trained(file: Path) -> None:
    copy = ExportedLandmarker(file)
    with pytest.raises(WeightsError, match=r"model\.onnx: found a network of ExportedLandmarker, which cannot be tr"):
        copy.fit_shapes(torch.zeros(1, 68, 2))
    with pytest.raises(WeightsError, match="cannot pass a gradient on"):
        copy(crops(1, 128).requires_grad_())


def test_files_that_are_no_exports(file: Path, tmp_path: Path, landmarker: Landmarker) -> None:
    with pytest.raises(WeightsNotFoundError, match=r"no network file .*none\.onnx .*warpmark export"):
        ExportedLandmarker(tmp_path / "none.onnx")
    (tmp_path / "cut.onnx").write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(WeightsError, match=r"cut\.onnx .* cannot be read: .*Expected an ONNX network"):
        ExportedLandmarker(tmp_path / "cut.onnx")
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"empty\.onnx"):
        ExportedLandmarker(tmp_path / "empty.onnx")
    foreign = write_fixed_points(tmp_path / "foreign.onnx", torch.rand(136).numpy())
    with pytest.raises(WeightsError, match=r"foreign\.onnx: .* without this project's metadata .*configs/peers/pfld"):
        ExportedLandmarker(foreign)
    model = onnx.load(foreign)
    describe(model, about(landmarker))
    (tmp_path / "three.onnx").write_bytes(_renamed(model, "points").SerializeToString())
    with pytest.raises(WeightsError, match=r"found the inputs images and the outputs points; expected images, and"):
        ExportedLandmarker(tmp_path / "three.onnx")


@pytest.mark.parametrize(("key", "value"), [("image_size", "wide"), ("image_size", "0"), ("crop_factor", None)])
def test_damaged_metadata(key: str, value: str | None, landmarker: Landmarker) -> None:
    metadata = {**about(landmarker).metadata(), key: value}
    given = {name: text for name, text in metadata.items() if text is not None}
    with pytest.raises(WeightsError, match=rf"m\.onnx: found damaged metadata .*{key}|.*invalid literal.*wide"):
        About.read(given, "m.onnx")


def test_without_onnxruntime(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(WeightsError, match="the package onnxruntime is not installed, which the ONNX file"):
        ExportedLandmarker(file)


def _renamed(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    before = model.graph.output[0].name
    model.graph.output[0].name = name
    for node in model.graph.node:
        for i, output in enumerate(node.output):
            if output == before:
                node.output[i] = name
    return model
