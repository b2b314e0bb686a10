"""A causal transformer that can go on from where it was: its keys and values are passed and returned."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.nn.layers import HEAD_WIDTH, attend, zeroed
from workbench.registry import UserError

KeyValue = tuple[Tensor, Tensor]  # of the positions so far, each [B, heads, T, head width]
Cache = tuple[KeyValue, ...]  # one pair a layer


class CausalLayer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)) (Vaswani et al., 2017, with the norms first): [B, T, C] -> same.

    Position t sees positions up to t. Both branches end in zeros, so that a fresh layer is the identity.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = width // HEAD_WIDTH, dropout
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_qkv = nn.Linear(width, 3 * width)
        self.out = zeroed(nn.Linear(width, width))
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), zeroed(nn.Linear(4 * width, width))
        )

    def forward(self, x: Tensor, past: KeyValue | None) -> tuple[Tensor, KeyValue]:
        # [B, T, 3 C] -> three times [B, heads, T, C / heads]
        q, k, v = self.to_qkv(self.norm_attention(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        new, total = q.shape[2], k.shape[2]
        later = torch.ones(new, total, dtype=torch.bool, device=x.device).triu(total - new + 1)
        attended = attend(q, k, v, later if new > 1 else None)
        x = x + F.dropout(self.out(attended), self.dropout, self.training)
        x = x + F.dropout(self.mlp(self.norm_mlp(x)), self.dropout, self.training)
        return x, (k, v)


class CausalTransformer(nn.Module):
    """`layers` causal layers: (x [B, T, width], cache of earlier positions or None) -> (out [B, T, width], cache).

    Raises UserError for a width that heads of HEAD_WIDTH channels do not divide.
    """

    def __init__(self, width: int, layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        if width % HEAD_WIDTH:
            raise UserError(f"model.width: {width} given; attention needs a multiple of {HEAD_WIDTH}")
        self.layers = nn.ModuleList(CausalLayer(width, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, cache: Cache | None = None) -> tuple[Tensor, Cache]:
        grown: list[KeyValue] = []
        for index, layer in enumerate(self.layers):
            x, key_value = layer(x, cache[index] if cache is not None else None)
            grown.append(key_value)
        return self.norm(x), tuple(grown)
