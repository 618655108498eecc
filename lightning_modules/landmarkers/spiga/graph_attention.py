"""SPIGA's step regressors: graph attention over the landmarks.

Prados-Torreblanca, Buenaposada, Baumela: "Shape Preserving Facial Landmarks with Graph Attention Networks", BMVC 2022.
Nodes lie along the last dimension: ``(B, C, 68)``.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEADS = 4
DECODER = (1, 1 / 2, 1 / 4, 1 / 8)
"""Widths of the decoder's hidden layers, as shares of the graph's."""


def perceptron(channels: Sequence[int]) -> nn.Sequential:
    """A perceptron applied to every node alike, with batch-norm and ReLU between its layers."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        layers += [nn.BatchNorm1d(inputs), nn.ReLU()] if layers else []
        layers.append(nn.Conv1d(inputs, outputs, 1))
    return nn.Sequential(*layers)


class GraphAttention(nn.Module):
    """A graph attention layer: each node attends to all nodes, and a perceptron of node and message is added to it.

    Args:
        inputs: channels in, a multiple of 4.
        outputs: channels out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Conv1d(inputs, inputs, 1) for _ in range(3))
        self.merge = nn.Conv1d(inputs, inputs, 1)
        self.message = perceptron([2 * inputs, 2 * inputs, outputs])
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv1d(inputs, outputs, 1)

    def forward(self, nodes: Tensor) -> Tensor:
        # Channels are split dimension first, head second, as in the published weights.
        shape = (nodes.shape[0], -1, HEADS, nodes.shape[-1])
        query, key, value = (layer(nodes).reshape(shape).permute(0, 2, 3, 1) for layer in self.project)
        attended = F.scaled_dot_product_attention(query, key, value).permute(0, 3, 1, 2).flatten(1, 2)
        out: Tensor = self.shortcut(nodes) + self.message(torch.cat([nodes, self.merge(attended)], dim=1))
        return out


class StepRegressor(nn.Module):
    """Embedded landmarks to displacements, each coordinate between -1 and 1.

    Args:
        inputs: channels of the embedding.
        channels: of the graph, a multiple of 8.
        layers: graph attention layers.
    """

    def __init__(self, inputs: int, channels: int, layers: int) -> None:
        super().__init__()
        widths = [inputs] + [channels] * layers
        self.layers = nn.Sequential(*(GraphAttention(a, b) for a, b in pairwise(widths)))
        self.decoder = perceptron([channels, *(int(channels * share) for share in DECODER), 2])
        # An untrained step leaves landmarks about where they are.
        last = self.decoder[-1]
        nn.init.normal_(last.weight, std=0.01)  # type: ignore[arg-type]  # a convolution's
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]  # a convolution's

    def forward(self, embedded: Tensor) -> Tensor:
        """From ``(B, C, 68)`` to ``(B, 68, 2)``."""
        displacement: Tensor = F.hardtanh(self.decoder(self.layers(embedded))).mT
        return displacement


def relative_positions(landmarks: Tensor) -> Tensor:
    """The position of each landmark relative to every other one.

    Args:
        landmarks: shape ``(B, N, 2)``.

    Returns:
        Shape ``(B, 2 (N - 1), N)``: for each landmark, its position less each other one's, x and y in turns.
    """
    count = landmarks.shape[1]
    difference = (landmarks[:, :, None] - landmarks[:, None]).flatten(1, 2)
    # Without the diagonal: after its first element, it is every (N + 1)-th.
    others = difference[:, 1:].reshape(landmarks.shape[0], count - 1, count + 1, 2)[:, :, :-1]
    positions: Tensor = others.reshape(landmarks.shape[0], count, -1).mT
    return positions
