"""Warpmark for those who use it: landmarks on pictures and videos in a few lines of Python.

    import warpmark

    landmarker = warpmark.load()
    for face in landmarker("portrait.jpg"):
        print(face.box, face.score, face.landmarks[30])  # the tip of the nose

Coordinates are the upright picture's pixels: pixel centres at integers, x to the right, y down, counted from 0.
"""

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from prediction.faces import PredictedFace
    from warpmark.landmarker import FaceLandmarker, load

__version__: str

__all__ = ["load", "FaceLandmarker", "PredictedFace"]

_PLACES: Final = {
    "load": "warpmark.landmarker",
    "FaceLandmarker": "warpmark.landmarker",
    "PredictedFace": "prediction.faces",
}


def __getattr__(name: str) -> Any:
    # When it is first asked for: `import warpmark` alone does not import torch.
    if name == "__version__":
        # From the one place that says it, pyproject.toml, by way of the installed package.
        from importlib.metadata import version

        return version("warpmark")
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
