"""Branches of residual blocks over tokens [B, P, C]: attention, cross-attention, MLP; each ends in a layer `out`."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from workbench.nn.layers import HEAD_WIDTH, attend, heads_of, zeroed


class TokenAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al., 2017) with normalised queries and keys: [B, P, C] -> same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = heads_of(width, HEAD_WIDTH)
        self.to_qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        # [B, P, 3 C] -> three times [B, heads, P, C / heads]
        q, k, v = self.to_qkv(h).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        out: Tensor = self.out(attend(q, k, v))
        return out


class CrossAttention(nn.Module):
    """Multi-head attention of tokens [B, P, C] to others [B, T, D], T at least 1: [B, P, C]."""

    def __init__(self, width: int, token_width: int) -> None:
        super().__init__()
        self.heads = heads_of(width, HEAD_WIDTH)
        self.to_q = nn.Linear(width, width)
        self.to_kv = nn.Linear(token_width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, h: Tensor, tokens: Tensor) -> Tensor:
        q = self.to_q(h).unflatten(2, (self.heads, -1)).transpose(1, 2)  # [B, heads, P, C / heads]
        k, v = self.to_kv(tokens).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        out: Tensor = self.out(attend(q, k, v))
        return out


class Mlp(nn.Module):
    """Two linear layers, GELU between, over the last axis: [..., inputs] -> same."""

    def __init__(self, inputs: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.to_hidden = nn.Linear(inputs, hidden)
        self.out = nn.Linear(hidden, inputs)
        self.dropout = dropout

    def forward(self, h: Tensor) -> Tensor:
        hidden = F.dropout(F.gelu(self.to_hidden(h)), self.dropout, self.training)
        out: Tensor = self.out(hidden)
        return out


class Residual(nn.Module):
    """h + branch(norm(h), ...): the identity at first, since the branch's last layer `out` starts at zero."""

    def __init__(self, width: int, branch: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, bias=False)
        self.branch = branch
        zeroed(cast(nn.Module, branch.out))

    def forward(self, h: Tensor, *others: Tensor) -> Tensor:
        out: Tensor = h + self.branch(self.norm(h), *others)
        return out
