"""Is a forward process of more, smaller steps more stable, better and slower?"""

from workbench.spec import Claim, Slope, Study, zipped

TIMESTEPS = (4, 10, 30, 100, 300, 1000)
SMOKE_TIMESTEPS = (4, 10, 30)
FIELD = "source.model.schedule.timesteps"

STUDY = Study(
    name="diffusion_steps",
    question="Is a forward process of more diffusion steps T more stable, better and slower?",
    expectation=(
        "The more steps T, the less noise a step adds, the closer each reverse step is to the Gaussian that the model "
        "assumes: training is more stable, samples are better, and sampling is slower."
    ),
    how_to_read=(
        "One discrete-time DDPM is trained for each T and seed, all with the same budget, network and data order, and "
        "drawn from by its own ancestral sampler over all its T steps. All forward processes follow one noise law, "
        "sampled at T points, so they start at the data and end at the same noise; only the step size differs."
    ),
    preset="ddpm",
    arms=zipped(source__model__schedule__timesteps=TIMESTEPS, sampling__nfe=TIMESTEPS),
    smoke_arms=zipped(source__model__schedule__timesteps=SMOKE_TIMESTEPS, sampling__nfe=SMOKE_TIMESTEPS),
    primary="frechet[cnn]",
    claims=(
        Claim(
            name="better",
            text="More diffusion steps give better samples.",
            statistic=Slope("frechet[cnn]", FIELD),
            relation="at_most",
            bound=0.0,
            why="a slope below zero in log-log axes: the distance falls as T grows",
        ),
        Claim(
            name="more_stable_training",
            text="More diffusion steps make training more stable: gradients vary less.",
            statistic=Slope("gradient_variation", FIELD),
            relation="at_most",
            bound=0.0,
            why="gradient variation is the deviation of the gradient norm over its mean, in the second half of a fit",
        ),
        Claim(
            name="more_stable_result",
            text="More diffusion steps make the result more stable: quality differs less between seeds.",
            statistic=Slope("frechet[cnn]", FIELD, spread=True),
            relation="at_most",
            bound=0.0,
            why="the standard deviation over training seeds falls as T grows",
        ),
        Claim(
            name="slower",
            text="More diffusion steps make sampling slower, in proportion.",
            statistic=Slope("sample_seconds", FIELD),
            relation="at_least",
            bound=0.5,
            why="a slope of 1 is exact proportion; half of it must remain beside fixed costs",
        ),
    ),
    caveats=(
        "T enters twice, in the training noise levels and in the sampling steps; step_sweep varies the latter.",
        "All fits have the same budget: a large T may profit from longer training.",
    ),
)
