"""Can a diffusion model classify? Frozen features, Bayes' rule, fine-tuning, and what they are up against."""

from workbench.spec import Arm, Claim, Difference, Level, Ratio, Study, arm, grid

LABELLED = (0.001, 0.01, 0.1, 1.0)
AT_ALL_SHARES = (
    "diffusion_features",
    "diffusion_knn",
    "random_features",
    "vae_features",
    "pixels",
    "pixels_knn",
    "pca",
    "cnn",
)
AT_TWO_SHARES = ("finetuned", "scratch")  # each of their trainings takes as long as a denoiser's
AT_ALL_LABELS = ("diffusion_mlp", "cnn_best", "diffusion_bayes", "flow_bayes", "vae_bayes")
EARLY = ("diffusion_last", "diffusion_half", "diffusion_quarter", "diffusion_sixteenth")
MISLED = ("diffusion_bayes_misled", "cnn_misled")
FEW, SOME = 0.01, 0.1
CLEARLY = 0.9
WHY = "a tenth of the errors is about what another training seed moves"


def by(method: str, labelled: float = 1.0) -> Arm:
    """An arm of the study."""
    return arm(method=method, labelled=labelled)


def fewer_errors(
    name: str,
    text: str,
    one: Arm,
    other: Arm,
    *,
    measure: str = "error",
    bound: float = CLEARLY,
    why: str = WHY,
) -> Claim:
    """One way to classify errs less than another, by at least the tenth part."""
    return Claim(
        name=name, text=text, statistic=Ratio(measure, one, other), relation="at_most", bound=bound, why=why
    )


STUDY = Study(
    name="features",
    question="Can a diffusion model classify?",
    expectation=(
        "Frozen features of the denoiser beat pixels and the features of a VAE and come near a supervised network, "
        "above all where labels are few; the model is itself a classifier by Bayes' rule, slow but robust."
    ),
    how_to_read=(
        "Each curve is a way to tell the class of a test image, along it the share of the training labels grows. "
        "The diffusion model is that of flow matching, along the straight path from image to noise. "
        "Readouts are trained on frozen features of a model that saw all training images and not one label. Layer, "
        "noise level, grid and the strength of regularisation are chosen on the validation split. Supervised "
        "networks see the labelled images alone, for as long as the model whose features are read was trained, one for "
        "three times as long. Generative classifiers take the class under which a flow or a "
        "VAE finds the image most probable, and diffusion the class that lets it tell the noise best. Errors are those "
        "of test images that no choice was made on."
    ),
    preset="method",
    arms=(
        *grid(method=AT_ALL_SHARES, labelled=LABELLED),
        *grid(method=AT_TWO_SHARES, labelled=(FEW, 1.0)),
        *(by(method) for method in AT_ALL_LABELS),
        *(by(method, SOME) for method in (*EARLY, "diffusion_misled")),
        *(by(method) for method in MISLED),
    ),
    smoke_arms=(
        *(
            by(method)
            for method in (
                "diffusion_features",
                "random_features",
                "vae_features",
                "pixels",
                "pca",
                "cnn",
                "finetuned",
                "scratch",
            )
        ),
        *(by(method) for method in ("cnn_best", "diffusion_bayes", "flow_bayes", "vae_bayes", *MISLED)),
        *(by(method, FEW) for method in ("diffusion_features", "cnn")),
        *(by(method, SOME) for method in ("diffusion_last", "diffusion_quarter")),
    ),
    primary="error",
    claims=(
        *(
            fewer_errors(
                f"beats_{other}",
                f"A linear readout of frozen diffusion features errs clearly less than one of {words}.",
                by("diffusion_features"),
                by(other),
            )
            for other, words in (
                ("pixels", "pixels"),
                ("pca", "principal components"),
                ("vae_features", "the latents of a VAE"),
                ("random_features", "the same network's features at random weights"),
            )
        ),
        Claim(
            name="near_supervised",
            text="Frozen diffusion features come within 2 points of a supervised CNN of equal training cost.",
            statistic=Difference("accuracy", by("cnn"), by("diffusion_features")),
            relation="at_most",
            bound=0.02,
            why="two points are what the literature calls competitive",
        ),
        Claim(
            name="near_best_supervised",
            text="Frozen diffusion features come within 2 points of the same CNN trained for three times as long.",
            statistic=Difference("accuracy", by("cnn_best"), by("diffusion_features")),
            relation="at_most",
            bound=0.02,
            why="two points are what the literature calls competitive",
        ),
        fewer_errors(
            "fewer_labels",
            "With few labels, 1 % or four of a class, diffusion features err clearly less than a CNN.",
            by("diffusion_features", FEW),
            by("cnn", FEW),
        ),
        fewer_errors(
            "finetuning_helps",
            "A fine-tuned denoiser errs clearly less than the same network trained from scratch for as long.",
            by("finetuned"),
            by("scratch"),
        ),
        Claim(
            name="layer_in_decoder",
            text="The layer chosen on validation lies behind the middle of the network.",
            statistic=Level("chosen_behind_middle", by("diffusion_features")),
            relation="at_least",
            bound=0.5,
            why="one for a layer behind the middle, zero for the middle itself or one before it",
        ),
        Claim(
            name="little_noise",
            text="The noise level chosen on validation is small: t of at most 0.2.",
            statistic=Level("chosen_time", by("diffusion_features")),
            relation="at_most",
            bound=0.2,
            why="at t = 0.2 of the straight path there is four times as much of the image as of the noise",
        ),
        fewer_errors(
            "early_is_as_good",
            "The features of an earlier checkpoint, after a quarter of the training, are about as good as the last.",
            by("diffusion_quarter", SOME),
            by("diffusion_last", SOME),
            bound=1.1,
            why=f"{WHY}; with the next claim it says whether features and samples are best at one time",
        ),
        Claim(
            name="early_draws_worse",
            text="The samples of that earlier checkpoint are clearly worse than those of the last one.",
            statistic=Ratio("frechet[cnn]", by("diffusion_quarter", SOME), by("diffusion_last", SOME)),
            relation="at_least",
            bound=1.1,
            why="a tenth of the Frechet distance is about what another training seed moves",
        ),
        fewer_errors(
            "beats_flow_bayes",
            "As a classifier by Bayes' rule, the diffusion model errs clearly less than a coupling flow.",
            by("diffusion_bayes"),
            by("flow_bayes"),
        ),
        fewer_errors(
            "beats_vae_bayes",
            "As a classifier by Bayes' rule, the diffusion model errs clearly less than a VAE.",
            by("diffusion_bayes"),
            by("vae_bayes"),
        ),
        fewer_errors(
            "more_robust",
            "On corrupted images diffusion errs clearly less by Bayes' rule than a CNN of equal training cost.",
            by("diffusion_bayes"),
            by("cnn"),
            measure="error[corrupted]",
        ),
        fewer_errors(
            "resists_shortcut",
            "Trained where a pixel tells the class, it is misled clearly less often by Bayes' rule than the CNN.",
            by("diffusion_bayes_misled"),
            by("cnn_misled"),
            measure="misled",
        ),
    ),
    caveats=(
        (
            "Layer and noise level are chosen by 1,000 training labels at `quick`, 3,000 at `standard`, even where a "
            "readout learns from few."
        ),
        "Layers and regularisation are chosen by all validation labels; pixels and CNNs choose less or nothing.",
        (
            "Principal components are 64, of digits 32, and latents of the VAE 32, where a layer has up to some "
            "thousand activations."
        ),
        "Robustness is seen on 100 test images up to `standard`, the same for all seeds: intervals tell of no others.",
        "By Bayes' rule diffusion weighs the errors of the noise alike at all levels, not as the bound does.",
        "What pretraining costs is not counted against fine-tuning; the CNN of equal cost is for frozen features.",
        (
            "Fine-tuned networks and those from scratch read all layers; their learning rate is the best of three for "
            "5,000 validation images of Fashion-MNIST, one seed, all labels."
        ),
        "A flow tells an image's density at one draw of noise, a VAE at 8 of latents, diffusion at up to 64 pairs.",
        "Of small data sets the least shares are the same few labels: four of each class are always there.",
        "Supervised networks learn from images shifted by a pixel, which helps them against shifts and at few labels.",
        "Layers are compared on grids of 4 cells a side; on a finer one another might be the best.",
        "Activations are read behind a norm and SiLU, as blocks of the U-Net do; read as they are they tell less.",
        "Checkpoints and misled features choose among three noise levels, all others among seven.",
        (
            "Generative classifiers tell up to 500 test images at `quick`, 1,000 at `standard`, of those that mislead "
            "500: each takes many passes."
        ),
        (
            "Diffusion learns from batches of 32, on digits 64, which suit it; a CNN from those of 128: on "
            "Fashion-MNIST 32 and 64 told as many validation images rightly after as many seconds, one seed."
        ),
        (
            "Of two diffusion models the better one is asked: on Fashion-MNIST validation images the other, of the "
            "linear variance-preserving schedule, was right 1.8 points less often by features, 2.3 by Bayes' rule of "
            "300 images, one seed."
        ),
        "All models but one CNN are trained for half as long as a family in the comparison of families, or shorter.",
        "The learning rate of earlier checkpoints has not decayed.",
    ),
)
