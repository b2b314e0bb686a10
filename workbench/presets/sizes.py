"""Backbones of equal cost: for two data sets, three sizes each, matched to the U-Net in parameters or in FLOPs.

Searched over widths and numbers of blocks by `nn.cost`; every entry is within 10 % of the U-Net of its column, as a
test counts again. This module imports no heavy package, so that presets may read it.
"""

from __future__ import annotations

from workbench.registry import look_up
from workbench.spec import BackboneSpec

PATCH = 2
BACKBONE_SIZES = ("small", "medium", "large")

Sizes = dict[str, tuple[tuple[int, int], ...]]

# (width, blocks) for small, medium and large.
_UNETS = ((48, 1), (96, 1), (128, 2))  # 1.0, 4.0 and 12.4 million parameters

# Data set -> kind of matching -> backbone.
SIZES_OF_BACKBONES: dict[str, dict[str, Sizes]] = {
    "digits": {
        "parameters": {
            "unet": _UNETS,
            "unet_transformer": ((32, 2), (64, 2), (112, 2)),
            "dit": ((96, 6), (192, 6), (352, 5)),
            "uvit": ((96, 8), (224, 6), (384, 6)),
            "convnext": ((96, 7), (192, 7), (352, 7)),
            "mixer": ((96, 7), (256, 4), (352, 7)),
        },
        "flops": {  # 10, 40 and 126 million for an evaluation of a row
            "unet": _UNETS,
            "unet_transformer": ((32, 2), (64, 2), (96, 3)),
            "dit": ((64, 6), (128, 6), (224, 6)),
            "uvit": ((64, 5), (96, 9), (256, 4)),
            "convnext": ((96, 4), (192, 4), (256, 7)),
            "mixer": ((64, 8), (160, 5), (288, 5)),
        },
    },
    "fashion_mnist": {
        "parameters": {
            "unet": _UNETS,
            "unet_transformer": ((32, 2), (64, 2), (112, 2)),
            "dit": ((96, 6), (192, 6), (352, 5)),
            "uvit": ((96, 8), (224, 6), (384, 6)),
            "convnext": ((96, 7), (192, 7), (352, 7)),
            "mixer": ((96, 6), (192, 7), (320, 8)),
        },
        "flops": {  # 122, 480 and 1,510 million for an evaluation of a row
            "unet": _UNETS,
            "unet_transformer": ((32, 2), (64, 2), (96, 3)),
            "dit": ((64, 4), (128, 5), (160, 10)),
            "uvit": ((64, 4), (96, 8), (256, 4)),
            "convnext": ((96, 4), (160, 6), (288, 6)),
            "mixer": ((64, 8), (128, 8), (288, 5)),
        },
    },
}


def backbone_spec(name: str, data_name: str, size: str, matching: str) -> BackboneSpec:
    """The backbone `name` at a size, matched in "parameters" or in "flops" to the U-Net of that size.

    Raises UserError for a data set, kind of matching, backbone or size that is not in the table.
    """
    kinds = look_up(SIZES_OF_BACKBONES, data_name, "data.name")
    sizes = look_up(look_up(kinds, matching, "matching"), name, "backbone.name")
    width, blocks = look_up(dict(zip(BACKBONE_SIZES, sizes, strict=True)), size, "size")
    return BackboneSpec(name=name, width=width, blocks=blocks, patch=PATCH)
