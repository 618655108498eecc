"""Frozen networks that cannot be had are refused with what to do (what they compute: test_perceptual.py)."""

import urllib.error
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from lightning_modules.warping import Perceptual


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "efficientnet_light"}, r"timm has no network 'efficientnet_light'.*efficientnet_b0"),
        ({"layers": [1, 5]}, r"layers are \[1, 5\], but timm's tf_efficientnet_lite0 has feature stages 0 to 4"),
        ({"layers": []}, r"layers are \[\]; expected stage numbers of timm's tf_efficientnet_lite0"),
        ({"layers": ["layer1"]}, r"layers are \['layer1'\]; expected stage numbers"),
        ({"network": "resnet18"}, r"no Python package.*resnet18.*tf_efficientnet_lite0.*weights: FILE"),
        ({"source": "torchvision", "network": "resnet18"}, r"no Python package.*pretrained: true.*weights: FILE"),
        ({"source": "torchvision", "network": "lite0", "pretrained": False}, "no classifier 'lite0'.*vgg16"),
        ({"source": "torchvision", "network": "resnet18", "pretrained": False}, "which layers of resnet18"),
        (
            {"source": "torchvision", "network": "squeezenet1_1", "pretrained": False, "layers": ["layer1"]},
            "torchvision's squeezenet1_1: .*layer1.*Its parts are features, classifier",
        ),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Perceptual(**options)


def test_weights_files_that_do_not_serve_are_named(tmp_path: Path) -> None:
    missing, code, other = tmp_path / "missing.pth", tmp_path / "code.pth", tmp_path / "other.pth"
    torch.save({"state_dict": print}, code)
    torch.save(nn.Linear(2, 2).state_dict(), other)
    with pytest.raises(FileNotFoundError, match=r"no weights file .*missing\.pth \(looked from .*Give the path"):
        Perceptual(weights=str(missing))
    with pytest.raises(RuntimeError, match=r"code\.pth cannot be read as named tensors .*Save them with"):
        Perceptual(weights=str(code))
    with pytest.raises(RuntimeError, match=r"other\.pth, given as weights of timm's .*missing or misshapen"):
        Perceptual(weights=str(other))


def test_an_unreachable_download_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def offline(name: str, pretrained: bool = False, **options: Any) -> Any:
        if pretrained:
            raise OSError("no route to host")
        return create(name, **options)

    def unreachable(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    with pytest.raises(RuntimeError, match=r"no route to host.*weights: FILE.*pretrained: package"):
        Perceptual(pretrained=True)
    with pytest.raises(RuntimeError, match=r"squeezenet1_1.*no route to host.*checkpoints.*weights: FILE.*package"):
        Perceptual("squeezenet1_1", source="torchvision", pretrained=True)
