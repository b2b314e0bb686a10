"""The bijections of Glow (Kingma & Dhariwal, 2018), for rows [B, C, *S] with channels in the second axis.

Each maps (x, labels) -> (z, log |det dz/dx| [B]) and back. Networks may run in reduced precision under autocast; what
is inverted and its log-determinant are computed in the precision of x.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from workbench.flows.density import bounded
from workbench.shapes import over_rows

LOG_SCALE_BOUND = 2.0
EPSILON = 1e-6


class Bijection(nn.Module, ABC):
    """An invertible map of rows given their labels [B]."""

    @abstractmethod
    def forward(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(z, log |det dz/dx|) of x [B, *S]: [B, *Z] and [B]."""

    @abstractmethod
    def inverse(self, z: Tensor, labels: Tensor) -> Tensor:
        """x [B, *S] of z [B, *Z]."""

    def initialise(self, x: Tensor, labels: Tensor) -> Tensor:
        """Set what is set from the first batch x [B, *S]; z [B, *Z], from which what follows is set."""
        z: Tensor = self(x, labels)[0]
        return z


class Chain(Bijection):
    """Bijections one after the other."""

    def __init__(self, parts: Iterable[Bijection]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(len(x))
        for part in self.parts:
            x, log_det = part(x, labels)
            total = total + log_det
        return x, total

    def inverse(self, z: Tensor, labels: Tensor) -> Tensor:
        for part in reversed(self.parts):
            z = cast(Bijection, part).inverse(z, labels)
        return z

    def initialise(self, x: Tensor, labels: Tensor) -> Tensor:
        for part in self.parts:
            x = cast(Bijection, part).initialise(x, labels)
        return x


class ActNorm(Bijection):
    """z = (x + shift) exp(log_scale), a pair for each channel; `initialise` makes the first batch zero mean and unit
    variance in each (Kingma & Dhariwal, 2018, section 3.1). The identity until then."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        z = (x + over_rows(self.shift[None], x)) * over_rows(self.log_scale[None], x).exp()
        return z, (positions(x) * self.log_scale.sum()).expand(len(x))

    def inverse(self, z: Tensor, labels: Tensor) -> Tensor:
        return z * over_rows(-self.log_scale[None], z).exp() - over_rows(self.shift[None], z)

    @torch.no_grad()
    def initialise(self, x: Tensor, labels: Tensor) -> Tensor:
        values = x.transpose(0, 1).flatten(1)  # [C, B P]
        self.shift.copy_(-values.mean(dim=1))
        self.log_scale.copy_(-values.std(dim=1, correction=0).clamp_min(EPSILON).log())
        return self.forward(x, labels)[0]


class InvertibleConvolution(Bijection):
    """z = W x at each position, W = P L (U + diag(sign exp(log_diagonal))): log |det| is a sum, and never -inf.

    P, the signs and the start, a random rotation, are fixed (Kingma & Dhariwal, 2018, section 3.2, equation 10).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        rotation = torch.linalg.qr(torch.randn(channels, channels, dtype=torch.float64)).Q
        permutation, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal()
        self.register_buffer("permutation", permutation.float())
        self.register_buffer("sign", diagonal.sign().float())
        self.lower = nn.Parameter(lower.tril(-1).float())
        self.upper = nn.Parameter(upper.triu(1).float())
        self.log_diagonal = nn.Parameter(diagonal.abs().log().float())

    permutation: Tensor
    sign: Tensor

    def weight(self) -> Tensor:
        """W [C, C]."""
        eye = torch.eye(len(self.sign), dtype=self.sign.dtype, device=self.sign.device)
        upper = self.upper.triu(1) + torch.diag(self.sign * self.log_diagonal.exp())
        return self.permutation @ (self.lower.tril(-1) + eye) @ upper

    def forward(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(x.device.type, enabled=False):
            z = mixed(self.weight(), x)
        return z, (positions(x) * self.log_diagonal.sum()).expand(len(x))

    def inverse(self, z: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            return mixed(torch.linalg.inv(self.weight()), z)


class AffineCoupling(Bijection):
    """The second half of the channels scaled and shifted by what a network makes of the first, which stays.

    z_b = (x_b + shift) exp(log_scale), (shift, log_scale) = network(x_a, labels) (Dinh et al., 2017, equation 4). The
    log-scale is kept within +-2 by a tanh, so that no step of training can make the inverse overflow.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def affine(self, x_a: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(shift, log_scale), each of the shape of the second half."""
        shift, log_scale = self.network(x_a, labels).to(x_a.dtype).chunk(2, dim=1)
        return shift, bounded(log_scale, LOG_SCALE_BOUND)

    def forward(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        x_a, x_b = halves(x)
        shift, log_scale = self.affine(x_a, labels)
        return torch.cat([x_a, (x_b + shift) * log_scale.exp()], dim=1), log_scale.flatten(1).sum(dim=1)

    def inverse(self, z: Tensor, labels: Tensor) -> Tensor:
        z_a, z_b = halves(z)
        shift, log_scale = self.affine(z_a, labels)
        return torch.cat([z_a, z_b * (-log_scale).exp() - shift], dim=1)


class LabelAffine(Bijection):
    """z = (x + shift) exp(log_scale), a pair for each value of each label: the learned prior of the last scale as a
    map to standard normals."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(max(classes, 1), *shape))
        self.log_scale = nn.Parameter(torch.zeros(max(classes, 1), *shape))

    def affine(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(shift, log_scale), each [B, *S]."""
        return self.shift[labels], bounded(self.log_scale[labels], LOG_SCALE_BOUND)

    def forward(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = self.affine(labels)
        return (x + shift) * log_scale.exp(), log_scale.flatten(1).sum(dim=1)

    def inverse(self, z: Tensor, labels: Tensor) -> Tensor:
        shift, log_scale = self.affine(labels)
        return z * (-log_scale).exp() - shift


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """The channels of [B, C, *S] in two; the second half is the larger one where C is odd."""
    first = x.shape[1] // 2
    return x[:, :first], x[:, first:]


def mixed(weight: Tensor, x: Tensor) -> Tensor:
    """`weight` [C, C] times the channels of x [B, C, *S] at each position."""
    return (x.movedim(1, -1) @ weight.mT).movedim(-1, 1)


def positions(x: Tensor) -> int:
    """How many positions S has in [B, C, *S]."""
    return x[0, 0].numel()
