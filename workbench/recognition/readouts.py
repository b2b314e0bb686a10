"""Classifiers on features that are given: a linear one, neighbours, a small network. Each learns from training rows."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from workbench import rng
from workbench.registry import UserError

# Features [N, D] -> scores of the classes [N, classes], the highest being the answer.
Probe = Callable[[Tensor], Tensor]

# Of L-BFGS at each penalty, from the weights of the one before. With 30 of them diffusion features erred on 10.0 % of
# the test images of Fashion-MNIST, all labels given, with 100 on 9.6 %, in three times the seconds.
LOGISTIC_STEPS = 100
NEIGHBOUR_ROWS = 256  # rows compared with all training rows at a time
HIDDEN, MLP_BATCH, MLP_RATE, MLP_DECAY = 256, 256, 1e-3, 1e-2
LEAST_DEVIATION = 1e-6  # a feature that varies less is a constant


@dataclass(frozen=True, kw_only=True)
class Standardised:
    """Features less their mean, over their deviation, both [D]: those of the training rows."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, train: Tensor) -> Standardised:
        """From training rows [N, D]; a feature that is constant there becomes zero."""
        deviation, mean = torch.std_mean(train.float(), dim=0, correction=0)
        constant = deviation <= LEAST_DEVIATION * (1 + mean.abs())
        return cls(mean=mean, deviation=deviation.masked_fill(constant, torch.inf))

    def __call__(self, features: Tensor) -> Tensor:
        """Rows [N, D] -> the same."""
        return (features.float() - self.mean) / self.deviation


def principal(train: Tensor, components: int) -> Callable[[Tensor], Tensor]:
    """The projection of rows [N, *S] on the first principal components of the training rows: float32 [N, components].

    Raises UserError for more components than there are rows or values.
    """
    rows = train.flatten(1).double()
    most = min(rows.shape)
    if not 1 <= components <= most:
        raise UserError(
            f"components: {components} given; {len(rows)} rows of {rows.shape[1]} values have 1 to {most}"
        )
    mean = rows.mean(0)
    covariance = (rows - mean).T @ (rows - mean)
    basis = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :components]  # [D, components]
    return lambda features: ((features.flatten(1).double() - mean) @ basis).float()


def logistic_path(train: Tensor, labels: Tensor, strengths: Sequence[float]) -> Iterator[Probe]:
    """Multinomial logistic regressions on standardised features, each from the weights of the one before.

    `strengths` are the inverse penalties C of C sum(cross-entropy) + |w|^2 / 2, rising, so that each start is near.
    """
    standard = Standardised.of(train)
    rows, answers = standard(train).numpy(), labels.numpy()
    model = LogisticRegression(max_iter=LOGISTIC_STEPS, tol=1e-4, warm_start=True)
    for strength in strengths:
        model.set_params(C=strength)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the steps are bounded on purpose
            model.fit(rows, answers)
        weight, bias = (torch.from_numpy(part.copy()).float() for part in (model.coef_, model.intercept_))
        if len(weight) == 1:  # of two classes there is one row, the log-odds
            weight, bias = (torch.cat([-part, part]) / 2 for part in (weight, bias))
        yield _network(standard, weight, bias)


def logistic(train: Tensor, labels: Tensor, strength: float) -> Probe:
    """Multinomial logistic regression on standardised features [N, D] with inverse penalty `strength`."""
    return next(logistic_path(train, labels, (strength,)))


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The nearest training rows by the cosine of standardised features: the `known` rows [D, N] of unit length and
    their `votes` [N, classes]."""

    standard: Standardised
    known: Tensor
    votes: Tensor

    @classmethod
    def of(cls, train: Tensor, labels: Tensor, classes: int) -> Neighbours:
        """Those among training rows [N, D] with labels [N]."""
        standard = Standardised.of(train)
        known = F.normalize(standard(train)).T
        return cls(standard=standard, known=known, votes=F.one_hot(labels, classes).float())

    def nearest(self, features: Tensor, count: int) -> Tensor:
        """The `count` nearest of each row [M, D], the nearest first: int64 [M, count]."""
        parts = [
            (F.normalize(rows) @ self.known).topk(count, dim=1).indices
            for rows in self.standard(features).split(NEIGHBOUR_ROWS)
        ]
        return torch.cat(parts)

    def scores(self, nearest: Tensor) -> Tensor:
        """The votes of neighbours [M, count]: [M, classes]. Of equal votes those of the nearer ones count more."""
        count = nearest.shape[1]
        nearness = 1 - 1e-3 * torch.arange(count) / count  # breaks ties, and nothing else
        return torch.einsum("nkc,k->nc", self.votes[nearest], nearness) / count

    def probe(self, count: int) -> Probe:
        """The votes of the `count` nearest as a probe."""
        return lambda features: self.scores(self.nearest(features, count))


def mlp_path(train: Tensor, labels: Tensor, classes: int, every: int, seed: int) -> Iterator[Probe]:
    """One hidden layer of HIDDEN rectified units on standardised features, trained by AdamW: as it stands after each
    `every` steps, for ever."""
    standard = Standardised.of(train)
    rows = standard(train)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.stream(seed, "mlp weights").initial_seed())
        network = nn.Sequential(nn.Linear(rows.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, classes))
    optimiser = torch.optim.AdamW(network.parameters(), MLP_RATE, weight_decay=MLP_DECAY, fused=True)
    step = 0
    for epoch in itertools.count():
        for batch in torch.randperm(len(rows), generator=rng.stream(seed, "mlp order", epoch)).split(
            MLP_BATCH
        ):
            optimiser.zero_grad(set_to_none=True)
            F.cross_entropy(network(rows[batch]), labels[batch]).backward()
            optimiser.step()
            step += 1
            if step % every == 0:
                yield _network(standard, *(parameter.detach().clone() for parameter in network.parameters()))


def _network(standard: Standardised, *parameters: Tensor) -> Probe:
    """Linear layers, a weight and a bias each, with rectified units between them, on standardised features."""
    layers = tuple(zip(parameters[::2], parameters[1::2], strict=True))

    def scores(features: Tensor) -> Tensor:
        h = standard(features)
        for index, (weight, bias) in enumerate(layers):
            h = F.linear(h.relu() if index else h, weight, bias)
        return h

    return scores
