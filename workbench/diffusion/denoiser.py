"""Denoisers: the clean mean D(x_t, t) = E[x_0 | x_t], whatever the network behind it predicts.

A wrapper of a denoiser is a denoiser, so guidance, clipping and counting combine freely and no sampler knows of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from workbench.diffusion.conversions import PARAMETRISATIONS
from workbench.diffusion.schedule import Schedule
from workbench.registry import UserError, look_up
from workbench.shapes import over_rows

LOG_SNR_LIMIT = 20.0


class Denoiser(nn.Module, ABC):
    """Denoiser(x_t [B, *S], t [] or [B], cond [B] or None) -> E[x_0 | x_t] [B, *S], for the noise of `schedule`."""

    schedule: Schedule

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """The clean mean."""

    def moments(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The clean mean and the learned place of the reverse variance between its bounds, in [0, 1], both [B, *S].

        Raises UserError for a denoiser that has not learned a variance.
        """
        raise UserError(
            "variance: 'learned' needs a network trained with it; this one accepts 'small' or 'large'"
        )


class Preconditioned(Denoiser):
    """A network of unit-variance input made into a denoiser: the network knows of the noise only its level.

    backbone(x [B, *S], noise_level [B], labels [B] or None) sees x_t divided by its standard deviation, and the
    log-SNR over 4, which is about -ln(sigma) / 2 of Karras et al. (2022); both are the same for schedules that differ
    by a factor on x_t. With `learned_variance` it has twice the channels, the second half for the reverse variance.
    """

    def __init__(
        self,
        backbone: nn.Module,
        schedule: Schedule,
        *,
        prediction: str,
        data_std: float,
        learned_variance: bool = False,
    ) -> None:
        super().__init__()
        self.backbone, self.schedule, self.data_std = backbone, schedule, data_std
        self.parametrisation = look_up(PARAMETRISATIONS, prediction, "prediction")
        self.learned_variance = learned_variance

    def output(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """What the network itself says: [B, *S], or [B, 2 C, ...] with a learned variance."""
        return self._output(x_t, *self.schedule(t), cond)

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        alpha, sigma = self.schedule(t)
        output = self._output(x_t, alpha, sigma, cond)
        return self._denoised(
            output.chunk(2, dim=1)[0] if self.learned_variance else output, x_t, alpha, sigma
        )

    def moments(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if not self.learned_variance:
            return super().moments(x_t, t, cond)
        alpha, sigma = self.schedule(t)
        output, fraction = self._output(x_t, alpha, sigma, cond).chunk(2, dim=1)
        return self._denoised(output, x_t, alpha, sigma), torch.sigmoid(fraction)

    def inputs(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """What the network sees of x_t [B, *S] at t [] or [B]: rows of unit variance [B, *S] and the level [B]."""
        return self._inputs(x_t, *self.schedule(t))

    def _inputs(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        scale = (alpha.square() * self.data_std**2 + sigma.square()).rsqrt()
        level = (2 * (alpha / sigma).log()).clamp(-LOG_SNR_LIMIT, LOG_SNR_LIMIT) / 4
        scaled = x_t * over_rows(scale, x_t).to(x_t.dtype)
        return scaled, level.to(x_t.dtype).expand(len(x_t))

    def _output(self, x_t: Tensor, alpha: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        out: Tensor = self.backbone(*self._inputs(x_t, alpha, sigma), cond)
        return out.to(x_t.dtype)

    def _denoised(self, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        alpha, sigma = (over_rows(c, x_t).to(x_t.dtype) for c in (alpha, sigma))
        return self.parametrisation.denoised(output, x_t, alpha, sigma, self.data_std)


class Guided(Denoiser):
    """Classifier-free guidance (Ho & Salimans, 2022): D_null + scale (D_label - D_null), both in one batched pass."""

    def __init__(self, inner: Denoiser, scale: float, *, null_label: int) -> None:
        super().__init__()
        self.inner, self.schedule, self.scale, self.null_label = inner, inner.schedule, scale, null_label

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        labelled, unlabelled = self.inner(*self._twice(x_t, t, cond)).chunk(2)
        return torch.lerp(unlabelled, labelled, self.scale)

    def moments(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean, fraction = self.inner.moments(*self._twice(x_t, t, cond))
        labelled, unlabelled = mean.chunk(2)
        return torch.lerp(unlabelled, labelled, self.scale), fraction.chunk(2)[0]

    def _twice(self, x_t: Tensor, t: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        if cond is None:
            raise UserError("guidance: a scale other than 1 needs labels, and none are given")
        times = t if t.ndim == 0 else torch.cat([t, t])
        return torch.cat([x_t, x_t]), times, torch.cat([cond, torch.full_like(cond, self.null_label)])


class Clipped(Denoiser):
    """The clean mean bounded to the range of the data, [-1, 1], as DDPM's sampler does."""

    def __init__(self, inner: Denoiser) -> None:
        super().__init__()
        self.inner, self.schedule = inner, inner.schedule

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        out: Tensor = self.inner(x_t, t, cond).clamp(-1, 1)
        return out

    def moments(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean, fraction = self.inner.moments(x_t, t, cond)
        return mean.clamp(-1, 1), fraction


class Counting(Denoiser):
    """Counts network evaluations: `rows` is the sum over calls of the rows evaluated, so `rows` / B is the NFE.

    Wrap it around the network itself, inside any guidance, so that a guided call counts as the two that it is.
    """

    def __init__(self, inner: Denoiser) -> None:
        super().__init__()
        self.inner, self.schedule, self.rows = inner, inner.schedule, 0

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.rows += len(x_t)
        out: Tensor = self.inner(x_t, t, cond)
        return out

    def moments(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.rows += len(x_t)
        return self.inner.moments(x_t, t, cond)
