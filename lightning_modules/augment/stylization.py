"""Labelled photos made to resemble caricatures: exaggerated geometry, and a drawing's look."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from datamodules.faces import FaceBatch
from lightning_modules.augment.amplitude import swap_amplitude
from lightning_modules.augment.exaggeration import Exaggeration
from lightning_modules.augment.painterly import brush, clarity, flatten_colours, ink_lines, match_colours, pencil
from lightning_modules.augment.selection import change_selected, require_share, select
from lightning_modules.devices import chosen
from lightning_modules.landmarkers.base import full_precision

Range = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """How photos are made to look drawn. All draws come from torch's global generator.

    A photo gains local contrast, then is drawn in at most one medium, then takes colours of the paired stylised face.
    Probabilities are per photo; sizes are drawn uniformly once a batch, as shares of the crop's side.

    Args:
        clarity: probability of exaggerated local contrast.
        painting: probability of brush strokes.
        poster: probability of brush strokes in a few flat colours.
        cartoon: probability of brush strokes with ink lines.
        ink: probability of ink lines on white paper.
        pencil: probability of a pencil sketch.
        colours: probability of taking mean and spread of the stylised face's colours.
        amplitude: probability of taking its low-frequency amplitudes.
        stroke: range of the brush's radius.
        line: range of the ink lines' width.
        shading: range of how far pencil strokes reach.
        beta: range of the amplitude window, see :func:`~lightning_modules.augment.amplitude.swap_amplitude`.

    Raises:
        ValueError: a probability is out of [0, 1], or the media's add up to more than 1.
    """

    clarity: float = 0.3
    painting: float = 0.2
    poster: float = 0.05
    cartoon: float = 0.15
    ink: float = 0.05
    pencil: float = 0.1
    colours: float = 0.3
    amplitude: float = 0.15
    stroke: Range = (0.006, 0.03)
    line: Range = (0.004, 0.01)
    shading: Range = (0.02, 0.07)
    beta: Range = (0.01, 0.05)

    def __post_init__(self) -> None:
        media = ("painting", "poster", "cartoon", "ink", "pencil")
        total = sum(require_share(name, getattr(self, name)) for name in media)
        for name in ("clarity", "colours", "amplitude"):
            require_share(name, getattr(self, name))
        if total > 1 + 1e-9:
            raise ValueError(f"{', '.join(media)} add up to {total:g}; expected at most 1: a photo is drawn in one.")

    def __call__(self, photos: Tensor, drawings: Tensor) -> Tensor:
        """Change how photos look; no pixel moves.

        Args:
            photos: RGB in [0, 1], shape ``(B, 3, S, S)``.
            drawings: a stylised face for each, same shape.

        Returns:
            RGB in [0, 1], shape ``(B, 3, S, S)``, in the photos' floating type, without gradient.
        """
        with torch.no_grad(), full_precision(photos):
            images, drawings = photos.float().clamp(0, 1), drawings.float()
            count, side = len(images), images.shape[-1]
            reach, strength = side * _drawn((0.02, 0.06)), _drawn((0.3, 1.2))
            images = change_selected(select(self.clarity, count), images, lambda x: clarity(x, reach, strength))
            images = self._draw_in_media(images)
            taken = select(self.colours, count)
            images = change_selected(taken, images, lambda x: match_colours(x, drawings[chosen(taken, x.device)]))
            swapped, beta = select(self.amplitude, count), _drawn(self.beta)
            images = change_selected(
                swapped, images, lambda x: swap_amplitude(x, drawings[chosen(swapped, x.device)], beta).clamp(0, 1)
            )
            return images.to(photos.dtype)

    def _draw_in_media(self, images: Tensor) -> Tensor:
        side = images.shape[-1]
        radius, levels = max(1, round(side * _drawn(self.stroke))), torch.randint(4, 9, (1,)).tolist()[0]
        line, shading = side * _drawn(self.line), side * _drawn(self.shading)
        media: list[tuple[float, Callable[[Tensor], Tensor]]] = [
            (self.painting, lambda x: brush(x, radius)),
            (self.poster, lambda x: flatten_colours(brush(x, radius), levels)),
            (self.cartoon, lambda x: brush(x, radius) * ink_lines(x, line)),
            (self.ink, lambda x: ink_lines(x, line).expand_as(x)),
            (self.pencil, lambda x: pencil(x, shading)),
        ]
        place, low = torch.rand(len(images)), 0.0
        for share, medium in media:
            images = change_selected((low <= place) & (place < low + share), images, medium)
            low += share
        return images


@dataclass(frozen=True)
class Stylization:
    """Exaggerated geometry, then the look, so that lines and strokes are not blurred by resampling.

    Args:
        exaggeration: how photos are warped; None leaves their geometry.
        look: how photos are made to look drawn; None leaves their pixels.
        share: probability that a photo is stylised; the others stay as they are, so that photos are learned too.

    Raises:
        ValueError: the share is out of [0, 1].
    """

    exaggeration: Exaggeration | None = field(default_factory=Exaggeration)
    look: Look | None = field(default_factory=Look)
    share: float = 0.5

    def __post_init__(self) -> None:
        require_share("the share of photos to stylise", self.share)

    @property
    def needs_shapes(self) -> bool:
        """Whether photos are taken towards the shapes of the stylised faces, which then have to be estimated."""
        return self.exaggeration is not None and self.exaggeration.towards_target != (0.0, 0.0)

    def __call__(self, photos: FaceBatch, drawings: Tensor, shapes: Tensor | None, mean_face: Tensor) -> FaceBatch:
        """Stylise labelled photos; their labels go where their pixels go.

        Args:
            photos: labelled crops.
            drawings: a stylised face for each, RGB in [0, 1], shape ``(B, 3, S, S)``.
            shapes: landmarks of those, crop coordinates, shape ``(B, 68, 2)``. They may be estimates: they only decide
                which shapes the photos take, and the labels stay exact. None where :attr:`needs_shapes` is false.
            mean_face: of the source, crop coordinates, shape ``(68, 2)``.

        Returns:
            A new batch without gradient; ``matrices`` and the rest are the photos'.
        """
        assert photos.landmarks is not None, "the source is labelled"
        images, landmarks, selected = photos.images, photos.landmarks, select(self.share, len(photos))
        places = chosen(selected, images.device)
        with torch.no_grad():
            if (how := self.exaggeration) is not None:
                towards = None if shapes is None else shapes[places]
                moved = change_selected(selected, landmarks, lambda old: how.shapes(old, towards, mean_face))
                images = change_selected(selected, images, lambda x: how.warp(x, landmarks[places], moved[places]))
                landmarks = moved
            if (look := self.look) is not None:
                images = change_selected(selected, images, lambda x: look(x, drawings[places]))
        return replace(photos, images=images, landmarks=landmarks)


def _drawn(bounds: Range) -> float:
    """A number drawn uniformly from torch's global generator on the CPU, so that no device has to be waited for."""
    low, high = bounds
    return low + (high - low) * float(torch.rand(1).tolist()[0])
