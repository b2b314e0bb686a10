"""Must large patches predict the clean image? A transformer's target against the side of its patches."""

from workbench.spec import Arm, Claim, Ratio, RatioSlope, Study, arm, grid

PREDICTIONS = ("clean", "velocity", "noise")
SHARES = (0.125, 0.25, 0.5, 1.0)
TOLERANCE = "10 % of a Frechet distance is below what another training seed commonly moves it"


def at(prediction: str, patch_share: float) -> Arm:
    """An arm of the grid."""
    return arm(prediction=prediction, patch_share=patch_share)


def clean_wins(other: str, what: str) -> Claim:
    """With the whole image as one patch, another target is clearly worse than the clean image."""
    return Claim(
        name=f"clean_beats_{other}",
        text=f"With the whole image as one patch, predicting the clean image is clearly better than predicting {what}.",
        statistic=Ratio("frechet[cnn]", at("clean", 1.0), at(other, 1.0)),
        relation="at_most",
        bound=0.9,
        why=TOLERANCE,
    )


def gains(other: str, what: str) -> Claim:
    """The lead of the clean image over another target grows with the patch."""
    return Claim(
        name=f"lead_over_{other}_grows",
        text=f"The larger the patches, the more is won by predicting the clean image instead of {what}.",
        statistic=RatioSlope("frechet[cnn]", arm(prediction="clean"), arm(prediction=other), "patch_share"),
        relation="at_most",
        bound=0.0,
        why="below zero, the distance under one target over that under the other shrinks with each larger patch",
    )


STUDY = Study(
    name="patches",
    question="Must a transformer with large patches predict the clean image?",
    expectation=(
        "Images lie near a surface of few dimensions and noise fills the space, so a network whose patches have more "
        "values than it has channels can pass on a clean image and not the noise (Li & He, 2025): at small patches the "
        "targets are alike, at large ones only the clean image can be predicted."
    ),
    how_to_read=(
        "One small diffusion transformer of 64 channels is trained for each target and side of the patches, with the "
        "same data order, noise and number of images, and drawn from by the same solver in 20 evaluations. The loss is "
        "the same function of the clean image for all targets, so that they differ in what the network has to put out "
        "alone. Patches are of 1, 2, 4 and 8 pixels a side on 8 x 8 digits, with 1, 4, 16 and 64 values, and of 4, 7, "
        "14 and 28 on images of 28 x 28, with 16, 49, 196 and 784 values. Larger patches are fewer tokens, so a "
        "network costs less by the evaluation: read the targets against each other, not one side against the next."
    ),
    preset="patched",
    arms=grid(prediction=PREDICTIONS, patch_share=SHARES),
    smoke_arms=grid(prediction=PREDICTIONS, patch_share=(SHARES[0], SHARES[-1])),
    primary="frechet[cnn]",
    claims=(
        clean_wins("noise", "the noise"),
        clean_wins("velocity", "the velocity"),
        Claim(
            name="noise_will_do_on_small_patches",
            text="With the smallest patches, predicting the noise is as good as predicting the clean image.",
            statistic=Ratio("frechet[cnn]", at("noise", SHARES[0]), at("clean", SHARES[0])),
            relation="at_most",
            bound=1.1,
            why=TOLERANCE,
        ),
        gains("noise", "the noise"),
        gains("velocity", "the velocity"),
    ),
    caveats=(
        "Patches are to fill an image: of 28 pixels an eighth is taken as 4, and drawn at 0.125 all the same.",
        "One width of 64 channels: only on images larger than the digits do large patches have more values than that.",
        "One learning rate for all arms, chosen for patches of two pixels and another target.",
        "The noise level is uniform in time and the loss min-SNR-5; other weights may favour another target.",
        (
            "Nothing is clipped in sampling, which is hardest on the noise: on digits, in one fit, clipping halved its "
            "distance at the largest patches, which stayed far above that of the clean image."
        ),
    ),
)
