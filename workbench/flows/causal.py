"""The block of a transformer autoregressive flow (Zhai et al., 2024, "Normalizing flows are capable generative
models"), for rows of tokens [B, T, P]."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.flows.bijections import Bijection
from workbench.flows.density import bounded
from workbench.nn.causal import Cache, CausalTransformer
from workbench.nn.layers import zeroed

# A block may divide the noise of a pixel by e^3 = 20 at the most: enough that two flatten noise of any std used here.
LOG_SCALE_BOUND = 3.0


class CausalAffine(Bijection):
    """z_t = (x_t - mean(x_<t)) exp(-log_scale(x_<t)): each token standardised given those before it.

    Forward is one pass over all tokens; the inverse goes token by token, each a pass over one token that attends to
    the kept keys and values of the others. `backwards` reads the tokens from the last to the first.
    """

    def __init__(
        self,
        *,
        tokens: int,
        token_width: int,
        width: int,
        layers: int,
        classes: int,
        dropout: float,
        backwards: bool,
    ) -> None:
        super().__init__()
        self.backwards = backwards
        self.start = nn.Embedding(max(classes, 1), width)  # what stands before the first token
        self.label = nn.Embedding(max(classes, 1), width)
        self.position = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.embed = nn.Linear(token_width, width)
        self.transformer = CausalTransformer(width, layers, dropout)
        self.out = zeroed(nn.Linear(width, 2 * token_width))

    def forward(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        x = self.ordered(x)
        mean, log_scale = self.affine(x, labels)
        z = (x - mean) * (-log_scale).exp()
        return self.ordered(z), -log_scale.flatten(1).sum(dim=1)

    def inverse(self, z: Tensor, labels: Tensor) -> Tensor:
        z = self.ordered(z)
        before, cache, found = self.start(labels)[:, None], None, []
        for index in range(z.shape[1]):
            mean, log_scale, cache = self.next(before, index, labels, z.dtype, cache)
            token = z[:, index : index + 1] * log_scale.exp() + mean
            found.append(token)
            before = self.embed(token)
        return self.ordered(torch.cat(found, dim=1))

    def affine(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, log_scale) of each token given those before it in the order read: each [B, T, P]."""
        start = self.start(labels)[:, None]
        before = torch.cat([start, self.embed(x[:, :-1]).to(start.dtype)], dim=1)
        mean, log_scale, _ = self.next(before, 0, labels, x.dtype, None)
        return mean, log_scale

    def next(
        self, before: Tensor, first: int, labels: Tensor, dtype: torch.dtype, cache: Cache | None
    ) -> tuple[Tensor, Tensor, Cache]:
        """What follows each embedded token of `before` [B, T', width], which stand before the tokens from `first` on:
        (mean, log_scale) each [B, T', P] in `dtype`, and the cache that includes them."""
        places = self.position[first : first + before.shape[1]]
        h, cache = self.transformer(before + places + self.label(labels)[:, None], cache)
        mean, log_scale = self.out(h).to(dtype).chunk(2, dim=2)
        return mean, bounded(log_scale, LOG_SCALE_BOUND), cache

    def ordered(self, x: Tensor) -> Tensor:
        """The tokens in the order that they are read in; its own inverse."""
        return x.flip(1) if self.backwards else x
