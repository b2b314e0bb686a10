"""A noise schedule of T timesteps that is learned (Kingma et al., 2021): monotone whatever its parameters are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.diffusion.schedule import Discrete

REACH = 20.0  # the log-SNR stays within plus and minus this
LEAST = 1e-3  # the part of that range that is shared out evenly, so that no two timesteps can fall together


class LearnedSchedule(nn.Module):
    """The log-SNR at T timesteps, and above the first and below the last the ends of its range: the T + 1 distances
    between them are a softmax of parameters, and at first those of the schedule `start`.

    Called without arguments it gives the schedule, through which gradients flow to the parameters.
    """

    def __init__(self, start: Discrete) -> None:
        super().__init__()
        times = torch.arange(1, start.timesteps + 1, dtype=torch.float64) / start.timesteps
        log_snr = start.log_snr(times)
        self.reach = max(REACH, float(log_snr.abs().max()) + 1)
        ends = log_snr.new_tensor([self.reach, -self.reach])
        shares = -torch.cat([ends[:1], log_snr, ends[1:]]).diff() / (2 * self.reach)
        self.register_buffer("start", (shares - LEAST / len(shares)).log(), persistent=False)
        self.moves = nn.Parameter(torch.zeros(len(shares)))

    start: Tensor

    def forward(self) -> Discrete:
        free = (self.start + self.moves.double()).softmax(0)
        shares = (1 - LEAST) * free + LEAST / len(free)
        log_snr = self.reach * (1 - 2 * shares[:-1].cumsum(0))
        # alpha^2 = sigmoid(log-SNR), and beta is what a timestep takes away of it.
        log_alpha_bar = torch.cat([log_snr.new_zeros(1), F.logsigmoid(log_snr)])
        return Discrete(-torch.expm1(log_alpha_bar.diff()))
