"""What columns, measures and samplers are called and coloured wherever results are shown. Imports nothing heavy.

One sampler has one colour and one shape in every figure. The colours differ in normal sight and in simulated
protanopia, deuteranopia and tritanopia, and stand out from white and from near-black alike, so one palette serves light
and dark; see the tests for the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Direction = Literal["lower", "higher", "none"]


@dataclass(frozen=True)
class Look:
    """How one arm of a study is drawn: its label, colour and Vega shape."""

    label: str
    colour: str
    shape: str


SAMPLERS: dict[str, Look] = {
    "ddpm": Look("DDPM ancestral", "#c2210e", "circle"),
    "ddim": Look("DDIM", "#fc7d24", "square"),
    "euler": Look("Euler", "#9a73a9", "cross"),
    "heun": Look("Heun", "#236a61", "triangle-down"),
    "dpmpp_2m": Look("DPM-Solver++ 2M", "#217ff4", "diamond"),
    "dpmpp_3m": Look("DPM-Solver++ 3M", "#49b4ff", "triangle-up"),
    "unipc": Look("UniPC", "#803eb2", "triangle-right"),
    "sde_dpmpp_2m": Look("SDE-DPM-Solver++ 2M", "#cd94a7", "triangle-left"),
}
# For arms that are no samplers, in the order of the table above, so that the same care for colours holds, and one more.
_SPARE = (*SAMPLERS.values(), Look("", "#0044ff", "arrow"))
ACCENT = SAMPLERS["dpmpp_2m"].colour
NEUTRAL = "#808890"  # floors, bounds, guides: readable on white and on near-black


@dataclass(frozen=True)
class Measure:
    """What a measure tells: title, unit, whether lower or higher is better, whether its axis is logarithmic."""

    title: str
    unit: str
    direction: Direction
    logarithmic: bool
    meaning: str


MEASURES: dict[str, Measure] = {
    "frechet": Measure(
        "Fréchet distance",
        "squared feature units",
        "lower",
        True,
        "Distance between Gaussians fitted to the features of generated and of real images.",
    ),
    "kernel": Measure(
        "Kernel distance",
        "squared kernel units",
        "lower",
        False,
        "Unbiased squared maximum mean discrepancy of the features; may fall below zero by chance.",
    ),
    "precision": Measure(
        "Precision", "share", "higher", False, "Share of generated images that lie among the real ones."
    ),
    "recall": Measure(
        "Recall", "share", "higher", False, "Share of real images that lie among the generated ones."
    ),
    "density": Measure(
        "Density", "balls per k", "higher", False, "How densely real images surround the generated ones."
    ),
    "coverage": Measure(
        "Coverage",
        "share",
        "higher",
        False,
        "Share of real images with a generated one in their neighbourhood.",
    ),
    "class_histogram": Measure(
        "Class histogram distance",
        "share",
        "lower",
        False,
        "How far the mix of classes is from that of real images.",
    ),
    "recognised": Measure(
        "Recognised as its class",
        "share",
        "higher",
        False,
        "Share that a classifier takes for the class asked for.",
    ),
    "copy_rate": Measure(
        "Copy rate", "share", "lower", False, "Share that lies as near to a training image as copies do."
    ),
    "endpoint_error": Measure(
        "Endpoint error",
        "data units, root mean square",
        "lower",
        True,
        "Distance from the exact end of each path.",
    ),
    "sliced_wasserstein": Measure(
        "Sliced Wasserstein distance",
        "data units",
        "lower",
        True,
        "Distance from the exact law, over random lines.",
    ),
    "sample_seconds": Measure(
        "Seconds to draw all samples", "s", "lower", True, "Wall-clock time of sampling."
    ),
    "single_seconds": Measure(
        "Seconds for one image", "s", "lower", True, "Wall-clock time of drawing one image alone."
    ),
    "fit_seconds": Measure("Seconds to train", "s", "lower", True, "Wall-clock time of the fit."),
    "bits_per_dim": Measure(
        "Bits per dimension",
        "bits",
        "lower",
        False,
        "Minus the log-likelihood of test images: exact, a bound or an estimate, by family.",
    ),
    "ode_bits_per_dim": Measure(
        "Bits per dimension by the ODE",
        "bits",
        "lower",
        False,
        "The same by the probability-flow ODE, with an estimate of its divergence.",
    ),
    "error": Measure("Error", "share", "lower", True, "Share of test images whose class is told wrongly."),
    "accuracy": Measure("Accuracy", "share", "higher", False, "Share of test images whose class is told."),
    "misled": Measure(
        "Misled",
        "share",
        "lower",
        True,
        "Share of test images taken for the class that a misleading pixel tells.",
    ),
    "chosen_time": Measure(
        "Chosen noise level t", "", "none", False, "The noise level whose features validation chose."
    ),
    "chosen_behind_middle": Measure(
        "Layer behind the middle", "", "none", False, "One where validation chose a layer behind the middle."
    ),
    "evaluations_per_image": Measure(
        "Evaluations an image", "", "lower", True, "Network evaluations to tell the class of an image."
    ),
    "classify_seconds": Measure(
        "Seconds to classify 1,000 images", "s", "lower", True, "Wall-clock time, features included."
    ),
    "gradient_variation": Measure(
        "Gradient variation",
        "ratio",
        "lower",
        True,
        "Deviation of the gradient norm over its mean, late in the fit.",
    ),
}

FIELDS: dict[str, str] = {
    "nfe": "Network evaluations per sample",
    "timesteps": "Diffusion steps T of the forward process",
    "sample_seconds": "Seconds to draw all samples",
    "matching": "Compared at",
    "stages": "Stages T of the hierarchy",
    "trained": "Training done, as a share of the whole",
    "budget": "Training budget, as a share of the full one",
    "labelled": "Share of the training labels",
    "classify_seconds": "Seconds to classify 1,000 images",
    "fit_seconds": "Seconds to train",
    "training_flops": "Floating point operations of training",
    "megaflops": "Million FLOPs of an evaluation of one image",
    "patch_share": "Side of a patch, as a share of the image's",
}
# What a word of an arm is called; samplers have theirs in the table above.
LABELS: dict[str, str] = {
    "vae": "VAE",
    "ladder_vae": "Hierarchical VAE",
    "coupling_flow": "Coupling flow",
    "autoregressive_flow": "Autoregressive flow",
    "gan": "GAN",
    "ddpm_1000": "DDPM, 1000 steps",
    "diffusion": "Diffusion, 20 steps",
    "flow_matching": "Flow matching",
    "latent_diffusion": "Latent diffusion",
    "unet": "U-Net",
    "unet_transformer": "U-Net with transformers",
    "dit": "DiT",
    "uvit": "U-ViT",
    "convnext": "Isotropic ConvNet",
    "mixer": "MLP-Mixer",
    "pixels": "Pixels",
    "pixels_knn": "Pixels, k-NN",
    "pca": "Principal components",
    "random_features": "Random network's features",
    "vae_features": "VAE latents",
    "diffusion_features": "Diffusion features",
    "diffusion_knn": "Diffusion features, k-NN",
    "diffusion_mlp": "Diffusion features, MLP",
    "diffusion_last": "Diffusion features, a tenth of the rows",
    "diffusion_half": "Diffusion features, 1/2 of training",
    "diffusion_quarter": "Diffusion features, 1/4 of training",
    "diffusion_sixteenth": "Diffusion features, 1/16 of training",
    "cnn": "CNN",
    "cnn_best": "CNN, trained for longer",
    "finetuned": "Fine-tuned denoiser",
    "scratch": "Same network from scratch",
    "diffusion_bayes": "Diffusion by Bayes' rule",
    "flow_bayes": "Coupling flow by Bayes' rule",
    "vae_bayes": "VAE by Bayes' rule",
    "diffusion_misled": "Diffusion features, misled",
    "diffusion_bayes_misled": "Diffusion by Bayes' rule, misled",
    "cnn_misled": "CNN, misled",
    "noise": "Noise",
    "velocity": "Velocity",
    "clean": "Clean image",
    "parameters": "equal parameters",
    "flops": "equal FLOPs",
    "flops_half": "equal FLOPs, half as many",
    "flops_double": "equal FLOPs, twice as many",
    "seconds": "equal seconds",
    "diffusion_bound": "Diffusion, by its bound",
    "diffusion_denoising": "Diffusion, by denoising",
    "learned_schedule": "Noise schedule learned",
    "learned_encoder": "Encoder learned",
    "quarter_latents": "Quarter of the dimensions",
    "quarter_latents_learned": "Quarter, encoder learned",
    "networks_equal_total": "Network a stage, equal in total",
    "networks_equal_each": "Network a stage, equal each",
}
EXTRACTORS: dict[str, str] = {
    "cnn": "CNN features",
    "random_conv": "random features",
    "corrupted": "corrupted images",
}


def measure(name: str) -> Measure:
    """The entry for `frechet[cnn]` or `recognised`; a plain one for a name that is not in the table."""
    base, _, features = name.partition("[")
    entry = MEASURES.get(base)
    if entry is None:
        return Measure(name, "", "none", False, "")
    where = EXTRACTORS.get(features.rstrip("]"), features.rstrip("]"))
    title = f"{entry.title}, {where}" if features else entry.title
    return Measure(title, entry.unit, entry.direction, entry.logarithmic, entry.meaning)


def axis_title(name: str) -> str:
    """The title of a measure's axis, with its direction: `Fréchet distance, CNN features (lower is better)`."""
    entry = measure(name)
    return entry.title if entry.direction == "none" else f"{entry.title} ({entry.direction} is better)"


def field(name: str) -> str:
    """A column of the arms in words."""
    return FIELDS.get(name, name.replace("_", " "))


def word(name: str) -> str:
    """A word of an arm as it is shown: `equal parameters` for `parameters`."""
    return LABELS.get(name, name.replace("_", " "))


def in_text(name: str) -> str:
    """A column of the arms in the middle of a sentence: `diffusion steps T of the forward process`."""
    words = field(name)
    return words[:1].lower() + words[1:]


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look for each name: that of the table for a sampler, a spare one for anything else, by its position. Beyond the
    colours of the table they come again in other shapes."""
    taken = {SAMPLERS[name].colour for name in names if name in SAMPLERS}
    count = len(_SPARE)
    spare = (
        (_SPARE[index].colour, _SPARE[(index + turn) % count].shape)
        for turn in range(count)
        for index in range(count)
        if _SPARE[index].colour not in taken
    )
    return {name: SAMPLERS.get(name) or Look(word(name), *next(spare)) for name in names}
