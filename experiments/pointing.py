"""Whether an image term points from predicted landmarks to the true ones, without training anything.

A term can only teach a landmarker what its gradient says. On labelled stylised faces that can be looked at directly:
warp photos onto each face by the landmarks a source-only landmarker predicts there, and compare the descent direction
with the way to the labels. The labels serve this diagnosis alone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.faces import FaceBatch
from lightning_modules.warping import WarperObjective


@dataclass(frozen=True)
class Pointing:
    """What an image term says on N stylised faces, each with M photos warped onto it.

    Attributes:
        cosine: mean over faces of the cosine between the way to the labels and the term's descent direction, averaged
            over the face's photos, as a training run averages it. Chance is 0 ± 0.09 / √N (136 coordinates).
        faces_pointed: share of faces with a positive cosine.
        pairs_ranked: share of pairs whose term is lower at the labels than at the predictions.
        faces_ranked: the same of the mean over each face's photos.
    """

    cosine: float
    faces_pointed: float
    pairs_ranked: float
    faces_ranked: float


def pointing(
    objective: WarperObjective, photos: FaceBatch, stylised: FaceBatch, predicted: Tensor, photos_per_face: int = 8
) -> Pointing:
    """Look at an objective's image term on labelled stylised faces.

    Args:
        objective: its pairing plays no part.
        photos: labelled crops, M or more of them; each face gets ``photos_per_face`` that are drawn by a fixed seed.
        stylised: N labelled crops.
        predicted: a landmarker's landmarks on them, crop coordinates, shape ``(N, 68, 2)``.
        photos_per_face: M.

    Raises:
        ValueError: there are fewer than ``photos_per_face`` photos, or labels are missing.
    """
    if photos.landmarks is None or stylised.landmarks is None or len(photos) < photos_per_face:
        raise ValueError(f"found {len(photos)} photos; expected {photos_per_face} or more, and labels on both sets.")
    generator = torch.Generator().manual_seed(0)
    cosines, pairs, faces = [], [], []
    for image, label, guess in zip(stylised.images, stylised.landmarks, predicted, strict=True):
        chosen = torch.randperm(len(photos), generator=generator)[:photos_per_face]
        images, shapes = photos.images[chosen], photos.landmarks[chosen]
        face = image.expand_as(images)
        guesses = guess.expand_as(shapes).clone().requires_grad_()
        at_guess = objective(images, shapes, face, guesses).image
        (gradient,) = torch.autograd.grad(at_guess.sum(), guesses)
        with torch.no_grad():
            at_label = objective(images, shapes, face, label.expand_as(shapes)).image
        descent, way = -gradient.mean(0).flatten(), (label - guess).flatten()
        cosines.append(torch.cosine_similarity(descent, way, dim=0))
        pairs.append((at_label < at_guess).float().mean())
        faces.append((at_label.mean() < at_guess.mean()).float())
    cosine = torch.stack(cosines)
    return Pointing(
        cosine=float(cosine.mean()),
        faces_pointed=float((cosine > 0).float().mean()),
        pairs_ranked=float(torch.stack(pairs).mean()),
        faces_ranked=float(torch.stack(faces).mean()),
    )
