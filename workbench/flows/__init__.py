"""Bijections with their log-determinants, and the plain distribution that they end in."""

from workbench.flows.bijections import (
    ActNorm,
    AffineCoupling,
    Bijection,
    Chain,
    InvertibleConvolution,
    LabelAffine,
)
from workbench.flows.causal import CausalAffine
from workbench.flows.density import bits_a_value, standard_normal
from workbench.flows.multiscale import MultiScale

__all__ = [
    "ActNorm",
    "AffineCoupling",
    "Bijection",
    "CausalAffine",
    "Chain",
    "InvertibleConvolution",
    "LabelAffine",
    "MultiScale",
    "bits_a_value",
    "standard_normal",
]
