"""A causal transformer that can go on from where it was: its keys and values are passed and returned."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.nn.layers import zeroed
from workbench.registry import UserError

KeyValue = tuple[Tensor, Tensor]  # of the positions so far, each [B, heads, T, head width]
Cache = tuple[KeyValue, ...]  # one pair a layer


class CausalLayer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)) (Vaswani et al., 2017, with the norms first): [B, T, C] -> same.

    Position t sees positions up to t. Queries and keys are normalised (Dehghani et al., 2023). Both branches end in
    zeros, so that a fresh layer is the identity. Plain matrix products, as in `SelfAttention`, for their backward.
    """

    def __init__(self, width: int, dropout: float, head_width: int = 32) -> None:
        super().__init__()
        self.heads, self.dropout = width // head_width, dropout
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_qkv = nn.Linear(width, 3 * width)
        self.out = zeroed(nn.Linear(width, width))
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), zeroed(nn.Linear(4 * width, width))
        )

    def forward(self, x: Tensor, past: KeyValue | None) -> tuple[Tensor, KeyValue]:
        # [B, T, 3 C] -> three times [B, heads, T, C / heads]
        q, k, v = self.to_qkv(self.norm_attention(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = (F.layer_norm(u, u.shape[-1:]) for u in (q, k))
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        logits = q @ k.mT * q.shape[-1] ** -0.5
        new, total = logits.shape[-2:]
        if new > 1:
            later = torch.ones(new, total, dtype=torch.bool, device=x.device).triu(total - new + 1)
            logits = logits.masked_fill(later, -torch.inf)
        attended = (logits.softmax(dim=-1).to(v.dtype) @ v).transpose(1, 2).flatten(2)  # [B, T, C]
        x = x + F.dropout(self.out(attended), self.dropout, self.training)
        x = x + F.dropout(self.mlp(self.norm_mlp(x)), self.dropout, self.training)
        return x, (k, v)


class CausalTransformer(nn.Module):
    """`layers` causal layers: (x [B, T, width], cache of earlier positions or None) -> (out [B, T, width], cache).

    Raises UserError for a width that heads of 32 do not divide.
    """

    def __init__(self, width: int, layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        if width % 32:
            raise UserError(f"model.width: {width} given; attention needs a multiple of 32")
        self.layers = nn.ModuleList(CausalLayer(width, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, cache: Cache | None = None) -> tuple[Tensor, Cache]:
        grown: list[KeyValue] = []
        for index, layer in enumerate(self.layers):
            x, key_value = layer(x, cache[index] if cache is not None else None)
            grown.append(key_value)
        return self.norm(x), tuple(grown)
