"""The transformer that relates the 68 patches to each other (SLPT's "inherent relation layers")."""

import torch
from torch import Tensor, nn

from datamodules.ibug68 import NUM_LANDMARKS


class RelationLayer(nn.Module):
    """One pre-norm decoder layer: queries attend to each other, then to the patches, then a two-layer perceptron.

    Args:
        dim: width.
        num_heads: attention heads, a divisor of ``dim``.
        feedforward_dim: width of the perceptron's hidden layer.
        dropout: share dropped from attention, hidden layer and each branch while training.
    """

    def __init__(self, dim: int, num_heads: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = nn.MultiheadAttention(dim, num_heads, dropout=dropout, batch_first=True)
        self.patch_attention = nn.MultiheadAttention(dim, num_heads, dropout=dropout, batch_first=True)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(dim) for _ in range(3))
        self.linear1 = nn.Linear(dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, state: Tensor, patches: Tensor, query: Tensor, structure: Tensor) -> Tensor:
        """Refine the landmarks' states.

        Args:
            state: shape ``(B, 68, dim)``, or ``(1, 68, dim)`` where it is the same for all images.
            patches: patch embeddings, shape ``(B, 68, dim)``.
            query: which landmark a state is for, added to it, shape ``(1, 68, dim)``.
            structure: which landmark a patch lies around, likewise.

        Returns:
            Shape ``(B, 68, dim)``.
        """
        normed = self.norm1(state)
        keys = normed + query
        state = state + self.dropout(self.self_attention(keys, keys, normed, need_weights=False)[0])
        keys = (self.norm2(state) + query).expand_as(patches)
        seen = self.patch_attention(keys, patches + structure, patches, need_weights=False)[0]
        state = state + self.dropout(seen)
        hidden = self.dropout(torch.relu(self.linear1(self.norm3(state))))
        refined: Tensor = state + self.dropout(self.linear2(hidden))
        return refined


class RelationDecoder(nn.Module):
    """Patch embeddings of 68 landmarks to their states after each layer (SLPT, section 3.2).

    Args:
        dim: width of the embeddings.
        num_layers: layers, at least 1.
        num_heads: attention heads, a divisor of ``dim``.
        feedforward_dim: width of the perceptrons' hidden layer.
        dropout: share dropped while training.
    """

    def __init__(self, dim: int, num_layers: int, num_heads: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.structure_encoding = nn.Parameter(torch.empty(1, NUM_LANDMARKS, dim))
        self.landmark_query = nn.Parameter(torch.empty(1, NUM_LANDMARKS, dim))
        layers = (RelationLayer(dim, num_heads, feedforward_dim, dropout) for _ in range(num_layers))
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(dim)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        # The published ±0.02 leaves the landmarks alike at first: 8 faces take twice as many steps to be overfitted.
        nn.init.normal_(self.structure_encoding)
        nn.init.normal_(self.landmark_query)

    def forward(self, patches: Tensor) -> Tensor:
        """Patch embeddings, shape ``(B, 68, dim)``, to the normed states of all layers, ``(B, L, 68, dim)``."""
        # All images start from the same state, so that its self-attention is computed once.
        state = torch.zeros_like(patches[:1])
        states = []
        for layer in self.layers:
            state = layer(state, patches, self.landmark_query, self.structure_encoding)
            states.append(self.norm(state))
        return torch.stack(states, dim=1)
