"""Colour correction: give a restored picture the colours of the picture that it was restored from.

All pictures are (B, 3, H, W) float32 of one size; the value range does not matter.
"""

from typing import Literal

import torch
from torch.nn import functional

ColourCorrection = Literal["none", "wavelet", "adain"]

WAVELET_RADII_PX = (1, 2, 4, 8, 16)


def corrected(restored: torch.Tensor, lq: torch.Tensor, method: ColourCorrection) -> torch.Tensor:
    """`restored` with the colours of `lq`; of the same shape, and not clamped."""
    if method == "wavelet":
        return restored - low_frequencies(restored) + low_frequencies(lq)
    if method == "adain":
        return _standardised(restored) * _scatter(lq) + _mean(lq)
    return restored


def low_frequencies(pictures: torch.Tensor) -> torch.Tensor:
    """What five blurs leave, each with the kernel 1-2-1 spread twice as far as before ("à trous")."""
    taps = torch.tensor([0.25, 0.5, 0.25], device=pictures.device, dtype=pictures.dtype)
    across, down = taps.view(1, 1, 1, 3).repeat(3, 1, 1, 1), taps.view(1, 1, 3, 1).repeat(3, 1, 1, 1)
    for radius in WAVELET_RADII_PX:
        pictures = functional.pad(pictures, (radius,) * 4, mode="replicate")
        pictures = functional.conv2d(pictures, across, dilation=radius, groups=3)
        pictures = functional.conv2d(pictures, down, dilation=radius, groups=3)
    return pictures


def _mean(pictures: torch.Tensor) -> torch.Tensor:
    return pictures.mean(dim=(2, 3), keepdim=True)


def _scatter(pictures: torch.Tensor) -> torch.Tensor:
    """Standard deviation of each channel, never 0: AdaIN (Huang and Belongie 2017) with its usual epsilon."""
    return (pictures.var(dim=(2, 3), keepdim=True) + 1e-5).sqrt()


def _standardised(pictures: torch.Tensor) -> torch.Tensor:
    return (pictures - _mean(pictures)) / _scatter(pictures)
