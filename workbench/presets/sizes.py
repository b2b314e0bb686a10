"""Backbones of equal cost: for two data sets, matched to U-Nets in parameters or, at three sizes, in FLOPs.

Searched over widths and numbers of blocks by `nn.cost`; every entry is within 10 % of the U-Net of its column, of the
smallest within 15 %, as a test counts again. In so short trainings wide and shallow networks are ahead of narrow and
deep ones: at half the FLOPs DiT and U-ViT have 64 channels, although 32 in more blocks would come nearer to the
U-Net's cost (distances after 20,000 digits: DiT 9.3 and 11.0, U-ViT 15.9 and 22.2). This module imports no heavy
package, so that presets may read it.
"""

from __future__ import annotations

from dataclasses import replace

from workbench.registry import look_up
from workbench.spec import BackboneSpec

PATCH = 2

# (width, blocks) of each backbone.
Sizes = dict[str, tuple[int, int]]

# Of 0.45, 1.0 and 1.8 million parameters.
_HALF, _WHOLE, _DOUBLE = (32, 1), (48, 1), (64, 1)

# Levels of one width, as U-Nets with transformers have them here: with a second level twice as wide, as that of the
# plain U-Net, they had to be narrower above. Then the distance after 6,000 images of Fashion-MNIST is 87 in place of
# 34, and so is that of a plain U-Net as narrow, 86 in place of 40.
EVEN = (1, 1)

# Data set -> kind of matching -> backbone.
SIZES_OF_BACKBONES: dict[str, dict[str, Sizes]] = {
    "digits": {
        "parameters": {
            "unet": _WHOLE,
            "unet_transformer": (64, 1),
            "dit": (96, 6),
            "uvit": (96, 8),
            "convnext": (96, 7),
            "mixer": (96, 7),
        },
        "flops_half": {  # 4.5 million for an evaluation of a row
            "unet": _HALF,
            "unet_transformer": (32, 2),
            "dit": (64, 3),
            "uvit": (64, 2),
            "convnext": (64, 4),
            "mixer": (64, 4),
        },
        "flops": {  # 10 million
            "unet": _WHOLE,
            "unet_transformer": (64, 1),
            "dit": (64, 6),
            "uvit": (64, 5),
            "convnext": (96, 4),
            "mixer": (64, 8),
        },
        "flops_double": {  # 18 million
            "unet": _DOUBLE,
            "unet_transformer": (64, 2),
            "dit": (96, 5),
            "uvit": (64, 9),
            "convnext": (96, 7),
            "mixer": (96, 6),
        },
    },
    "fashion_mnist": {
        "parameters": {
            "unet": _WHOLE,
            "unet_transformer": (64, 1),
            "dit": (96, 6),
            "uvit": (96, 8),
            "convnext": (96, 7),
            "mixer": (96, 6),
        },
        "flops_half": {  # 55 million for an evaluation of a row
            "unet": _HALF,
            "unet_transformer": (32, 2),
            "dit": (64, 2),
            "uvit": (64, 2),
            "convnext": (64, 4),
            "mixer": (64, 4),
        },
        "flops": {  # 122 million
            "unet": _WHOLE,
            "unet_transformer": (64, 1),
            "dit": (64, 4),
            "uvit": (64, 4),
            "convnext": (96, 4),
            "mixer": (64, 8),
        },
        "flops_double": {  # 215 million
            "unet": _DOUBLE,
            "unet_transformer": (64, 2),
            "dit": (64, 7),
            "uvit": (64, 7),
            "convnext": (96, 7),
            "mixer": (96, 7),
        },
    },
}


def backbone_spec(name: str, data_name: str, matching: str) -> BackboneSpec:
    """The backbone `name`, matched to a U-Net in "parameters", in "flops", or in those of a U-Net of half or double the
    cost, "flops_half" and "flops_double".

    Raises UserError for a data set, kind of matching or backbone that is not in the table.
    """
    kinds = look_up(SIZES_OF_BACKBONES, data_name, "data.name")
    width, blocks = look_up(look_up(kinds, matching, "matching"), name, "backbone.name")
    spec = BackboneSpec(name=name, width=width, blocks=blocks, patch=PATCH)
    return replace(spec, multipliers=EVEN) if name == "unet_transformer" else spec
