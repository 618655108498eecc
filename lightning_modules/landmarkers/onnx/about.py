"""What an exported ONNX file says about itself, so that it can be used without this project."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from lightning_modules.weights import WeightsError

SCHEME: Final = "iBUG-68"
COORDINATES: Final = (
    "x to the right, y down, in shares of the crop's side: pixel i of the crop, counted from 0, is at i / image_size. "
    "The crop is a square centred on the face's box, crop_factor times the longer side of the box of its landmarks; "
    "outside the image it is black. uncertainty is a standard deviation along an axis, in the same units."
)
_FORMAT: Final = "warpmark"
"""The key that makes a file one of ours; its value is the project's version."""


@dataclass(frozen=True)
class About:
    """The metadata of an exported file.

    Attributes:
        version: of this project, e.g. ``warpmark 0.1.0``.
        landmarker: the network's class.
        image_size: side of the crops, in pixels.
        crop_factor: side of the crop over the longer side of the face's box.
        source: the checkpoint's name.
        precision: ``fp32``, ``fp16`` or ``int8``.
        terms: on which the weights may be used.
        trained_on: the training data, in words; empty where unknown, as the following.
        made_by: the command that makes the checkpoint.
        fingerprints: of the training faces.
    """

    version: str
    landmarker: str
    image_size: int
    crop_factor: float
    source: str
    precision: str = "fp32"
    terms: str = "unknown: those of the training data and of the weights it started from apply"
    trained_on: str = ""
    made_by: str = ""
    fingerprints: str = ""

    def metadata(self) -> dict[str, str]:
        """For ``metadata_props``: text by name."""
        content = asdict(self)
        fixed = {_FORMAT: content.pop("version"), "landmark_scheme": SCHEME, "coordinates": COORDINATES}
        return fixed | {name: str(value) for name, value in content.items() if value != ""}

    @classmethod
    def read(cls, metadata: Mapping[str, str], path: object) -> "About":
        """From the metadata of the file ``path``.

        Raises:
            WeightsError: it is not a file of ours, or its metadata are damaged.
        """
        if _FORMAT not in metadata:
            found = ", ".join(sorted(metadata)[:5]) or "none"
            raise WeightsError(
                f"{path}: found an ONNX file without this project's metadata (found: {found}); expected one written by "
                "`warpmark export`. Another network's file is described by a YAML file, as configs/peers/pfld.yaml: "
                "write one for it, and give that."
            )
        known = {field.name for field in fields(cls)}
        given: dict[str, Any] = {name: value for name, value in metadata.items() if name in known}
        try:
            given |= {"image_size": int(given["image_size"]), "crop_factor": float(given["crop_factor"])}
            about = cls(version=metadata[_FORMAT], **given)
            if about.image_size < 1 or not about.crop_factor > 0:
                raise ValueError(f"image_size {about.image_size}, crop_factor {about.crop_factor}")
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(
                f"{path}: found damaged metadata ({error!r}); expected image_size, crop_factor and what else "
                "`warpmark export` writes. Export it again."
            ) from error
        return about
