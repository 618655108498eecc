"""Feature maps of frozen networks, of timm or torchvision, for losses that compare more than pixels.

Both libraries are imported when a network is built, so that the rest of the package runs without them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from lightning_modules.backbones.base import Pretrained
from lightning_modules.weights import StateDict, WeightsError, load_state, read_state

STAGES = (1, 2)
"""Stages of a timm network that are compared unless others are asked for: of most, strides 4 and 8.

With EfficientNet-Lite0 on 100 pairs of real photos and labelled caricatures, true landmarks displaced towards the
photo's shape: the gradient of these points back in 96 % of the pairs, at a mean cosine of 0.17; of stages 0 to 3 in
99 %, at 0.16; of stage 3 alone in 78 %, at 0.06; of the squared difference of Sobel gradients in 65 %, at 0.03.
"""

LPIPS_LAYERS = {
    "alexnet": ("features.1", "features.4", "features.7", "features.9", "features.11"),
    "squeezenet1_1": tuple(f"features.{i}" for i in (1, 4, 7, 9, 10, 11, 12)),
    "vgg16": ("features.3", "features.8", "features.15", "features.22", "features.29"),
}
"""torchvision's names of the layers that LPIPS compares (Zhang et al., CVPR 2018, section 3)."""


class FrozenFeatures:
    """A network's feature maps, from weights that never change.

    It is no module: a module that holds it neither trains, nor saves, nor counts its weights, and ``.train()`` leaves
    its batch-norm alone. It goes to the device and the floating type of the images it is given.

    Args:
        network: normalised images to a list, or a dict, of feature maps.
        mean: the RGB mean (of values in [0, 1]) the network's input is normalised with.
        std: the standard deviation likewise.
    """

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        self.network = network.eval().requires_grad_(False)
        self.mean, self.std = tuple(mean), tuple(std)

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Feature maps ``(B, C, h, w)``, one of each layer, from RGB images in [0, 1], ``(B, 3, S, S)``."""
        weight = next(self.network.parameters())
        if (weight.device, weight.dtype) != (images.device, images.dtype):
            # Weights moved within inference mode (a picture of a validation epoch) could not serve training after it.
            with torch.inference_mode(False):
                self.network.to(images.device, images.dtype)
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        maps = self.network((images - mean) / std)
        return list(maps.values() if isinstance(maps, dict) else maps)


def timm_features(
    name: str, stages: Sequence[int] | None = None, pretrained: Pretrained = False, weights: str | None = None
) -> FrozenFeatures:
    """Feature maps of a convolutional timm network.

    Args:
        name: timm's name.
        stages: numbers of feature stages, from 0 (see ``feature_info`` of the network); :data:`STAGES` if None.
        pretrained: true for timm's own weights, from its hub; ``"package"`` for those of an installed Python package;
            false for random ones, always the same.
        weights: file with the network's weights, as timm names them; comes before ``pretrained``.

    Raises:
        ValueError: timm has no such network, it has no such stages, or no package is known for it.
        WeightsError: the weights cannot be read or downloaded, or are not the network's.
    """
    from lightning_modules.backbones.timm_network import TimmFeatures, level_strides, timm_network

    chosen = list(STAGES if stages is None else stages)
    with _same_randomness():
        network = timm_network(name, pretrained, weights, num_classes=0)
    count = len(level_strides(network))
    if not chosen or not all(0 <= stage < count for stage in chosen):
        raise ValueError(f"layers are {chosen}, but timm's {name} has feature stages 0 to {count - 1}: choose those.")
    features = TimmFeatures(network, chosen)
    return FrozenFeatures(features, features.mean, features.std)


def torchvision_features(
    name: str, layers: Sequence[str] | None = None, pretrained: bool = False, weights: str | None = None
) -> FrozenFeatures:
    """Feature maps of a torchvision classifier.

    Args:
        name: torchvision's name.
        layers: names of nodes (``torchvision.models.feature_extraction.get_graph_node_names``), e.g. ``layer2`` of a
            ResNet; those of :data:`LPIPS_LAYERS` if None.
        pretrained: true for torchvision's own weights, downloaded or from torch.hub's cache; false for random ones,
            always the same.
        weights: file with the network's weights, as torchvision names them; comes before ``pretrained``.

    Raises:
        ValueError: torchvision has no such network, or it has no such layers.
        WeightsError: the weights cannot be read or downloaded, or are not the network's.
    """
    from torchvision import models
    from torchvision.models.feature_extraction import create_feature_extractor

    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(f"torchvision has no classifier {name!r}. Set `network` to one of {', '.join(known)}.")
    if layers is None and name not in LPIPS_LAYERS:
        raise ValueError(f"say which layers of {name} to compare; they are known for {', '.join(LPIPS_LAYERS)} only.")
    with _same_randomness():
        network = models.get_model(name, weights=None)
        chosen = [str(layer) for layer in layers or LPIPS_LAYERS.get(name, ())]
        try:
            extractor = create_feature_extractor(network.eval(), chosen)
        except ValueError as error:
            tops = [top for top, _ in network.named_children()]
            raise ValueError(f"layers of torchvision's {name}: {error} Its parts are {', '.join(tops)}.") from error
    if weights:
        origin = f"{weights}, given as weights of torchvision's {name},"
        load_state(extractor, read_state(weights), origin, partial=True)
    elif pretrained:
        load_state(extractor, _torchvision_state(name), f"torchvision's {name}", partial=True)
    normalised = models.get_model_weights(name).DEFAULT.transforms()
    return FrozenFeatures(extractor, normalised.mean, normalised.std)


def _torchvision_state(name: str) -> StateDict:
    from torchvision import models

    chosen = models.get_model_weights(name).DEFAULT
    try:
        state: StateDict = chosen.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"the pretrained weights of torchvision's {name} cannot be loaded from {chosen.url}: "
            f"{type(error).__name__}: {error}. Put that file into {Path(torch.hub.get_dir(), 'checkpoints')}, name it "
            "in `weights: FILE`, or use `source: timm` with `network: tf_efficientnet_lite0` and `pretrained: package`."
        ) from error
    return state


@contextmanager
def _same_randomness() -> Iterator[None]:
    """Draw the same initial weights each time, so that a resumed run compares as before; leave others' draws alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield
