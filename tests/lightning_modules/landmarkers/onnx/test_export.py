"""Every landmarker's ONNX form finds what it finds, in batches of other sizes than it was traced with."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from lightning_modules.landmarkers import Landmarker, LandmarkerOutput
from lightning_modules.landmarkers.onnx.check import TOLERANCE, largest_difference, require_parity
from lightning_modules.landmarkers.onnx.export import to_onnx
from lightning_modules.landmarkers.onnx.exported import ExportedLandmarker
from lightning_modules.weights import WeightsError
from tests.lightning_modules.landmarkers.onnx.networks import about, crops, shaken

LIGHT = [(name, "quick") for name in ("slpt", "hrnet", "star", "spiga", "sbr", "openpose", "integral")]
# Other full forms take up to 20 seconds each; they were compared by hand.
FULL = [(name, "") for name in ("hrnet", "integral")]
TELLING = {"star", "integral"}
"""Those with an uncertainty."""


def exported(landmarker: Landmarker, folder: Path, **how: Any) -> ExportedLandmarker:
    file = folder / "model.onnx"
    file.write_bytes(to_onnx(landmarker, about(landmarker), **how).SerializeToString())
    return ExportedLandmarker(file)


@pytest.mark.parametrize(("name", "profile"), [*LIGHT, *FULL, ("integral", "thorough")])
def test_every_landmarker_is_found_again(name: str, profile: str, tmp_path: Path) -> None:
    landmarker = shaken(name, profile)
    size = landmarker.image_size
    batches = [crops(1, size), crops(3, size)]
    with torch.no_grad():
        found = landmarker(batches[1]).landmarks
    assert float(found.std(0).mean()) > 1e-3, "landmarks that are the same on all images would compare nothing"
    copy = exported(landmarker, tmp_path)
    assert largest_difference(landmarker, copy, batches) < TOLERANCE
    assert (copy(batches[0]).uncertainty is not None) == (name in TELLING)


def test_unfused_weights_are_the_networks_own(tmp_path: Path) -> None:
    landmarker = shaken("integral", "quick")
    model = to_onnx(landmarker, about(landmarker), fused=False)
    held = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    weights = dict(landmarker.named_parameters())
    same = [np.array_equal(held[f"landmarker.{name}"], one.detach()) for name, one in weights.items() if one.dim() == 4]
    assert len(same) > 20
    assert all(same)
    assert largest_difference(landmarker, exported(landmarker, tmp_path, fused=False), [crops(3, 128)]) < TOLERANCE


def test_another_program_needs_nothing_but_the_file(tmp_path: Path) -> None:
    """No normalisation outside: uint8 pixels over 255 go in, and the metadata say the rest."""
    landmarker = shaken("hrnet", "quick")
    exported(landmarker, tmp_path)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    (images,), outputs = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type, images.shape[1:]) == ("images", "tensor(float)", [3, 128, 128])
    assert isinstance(images.shape[0], str), "any batch"
    assert [one.name for one in outputs] == ["landmarks"], "HRNet tells no uncertainty"
    pixels = (crops(2, 128) * 255).round().to(torch.uint8)
    (found,) = session.run(None, {"images": pixels.numpy().astype(np.float32) / 255})
    with torch.no_grad():
        expected = landmarker(pixels.float() / 255).landmarks
    assert found.shape == (2, 68, 2)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    said = session.get_modelmeta().custom_metadata_map
    assert said["warpmark"] == "warpmark 0"
    assert (said["image_size"], said["crop_factor"]) == ("128", "1.2")
    assert (said["landmark_scheme"], said["landmarker"], said["source"]) == ("iBUG-68", "HRNet", "here.ckpt")
    assert "pixel i of the crop" in said["coordinates"]
    assert said["terms"].startswith("unknown")


class Plain(Landmarker):
    """One convolution's mean, moved by whatever :meth:`change` gives."""

    image_size = 16

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 136, 3)

    def forward(self, images: Tensor) -> LandmarkerOutput:
        found = self.layer(images).mean((-1, -2)).reshape(images.shape[0], 1, 68, 2)
        return LandmarkerOutput(found + self.change(images))

    def change(self, images: Tensor) -> Tensor:
        return images.new_zeros(())

    def loss(self, output: LandmarkerOutput, target: Tensor, weight: Tensor | None = None) -> Tensor:
        raise NotImplementedError


class ByTheBatch(Plain):
    """A number of Python's, which a trace keeps."""

    def change(self, images: Tensor) -> Tensor:
        return images.new_tensor(0.01 * len(images))


class Untranslatable(Plain):
    def change(self, images: Tensor) -> Tensor:
        return torch.special.bessel_j0(images.mean())


def test_what_a_trace_cannot_follow_is_refused(tmp_path: Path) -> None:
    batches = [torch.rand(count, 3, 16, 16) for count in (1, 3)]
    assert require_parity(Plain(), exported(plain := Plain(), tmp_path), [], "nothing") == 0
    assert require_parity(plain, exported(plain, tmp_path), batches, "noise") < 1e-6
    network = ByTheBatch()
    with pytest.raises(WeightsError, match=r"ByTheBatch differs from it on noise: .* up to 0\.01 of the crop apart"):
        require_parity(network, exported(network, tmp_path), batches, "noise")


class TwoPeaks(Plain):
    """The first landmark is at the higher of two peaks, which are equal but for rounding."""

    def change(self, images: Tensor) -> Tensor:
        peaks = torch.stack([images[..., :8].sum((1, 2, 3)), images[..., 8:].sum((1, 2, 3))], dim=-1)
        at = peaks.argmax(-1).float()[:, None, None, None]
        return torch.cat([at, at.new_zeros(at.shape[0], 1, 67, 1)], dim=2)


def test_equal_peaks_are_no_difference_of_the_graph() -> None:
    images = torch.rand(1, 3, 16, 16)
    # Its own mirror image: either peak may be the higher one by rounding.
    images = (images + images.flip(-1)) / 2
    network = TwoPeaks()

    class Other(TwoPeaks):
        """Decides otherwise on the first image; and, if asked to, moves a landmark that is certain."""

        def __init__(self, wrong: bool) -> None:
            super().__init__()
            self.load_state_dict(network.state_dict())
            self.wrong = wrong

        def change(self, images: Tensor) -> Tensor:
            change = super().change(images)
            change[0, 0, 0] = 1 - change[0, 0, 0]  # as another order of summing would
            change[:, :, 5] += 0.01 * self.wrong
            return change

    agreeing, wrong = (cast(ExportedLandmarker, Other(wrong)) for wrong in (False, True))
    assert largest_difference(network, agreeing, [images]) < 1e-6
    assert largest_difference(network, wrong, [images]) == pytest.approx(0.01, abs=1e-5)


def test_an_operator_that_onnx_has_not_is_named(tmp_path: Path) -> None:
    network = Untranslatable()
    network.layer.train()
    with pytest.raises(WeightsError, match=r"Untranslatable cannot be exported to ONNX: .*bessel_j0"):
        to_onnx(network, about(network))
    assert network.layer.training, "modes are as before, also after an error"
