"""Recognition by what generative models know: features and readouts, Bayes' rule, and images that are damaged."""

from __future__ import annotations

from workbench.recognition.activations import activations, latents, layers, randomised
from workbench.recognition.bayes import Bayes, Point, bound_classifier, density_classifier
from workbench.recognition.corruptions import CORRUPTIONS, SEVERITIES
from workbench.recognition.probes import PROBES, Fitted, accuracy, choose, fit_probe
from workbench.recognition.readouts import Probe, principal

__all__ = [
    "CORRUPTIONS",
    "PROBES",
    "SEVERITIES",
    "Bayes",
    "Fitted",
    "Point",
    "Probe",
    "accuracy",
    "activations",
    "bound_classifier",
    "choose",
    "density_classifier",
    "fit_probe",
    "latents",
    "layers",
    "principal",
    "randomised",
]
