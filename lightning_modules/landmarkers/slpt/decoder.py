"""The transformer that relates the 68 patches to each other (SLPT's "inherent relation layers")."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.ibug68 import NUM_LANDMARKS
from lightning_modules.landmarkers.slpt.linear import landmark_linear


class RelationAttention(nn.Module):
    """Attention of landmarks to landmarks, with the parameters of ``nn.MultiheadAttention``, by their names.

    It does less than that module, which projects keys and values apart and each landmark's place for every image.

    Args:
        dim: width.
        num_heads: attention heads, a divisor of ``dim``.
        dropout: share of the attention dropped while training.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.dim, self.num_heads, self.dropout = dim, num_heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, state: Tensor, values: Tensor, query: Tensor, structure: Tensor) -> Tensor:
        """What each landmark's state gathers from the values of all.

        Args:
            state: shape ``(B, 68, dim)``, or ``(1, 68, dim)`` where it is the same for all images.
            values: shape ``(B, 68, dim)``.
            query: which landmark a state is for, added to it, shape ``(1, 68, dim)``.
            structure: which landmark a value is of, added to it where it is a key, likewise.

        Returns:
            Shape ``(B, 68, dim)``.
        """
        dim, weight, bias = self.dim, self.in_proj_weight, self.in_proj_bias
        queries = landmark_linear(state + query, weight[:dim], bias[:dim]).expand_as(values)
        keys, seen = landmark_linear(values, weight[dim:], bias[dim:]).chunk(2, dim=-1)
        keys = keys + landmark_linear(structure, weight[dim : 2 * dim])
        query_heads, key_heads, value_heads = (self._heads(states) for states in (queries, keys, seen))
        dropped = self.dropout if self.training else 0.0
        gathered = F.scaled_dot_product_attention(query_heads, key_heads, value_heads, dropout_p=dropped)
        joined = gathered.transpose(1, 2).reshape(values.shape)
        return landmark_linear(joined, self.out_proj.weight, self.out_proj.bias)

    def _heads(self, states: Tensor) -> Tensor:
        """``(B, 68, dim)`` to ``(B, heads, 68, dim / heads)``."""
        return states.view(*states.shape[:2], self.num_heads, -1).transpose(1, 2)


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
        self.self_attention = RelationAttention(dim, num_heads, dropout)
        self.patch_attention = RelationAttention(dim, num_heads, dropout)
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
        state = state + self.dropout(self.self_attention(normed, normed, query, query))
        state = state + self.dropout(self.patch_attention(self.norm2(state), patches, query, structure))
        hidden = landmark_linear(self.norm3(state), self.linear1.weight, self.linear1.bias)
        refined = landmark_linear(self.dropout(torch.relu(hidden)), self.linear2.weight, self.linear2.bias)
        changed: Tensor = state + self.dropout(refined)
        return changed


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
