"""The U-Net with transformer blocks at its attention levels, as in latent diffusion (Rombach et al., 2022)."""

from __future__ import annotations

from torch import Tensor, nn

from workbench.nn.transformer import CrossAttention, Mlp, Residual, TokenAttention
from workbench.nn.unet import UNet
from workbench.spec import BackboneSpec


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention to the tokens of the condition, MLP: ([B, C, *S], [B, T, D]) -> [B, C, *S]."""

    def __init__(self, channels: int, token_width: int) -> None:
        super().__init__()
        self.among = Residual(channels, TokenAttention(channels))
        self.across = Residual(channels, CrossAttention(channels, token_width))
        self.each = Residual(channels, Mlp(channels, 4 * channels))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        h = self.among(x.flatten(2).mT)
        h = self.each(self.across(h, tokens.to(h.dtype)))
        out: Tensor = h.mT.reshape(x.shape)
        return out


def unet_transformer(spec: BackboneSpec, *, event_shape: tuple[int, ...], outputs: int, classes: int) -> UNet:
    """The U-Net whose blocks with attention end in a transformer block; noise level and label are its tokens."""
    return UNet(spec, event_shape=event_shape, outputs=outputs, classes=classes, attending=TransformerBlock)
