"""Blur kernels of Real-ESRGAN (Wang et al. 2021, section 3): Gaussians of three shapes, and the sinc filter."""

from typing import Literal

import numpy as np
from pydantic import Field, FiniteFloat, PositiveFloat, PositiveInt
from scipy.special import j1

from storage.frozen import Frozen

Shape = Literal["gaussian", "generalised", "plateau"]

WEIGHT_STEPS = 1 << 16
"""Every weight is a whole multiple of one part in so many."""


class GaussianKernel(Frozen):
    """A kernel that falls off with the distance from its centre."""

    kind: Literal["gaussian"] = "gaussian"
    shape: Shape
    """Of the fall-off, with q the squared distance in units of sigma: exp(-q/2), exp(-q^beta/2) or 1/(1+q^beta)."""
    size_px: PositiveInt
    """Side of the square kernel; odd."""
    sigma_px: tuple[PositiveFloat, PositiveFloat]
    """Along the kernel's own two axes; equal for an isotropic kernel."""
    rotation_rad: FiniteFloat = 0.0
    """Of those axes against x and y."""
    beta: PositiveFloat = 1.0
    """Exponent of the shapes that have one."""


class SincKernel(Frozen):
    """The ideal low-pass filter, cut to a square: leaves ringing and overshoot at edges."""

    kind: Literal["sinc"] = "sinc"
    size_px: PositiveInt
    """Side of the square kernel; odd."""
    cutoff_rad: PositiveFloat = Field(le=np.pi)
    """Highest frequency that passes, in radians per pixel."""


Kernel = GaussianKernel | SincKernel


def kernel_weights(kernel: Kernel) -> np.ndarray:
    """The (size, size) float64 weights, which sum to 1, in whole steps of 2^-16.

    Eight-bit pixels times such weights add up exactly in float64, so a blurred picture depends neither on the order of
    the sum nor on which instructions a CPU has.
    """
    weights = _sinc(kernel) if isinstance(kernel, SincKernel) else _gaussian(kernel)
    # Rounding the running sum keeps each weight within a step, and the sum.
    running = np.rint(np.cumsum(weights) / weights.sum() * WEIGHT_STEPS)
    return np.diff(running, prepend=0).reshape(weights.shape) / WEIGHT_STEPS


def _offsets_px(size_px: int) -> tuple[np.ndarray, np.ndarray]:
    along = np.arange(size_px) - size_px // 2
    return np.meshgrid(along, along)


def _gaussian(kernel: GaussianKernel) -> np.ndarray:
    x, y = _offsets_px(kernel.size_px)
    cos, sin = np.cos(kernel.rotation_rad), np.sin(kernel.rotation_rad)
    u, v = (cos * x + sin * y) / kernel.sigma_px[0], (cos * y - sin * x) / kernel.sigma_px[1]
    q = u**2 + v**2
    if kernel.shape == "plateau":
        return 1 / (1 + q**kernel.beta)
    return np.exp(-0.5 * (q**kernel.beta if kernel.shape == "generalised" else q))


def _sinc(kernel: SincKernel) -> np.ndarray:
    """Its weights: cutoff · J1(cutoff · r) / (2π r), and its limit cutoff² / 4π in the centre."""
    x, y = _offsets_px(kernel.size_px)
    r = np.hypot(x, y)
    limit = kernel.cutoff_rad**2 / (4 * np.pi)
    return np.where(r == 0, limit, kernel.cutoff_rad * j1(kernel.cutoff_rad * r) / (2 * np.pi * np.maximum(r, 1)))
