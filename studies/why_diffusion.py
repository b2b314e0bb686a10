"""Why do diffusion models win? The families of generative models, trained for equal time at equal size."""

from workbench.spec import Arm, Claim, Ratio, Study, arm, grid

FAMILIES = (
    "diffusion",
    "flow_matching",
    "ddpm_1000",
    "gan",
    "vae",
    "ladder_vae",
    "coupling_flow",
    "autoregressive_flow",
    "latent_diffusion",
)
BUDGETS = (1 / 16, 1 / 4, 1.0)
CLEARLY = 0.9
WHY = "10 % of a Frechet distance is below what another training seed commonly moves it"


def whole(family: str) -> Arm:
    """The arm of a family with the whole budget."""
    return arm(family=family, budget=1.0)


def beats(name: str, other: str, words: str) -> Claim:
    """Diffusion, drawn by DPM-Solver++ 2M in 20 evaluations, is clearly better than another family."""
    return Claim(
        name=name,
        text=f"Diffusion gives clearly better images than {words}, at equal training time.",
        statistic=Ratio("frechet[cnn]", whole("diffusion"), whole(other)),
        relation="at_most",
        bound=CLEARLY,
        why=WHY,
    )


STUDY = Study(
    name="why_diffusion",
    question="Why do diffusion models win against VAEs, GANs and normalizing flows?",
    expectation=(
        "Diffusion gives better images than a VAE, a hierarchical VAE, a normalizing flow and a GAN of the same size "
        "after the same time of training, and pays for it when images are drawn; the ranking by likelihood is another."
    ),
    how_to_read=(
        "Each family is trained by the same loop, on the same images in the same order, with about as many parameters "
        "(both networks of the GAN and the autoencoder of latent diffusion counted) and for about the same seconds on "
        "one core; parameters and seconds are columns of the table. Each curve is a family, along it the training "
        "budget grows. The budget is set from the speed at which a family trains, so that families of costly steps see "
        "fewer images; latent diffusion spends half of its seconds on its autoencoder. Likelihoods are of different "
        "kinds: exact for the flows up to dequantisation, lower bounds for VAEs and diffusion, and none for the GAN "
        "and for latent diffusion; the column likelihood_kind tells."
    ),
    preset="family",
    arms=grid(family=FAMILIES, budget=BUDGETS),
    smoke_arms=grid(family=FAMILIES, budget=(1.0,)),
    primary="frechet[cnn]",
    claims=(
        beats("beats_vae", "vae", "a VAE"),
        beats("beats_ladder_vae", "ladder_vae", "a hierarchical VAE"),
        beats("beats_coupling_flow", "coupling_flow", "a coupling flow"),
        beats("beats_autoregressive_flow", "autoregressive_flow", "an autoregressive flow"),
        beats("beats_gan", "gan", "a GAN"),
        Claim(
            name="pays_in_time",
            text="Diffusion in 20 evaluations takes at least 5 times as long as the GAN to draw one image.",
            statistic=Ratio("single_seconds", whole("diffusion"), whole("gan")),
            relation="at_least",
            bound=5.0,
            why="a quarter of the 20-fold number of passes must show, as the networks differ",
        ),
        Claim(
            name="gan_best_in_one_pass",
            text="Of the families that draw in one pass, the GAN gives clearly better images than the VAE.",
            statistic=Ratio("frechet[cnn]", whole("gan"), whole("vae")),
            relation="at_most",
            bound=CLEARLY,
            why=WHY,
        ),
        Claim(
            name="likelihood_ranks_otherwise",
            text="Likelihood ranks otherwise: diffusion bounds more bits per dimension than a hierarchical VAE.",
            statistic=Ratio("bits_per_dim", whole("diffusion"), whole("ladder_vae")),
            relation="at_least",
            bound=1.0,
            why="above 1 the hierarchical VAE is the better model of the pixels, whatever its images look like",
        ),
    ),
    caveats=(
        "Small networks and minutes of training: families that need long training or width are shown early.",
        "Equal seconds on one core of one machine; another machine has other speeds and would set other budgets.",
        "The discrete likelihoods of flows are those of dequantised images, a lower bound; bounds need not be tight.",
    ),
)
