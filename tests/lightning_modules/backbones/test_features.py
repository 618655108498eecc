"""Frozen networks that cannot be built are refused with what to do (what they compute: test_perceptual.py)."""

import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lightning_modules.backbones.features import timm_features, torchvision_features
from lightning_modules.weights import WeightsError


@pytest.mark.parametrize(
    ("features", "arguments", "message"),
    [
        (timm_features, ("efficientnet_light",), r"timm has no network 'efficientnet_light'.*efficientnet_b0"),
        (timm_features, ("resnet18", [1, 5]), r"layers are \[1, 5\], but timm's resnet18 has feature stages 0 to 4"),
        (timm_features, ("resnet18", None, "package"), r"no Python package.*resnet18.*tf_efficientnet_lite0"),
        (torchvision_features, ("lite0",), "no classifier 'lite0'.*vgg16"),
        (torchvision_features, ("resnet18",), "which layers of resnet18"),
        (torchvision_features, ("squeezenet1_1", ["layer1"]), "layer1.*Its parts are features, classifier"),
    ],
)
def test_unknown_networks_and_layers_are_refused(features: Any, arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        features(*arguments)


@pytest.mark.parametrize(("features", "name"), [(timm_features, "resnet18"), (torchvision_features, "squeezenet1_1")])
def test_weights_files_of_other_networks_are_named(features: Any, name: str, tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=rf"other\.pth, given as weights of \w+'s {name},.*(.*\n)*.*: missing"):
        features(name, weights=str(tmp_path / "other.pth"))


def test_an_unreachable_download_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    with pytest.raises(WeightsError, match=r"squeezenet1_1.*no route to host.*checkpoints.*weights: FILE.*package"):
        torchvision_features("squeezenet1_1", pretrained=True)
