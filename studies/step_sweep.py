"""How many denoising steps does a diffusion model need?"""

from workbench.spec import Claim, OracleSpec, Ratio, Study, arm, grid

SHORT = (1, 2, 4, 8, 10, 15, 20, 50)
LONG = (100, 250, 1000)

# Each sampler walks the time grid that its authors propose, so that no arm is a straw man.
ARMS = (
    *grid(sampling__sampler=("ddpm", "ddim"), sampling__time_grid=("uniform_t",), sampling__nfe=SHORT + LONG),
    *grid(sampling__sampler=("euler", "heun"), sampling__time_grid=("edm_rho",), sampling__nfe=SHORT),
    *grid(
        sampling__sampler=("dpmpp_2m", "dpmpp_3m", "unipc", "sde_dpmpp_2m"),
        sampling__time_grid=("uniform_log_snr",),
        sampling__nfe=SHORT,
    ),
)


def ancestral(nfe: int) -> tuple[tuple[str, object], ...]:
    """The arm of DDPM's own sampler."""
    return arm(sampling__sampler="ddpm", sampling__time_grid="uniform_t", sampling__nfe=nfe)


def modern(nfe: int) -> tuple[tuple[str, object], ...]:
    """The arm of the solver that stands for the modern ones: named before any result was seen."""
    return arm(sampling__sampler="dpmpp_2m", sampling__time_grid="uniform_log_snr", sampling__nfe=nfe)


TOLERANCE = "10 % of a Frechet distance is below what another training seed commonly moves it"

STUDY = Study(
    name="step_sweep",
    question="How many denoising steps does a diffusion model need?",
    expectation=(
        "DDPM's own sampler needs hundreds of network evaluations; a modern solver needs 10 to 20 for samples of the "
        "same quality, from the same trained network."
    ),
    how_to_read=(
        "Every trial draws from one trained network per seed, starting from the same noise. Quality is the Frechet "
        "distance to the test split in the features of a classifier trained here (lower is better); no sampler can be "
        "expected to fall below the floor, the distance of real training images at the same number of rows. The oracle "
        "panel repeats the samplers on a Gaussian mixture whose denoiser is known exactly: what is left there is the "
        "error of the solver alone, without any error of learning."
    ),
    preset="continuous",
    arms=ARMS,
    smoke_arms=(
        *(ancestral(nfe) for nfe in (4, 50, 1000)),
        *(modern(nfe) for nfe in (4, 10, 20)),
        *(
            a
            for a in ARMS
            if dict(a)["sampling.nfe"] == 8 and dict(a)["sampling.sampler"] not in ("ddpm", "dpmpp_2m")
        ),
    ),
    oracle=OracleSpec(),
    oracle_arms=ARMS,
    primary="frechet[cnn]",
    claims=(
        Claim(
            name="ddpm_needs_hundreds",
            text="DDPM's own sampler needs hundreds of steps: 50 are clearly worse than 1000.",
            statistic=Ratio("frechet[cnn]", ancestral(50), ancestral(1000)),
            relation="at_least",
            bound=1.1,
            why=TOLERANCE,
        ),
        Claim(
            name="twenty_suffice",
            text="DPM-Solver++(2M) at 20 evaluations is as good as DDPM's own sampler at 1000.",
            statistic=Ratio("frechet[cnn]", modern(20), ancestral(1000)),
            relation="at_most",
            bound=1.1,
            why=TOLERANCE,
        ),
        Claim(
            name="ten_suffice",
            text="DPM-Solver++(2M) at 10 evaluations is as good as DDPM's own sampler at 1000.",
            statistic=Ratio("frechet[cnn]", modern(10), ancestral(1000)),
            relation="at_most",
            bound=1.1,
            why=TOLERANCE,
        ),
        Claim(
            name="wall_clock_gain",
            text="Sampling with 20 evaluations instead of 1000 is at least 25 times faster by the clock.",
            statistic=Ratio("sample_seconds", ancestral(1000), modern(20)),
            relation="at_least",
            bound=25.0,
            why="half of the 50-fold saving in evaluations must arrive at the clock",
        ),
    ),
    caveats=(
        "One small network a data set: how soon a solver converges depends on how sharp the denoiser is.",
        "The Frechet distance, in the features of a small classifier, is not comparable with published values.",
        "At few rows a Frechet distance is biased upwards, for all arms alike.",
    ),
)
