"""TEMPORARY"""

import torch


def _noise(images, severity, seed):
    g = torch.Generator().manual_seed(seed)
    return (images + 0.2 * severity * torch.randn(images.shape, generator=g)).clamp(-1, 1)


CORRUPTIONS = {"noise": _noise}
