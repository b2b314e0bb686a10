"""Distances between two samples of features: Frechet and kernel, in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.metrics.rows import blocks

_BLOCK_ROWS = 2048


def frechet(generated: Tensor, reference: Tensor) -> float:
    """The Frechet distance of the Gaussians with the moments of `generated` [N, D] and `reference` [M, D].

    Unbiased covariances, as usual (Heusel et al., 2017). Biased upwards by about D^2 / N: compare at equal N only.
    """
    return frechet_of_gaussians(*_moments(generated), *_moments(reference))


def frechet_of_gaussians(mean_1: Tensor, covariance_1: Tensor, mean_2: Tensor, covariance_2: Tensor) -> float:
    """|m_1 - m_2|^2 + tr S_1 + tr S_2 - 2 tr (S_1 S_2)^(1/2), for means [D] and covariances [D, D].

    With A = S_1^(1/2), S_1 S_2 has the eigenvalues of the symmetric A S_2 A, so the trace of the root is the sum of the
    roots of eigenvalues that are real and, but for rounding, not negative: no root of a general matrix is needed.
    Source: Dowson & Landau (1982), eq. 4.
    """
    mean_1, mean_2 = mean_1.double(), mean_2.double()
    covariance_1, covariance_2 = covariance_1.double(), covariance_2.double()
    values, vectors = torch.linalg.eigh(covariance_1)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    product = root @ covariance_2 @ root
    cross = torch.linalg.eigvalsh((product + product.T) / 2).clamp_min(0).sqrt().sum()
    distance = (mean_1 - mean_2).square().sum() + covariance_1.trace() + covariance_2.trace() - 2 * cross
    return max(0.0, float(distance))  # rounding may leave a tiny negative number for equal laws


def kernel(generated: Tensor, reference: Tensor) -> float:
    """The squared maximum mean discrepancy with the kernel (x . y / D + 1)^3, its unbiased estimate over all pairs.

    `generated` [N, D], `reference` [M, D]. Without bias in N for independent rows, so it may be negative for
    equal laws; it is slightly so on average when both samples hold each class in equal shares, as that takes the
    chance out of the shares.
    Source: Binkowski et al. (2018), eq. 3 and section 3.1; no subsets are drawn, so there is no noise but the sample's.
    """
    within_generated = _kernel_sum(generated, generated, with_diagonal=False) / (
        len(generated) * (len(generated) - 1)
    )
    within_reference = _kernel_sum(reference, reference, with_diagonal=False) / (
        len(reference) * (len(reference) - 1)
    )
    across = _kernel_sum(generated, reference, with_diagonal=True) / (len(generated) * len(reference))
    return within_generated + within_reference - 2 * across


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    features = features.double()
    return features.mean(0), torch.cov(features.T).reshape(features.shape[1], -1)  # of one feature: no axes


def _kernel_sum(x: Tensor, y: Tensor, *, with_diagonal: bool) -> float:
    x, y = x.double(), y.double()
    width = x.shape[1]
    total = sum(float((block @ y.T / width + 1).pow(3).sum()) for block in blocks(x, _BLOCK_ROWS))
    return total if with_diagonal else total - float((x.square().sum(1) / width + 1).pow(3).sum())
