"""A linear model of aligned face shapes: mean and principal components."""

from typing import Final

import torch
from torch import Tensor, nn

from lightning_modules.warping.procrustes import Similarity, align, similarity

_ROUNDS: Final = 5
"""Of generalised Procrustes alignment: the mean no longer changes visibly after three."""


class ShapeModel(nn.Module):
    """Shapes as coefficients of principal components, after alignment to the mean shape by a similarity.

    Coefficients are divided by one number, so that they are of the order of 1; components are orthonormal.

    Args:
        components: how many.
    """

    def __init__(self, components: int = 32) -> None:
        super().__init__()
        # What shapes are aligned to. It has the mean's form, but not its size: fitted by least squares, shapes shrink.
        self.reference: Tensor
        self.mean: Tensor
        self.basis: Tensor
        self.unit: Tensor
        self.register_buffer("reference", torch.zeros(68, 2))
        self.register_buffer("mean", torch.zeros(68, 2))
        self.register_buffer("basis", torch.zeros(components, 136))
        self.register_buffer("unit", torch.ones(()))

    def learn(self, shapes: Tensor, onto: Tensor | None = None) -> float:
        """Take mean and components from shapes.

        Args:
            shapes: any frame with y down, shape ``(N, 68, 2)``.
            onto: a shape whose place, turn and scale the reference takes, shape ``(68, 2)``; those of the shapes' own
                mean if None.

        Returns:
            The share of the aligned shapes' variance that the components hold.

        Raises:
            ValueError: there are not more shapes than components, or they are no shapes.
        """
        components = len(self.basis)
        if shapes.ndim != 3 or shapes.shape[1:] != (68, 2) or len(shapes) <= components:
            raise ValueError(
                f"shapes are {tuple(shapes.shape)}; expected (N, 68, 2) with N above the {components} components. Give "
                "more shapes, or fewer components."
            )
        shapes = shapes.double().cpu()
        reference = shapes.mean(0) if onto is None else onto.double().cpu()
        for _ in range(_ROUNDS):
            aligned = align(shapes, reference.expand_as(shapes))
            reference = align(aligned.mean(0)[None], reference[None])[0]
        aligned = align(shapes, reference.expand_as(shapes))
        centred = (aligned - aligned.mean(0)).flatten(1)
        _, values, basis = torch.linalg.svd(centred, full_matrices=False)
        self.reference.copy_(reference)
        self.mean.copy_(aligned.mean(0))
        self.basis.copy_(basis[:components])
        self.unit.copy_((centred @ basis[:components].mT).square().mean().sqrt().clamp_min(1e-12))
        return float(values[:components].square().sum() / values.square().sum().clamp_min(1e-24))

    def place(self, shapes: Tensor) -> Similarity:
        """The similarities that align shapes ``(B, 68, 2)`` to the reference."""
        return similarity(shapes, self.reference.to(shapes.dtype).expand_as(shapes))

    def encode(self, shapes: Tensor) -> Tensor:
        """Coefficients of shapes of any place, turn and scale, ``(B, 68, 2)``; shape ``(B, components)``."""
        return self.code(self.place(shapes).apply(shapes))

    def code(self, aligned: Tensor) -> Tensor:
        """Coefficients of shapes that are aligned already."""
        mean, basis = self.mean.to(aligned.dtype), self.basis.to(aligned.dtype)
        return (aligned - mean).flatten(1) @ basis.mT / self.unit.to(aligned.dtype)

    def difference(self, codes: Tensor) -> Tensor:
        """The aligned shapes' differences from the mean, shape ``(B, 136)``, from coefficients."""
        return codes @ self.basis.to(codes.dtype) * self.unit.to(codes.dtype)

    def decode(self, codes: Tensor) -> Tensor:
        """Aligned shapes from coefficients, shape ``(B, 68, 2)``."""
        return self.mean.to(codes.dtype) + self.difference(codes).view(-1, 68, 2)
