"""What a trained row's warper makes of photos and stylised faces (the paper's Figure 3)."""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from callbacks.drawing import SYNTHETIC
from callbacks.warp_pictures import spread
from datamodules.faces import FaceBatch
from experiments.analysis.warped_pairs import GRADIENTS, Gradient, draw_pairs
from experiments.checkpoints import read_checkpoint
from experiments.cli import WarpmarkCLI
from experiments.errors import UsageError
from experiments.grids.cells import Runner
from experiments.grids.figures.landmarkers import checkpoint_of, is_synthetic, picture_file
from experiments.grids.results import Result
from lightning_modules.landmarkers.inference import estimate
from lightning_modules.warping import ImageGradient, Sobel, WarperObjective
from lightning_modules.warping.pairing import yaw

log = logging.getLogger(__name__)

_PHOTOS = 64
"""Photos out of which each stylised face gets the one that is turned most like it."""


def draw(
    runner: Runner, results: Sequence[Result], pairs: int = 4, gradient: Gradient | None = None, file: str = ""
) -> None:
    """Draw photos warped onto stylised faces, eight panels a pair, by the first finished row that has a warper.

    Stylised faces are spread evenly over the target; each goes with the photo that is turned most like it, of 64
    spread evenly over the source. The row's landmarker finds the stylised faces' landmarks; the photos' are labels.

    Args:
        runner: of the grid.
        results: of its finished cells.
        pairs: how many.
        gradient: operator of the gradient images; by default the one that the row's image term compares, or Sobel's
            where it compares something else.
        file: the picture's name in the grid's folder; by default ``GRID.png``.

    Raises:
        UsageError: no finished row has a warper, or the cell has kept no checkpoint.
    """
    picture = picture_file(runner, file)
    cli, objective = _trained(runner, results)
    target = cli.data.target_faces
    assert target is not None, "a method with a warper has a target"
    size = cli.method.image_size
    photos, stylised = spread(cli.data.source_faces, _PHOTOS, size), spread(target, pairs, size)
    predicted, _ = estimate(cli.method.landmarker, stylised.images, mirror_average=False)
    images, landmarks = _paired(photos, stylised, predicted)
    with torch.no_grad():
        field = objective.fit(landmarks[:, 0], landmarks[:, 1], images[:, 0], images[:, 1])
        fields = field.grid(size, objective.coarse)
    own = getattr(objective.image_loss, "gradient", None)
    operator = GRADIENTS[gradient]() if gradient else own if isinstance(own, ImageGradient) else Sobel()
    note = SYNTHETIC if is_synthetic(results) else None
    draw_pairs(images, landmarks, ("labels", "predictions"), fields, operator, note).savefig(picture)
    log.info("wrote %s", picture)


def _trained(runner: Runner, results: Sequence[Result]) -> tuple[WarpmarkCLI, WarperObjective]:
    """The first finished cell whose method has a warper, with what it has learned."""
    for result in results:
        cli = runner.in_cell(result.cell)
        objective = getattr(cli.method, "warper", None)
        if isinstance(objective, WarperObjective):
            # Both the landmarker's weights and those of a field that is learned.
            checkpoint = read_checkpoint(checkpoint_of(runner, result.cell))
            cli.method.load_state_dict(checkpoint["state_dict"], strict=False)
            cli.data.setup()
            cli.method.eval()
            return cli, objective
    raise UsageError(f"{runner.grid.name}: no finished row has a warper; expected one, e.g. METHOD=face_warping.")


def _paired(photos: FaceBatch, stylised: FaceBatch, predicted: Tensor) -> tuple[Tensor, Tensor]:
    """Images ``(N, 2, 3, S, S)`` and landmarks ``(N, 2, 68, 2)`` of pairs: each stylised face with a photo of its own.

    As long as there are any left; then there are fewer pairs.
    """
    assert photos.landmarks is not None, "the source is labelled"
    apart = (yaw(predicted)[:, None] - yaw(photos.landmarks)).abs()
    chosen: list[int] = []
    for row in apart[: len(photos)]:
        chosen.append(int(row.index_fill(0, torch.tensor(chosen, dtype=torch.long), torch.inf).argmin()))
    count = len(chosen)
    images = torch.stack([photos.images[chosen], stylised.images[:count]], dim=1)
    return images, torch.stack([photos.landmarks[chosen], predicted[:count]], dim=1)
