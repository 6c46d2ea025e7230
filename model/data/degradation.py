"""The degradation that makes LQ pictures of HQ crops: Real-ESRGAN's two stages (Wang et al. 2021), without chance.

A small recipe is drawn first, from the crop's id, the epoch and a seed alone; `degrade` then only follows it. Between
its steps a picture is eight-bit, as in a file, and each step counts in float64: what the last bits of a CPU's
arithmetic are does not show. So an LQ picture is the same on every machine, by whatever worker, in whatever order.
"""

from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from model.data.item_rng import item_rng
from model.data.kernels import WEIGHT_STEPS, GaussianKernel, Kernel, Shape, SincKernel, kernel_weights
from storage.errors import InputError
from storage.frozen import Frozen

Probability = Annotated[float, Field(ge=0, le=1)]
Range = tuple[PositiveFloat, PositiveFloat]
ResizeMode = Literal["area", "bilinear", "bicubic"]

RESIZE_MODES: tuple[ResizeMode, ...] = ("area", "bilinear", "bicubic")
KERNEL_SIZES_PX = tuple(range(7, 22, 2))
KERNELS: tuple[tuple[Shape, bool, float], ...] = (
    ("gaussian", True, 0.45),
    ("gaussian", False, 0.25),
    ("generalised", True, 0.12),
    ("generalised", False, 0.03),
    ("plateau", True, 0.12),
    ("plateau", False, 0.03),
)
"""Shape, whether it is isotropic, and how often it is drawn; the last column adds up to 1."""


class StageConfig(Frozen):
    """One of the two stages: blur, resize, noise, JPEG. The defaults are those of the first."""

    blur: Probability = 1.0
    """How often there is a blur at all."""
    sinc: Probability = 0.1
    """How often the blur is a sinc filter, not one of the Gaussians."""
    sigma_px: Range = (0.2, 3.0)
    """Of the Gaussian kernels, along each axis."""
    beta_generalised: Range = (0.5, 4.0)
    """Exponent of the generalised Gaussians: as often below 1 as above."""
    beta_plateau: Range = (1.0, 2.0)
    """Exponent of the plateau-shaped kernels: as often below 1, where the range allows it, as above."""
    enlarge: Probability = 0.2
    """How often the resize enlarges."""
    shrink: Probability = 0.7
    """How often the resize shrinks; otherwise the size stays."""
    scale: Range = (0.15, 1.5)
    """The smallest and the largest factor."""
    gaussian_noise: Probability = 0.5
    """How often the noise is Gaussian; otherwise it is Poisson noise."""
    grey_noise: Probability = 0.4
    """How often all three channels get the same noise."""
    gaussian_sigma: Range = (1.0, 30.0)
    """Standard deviation of Gaussian noise, in levels of 255."""
    poisson_scale: Range = (0.05, 3.0)
    """Factor on Poisson noise."""
    jpeg_quality: tuple[Annotated[int, Field(ge=1, le=100)], Annotated[int, Field(ge=1, le=100)]] = (30, 95)
    """Lowest and highest quality, both included."""

    @model_validator(mode="after")
    def _ranges_ascend(self) -> "StageConfig":
        for name, value in self:
            if isinstance(value, tuple) and value[0] > value[1]:
                raise ValueError(f"{name} is {list(value)}: put the smaller value first")
        if self.enlarge + self.shrink > 1:
            raise ValueError(f"enlarge and shrink add up to {self.enlarge + self.shrink}: make them 1 or less")
        if not self.scale[0] <= 1 <= self.scale[1]:
            raise ValueError(f"scale is {list(self.scale)}: it must reach from at most 1 to at least 1")
        return self


SECOND_STAGE = StageConfig(
    blur=0.8,
    sigma_px=(0.2, 1.5),
    enlarge=0.3,
    shrink=0.4,
    scale=(0.3, 1.2),
    gaussian_sigma=(1.0, 25.0),
    poisson_scale=(0.05, 2.5),
)


class DegradationConfig(Frozen):
    """How bad LQ pictures become; the defaults are Real-ESRGAN's x4plus, which the paper names."""

    first: StageConfig = StageConfig()
    """The first blur, resize, noise and JPEG."""
    second: StageConfig = SECOND_STAGE
    """The second; its scale is relative to the small size, the HQ size divided by `downscale`."""
    downscale: PositiveInt = 4
    """The picture passes through its size divided by this before it is enlarged again; assumption: the paper gives no
    factor, 4 is the model's that it names."""
    final_sinc: Probability = 0.8
    """How often a sinc filter follows at the small size."""
    sinc_before_jpeg: Probability = 0.5
    """How often the last JPEG comes after that filter, not before it."""


def training() -> DegradationConfig:
    """Severity of the training pictures: the paper's."""
    return DegradationConfig()


def persona_val() -> DegradationConfig:
    """Severity of PERSONA-Val: as the paper says, that of training."""
    return training()


class Resize(Frozen):
    """A change of size."""

    scale: PositiveFloat
    """Factor on both sides."""
    mode: ResizeMode
    """`area` is the mean over the area that a pixel of the result covers."""


class Noise(Frozen):
    """Noise on top of a picture."""

    kind: Literal["gaussian", "poisson"]
    level: NonNegativeFloat
    """Standard deviation in levels of 255, or the factor on Poisson noise."""
    grey: bool
    """All three channels get the same."""
    seed: NonNegativeInt
    """Decides every pixel's noise."""


class Stage(Frozen):
    """What one stage does to one picture, in this order."""

    blur: Kernel | None = Field(discriminator="kind")
    resize: Resize
    noise: Noise
    jpeg_quality: PositiveInt


class Recipe(Frozen):
    """All that happens to one picture; small, readable, and kept beside the LQ picture that it made."""

    first: Stage
    second: Stage
    downscale: PositiveInt
    small_mode: ResizeMode
    """How the picture gets to its small size."""
    final_sinc: SincKernel | None
    sinc_before_jpeg: bool
    """The filter comes before the second stage's JPEG, not after it."""
    back_mode: ResizeMode
    """How the picture gets back to its HQ size."""


def draw_recipe(crop_id: str, epoch: int, seed: int, config: DegradationConfig) -> Recipe:
    """The recipe of one crop in one epoch; PERSONA-Val is epoch 0."""
    rng = item_rng("degradation", seed, epoch, crop_id)
    return Recipe(
        first=_draw_stage(rng, config.first),
        second=_draw_stage(rng, config.second),
        downscale=config.downscale,
        small_mode=_draw_mode(rng),
        final_sinc=_draw_sinc(rng, lowest_rad=np.pi / 3) if rng.random() < config.final_sinc else None,
        sinc_before_jpeg=bool(rng.random() < config.sinc_before_jpeg),
        back_mode=_draw_mode(rng),
    )


def _draw_stage(rng: np.random.Generator, config: StageConfig) -> Stage:
    blur = _draw_blur(rng, config) if rng.random() < config.blur else None
    return Stage(
        blur=blur,
        resize=Resize(scale=_draw_scale(rng, config), mode=_draw_mode(rng)),
        noise=_draw_noise(rng, config),
        jpeg_quality=int(rng.integers(config.jpeg_quality[0], config.jpeg_quality[1] + 1)),
    )


def _draw_blur(rng: np.random.Generator, config: StageConfig) -> Kernel:
    if rng.random() < config.sinc:
        return _draw_sinc(rng)
    shape, isotropic, _ = KERNELS[rng.choice(len(KERNELS), p=[share for *_, share in KERNELS])]
    sigma_x = rng.uniform(*config.sigma_px)
    return GaussianKernel(
        shape=shape,
        size_px=int(rng.choice(KERNEL_SIZES_PX)),
        sigma_px=(sigma_x, sigma_x if isotropic else rng.uniform(*config.sigma_px)),
        rotation_rad=0.0 if isotropic else rng.uniform(-np.pi, np.pi),
        beta=_draw_beta(rng, shape, config),
    )


def _draw_beta(rng: np.random.Generator, shape: Shape, config: StageConfig) -> float:
    if shape == "gaussian":
        return 1.0
    lowest, highest = config.beta_generalised if shape == "generalised" else config.beta_plateau
    middle = min(max(lowest, 1.0), highest)
    return rng.uniform(lowest, middle) if rng.random() < 0.5 else rng.uniform(middle, highest)


def _draw_sinc(rng: np.random.Generator, lowest_rad: float | None = None) -> SincKernel:
    size_px = int(rng.choice(KERNEL_SIZES_PX))
    if lowest_rad is None:
        # A low cut-off needs a wide kernel to show its ringing.
        lowest_rad = np.pi / 3 if size_px < 13 else np.pi / 5
    return SincKernel(size_px=size_px, cutoff_rad=rng.uniform(lowest_rad, np.pi))


def _draw_scale(rng: np.random.Generator, config: StageConfig) -> float:
    draw = rng.random()
    if draw < config.enlarge:
        return rng.uniform(1.0, config.scale[1])
    return rng.uniform(config.scale[0], 1.0) if draw < config.enlarge + config.shrink else 1.0


def _draw_noise(rng: np.random.Generator, config: StageConfig) -> Noise:
    gaussian = bool(rng.random() < config.gaussian_noise)
    return Noise(
        kind="gaussian" if gaussian else "poisson",
        level=rng.uniform(*(config.gaussian_sigma if gaussian else config.poisson_scale)),
        grey=bool(rng.random() < config.grey_noise),
        seed=int(rng.integers(1 << 32)),
    )


def _draw_mode(rng: np.random.Generator) -> ResizeMode:
    return RESIZE_MODES[rng.integers(len(RESIZE_MODES))]


def degrade(hq_bgr: np.ndarray, recipe: Recipe) -> np.ndarray:
    """The LQ picture of an HQ picture.

    Args:
        hq_bgr: (H, W, 3) uint8, any size.
        recipe: what is done to it.

    Returns:
        A new array of the same shape and type.

    Raises:
        ValueError: `hq_bgr` is no such array.
    """
    if hq_bgr.dtype != np.uint8 or hq_bgr.ndim != 3 or hq_bgr.shape[2] != 3 or not hq_bgr.size:
        raise InputError(f"a picture to degrade is {hq_bgr.dtype} {hq_bgr.shape}: give a (H, W, 3) uint8 array")
    height, width = hq_bgr.shape[:2]
    small = max(1, width // recipe.downscale), max(1, height // recipe.downscale)
    first, second = recipe.first, recipe.second
    picture = _resized(_blurred(hq_bgr, first.blur), _scaled((width, height), first.resize.scale), first.resize.mode)
    picture = _jpeg(_noisy(picture, first.noise), first.jpeg_quality)
    # Unlike the first, the second size does not build on what the first resize left.
    size = _scaled((width / recipe.downscale, height / recipe.downscale), second.resize.scale)
    picture = _noisy(_resized(_blurred(picture, second.blur), size, second.resize.mode), second.noise)
    if recipe.sinc_before_jpeg:
        picture = _blurred(_resized(picture, small, recipe.small_mode), recipe.final_sinc)
        picture = _jpeg(picture, second.jpeg_quality)
    else:
        picture = _resized(_jpeg(picture, second.jpeg_quality), small, recipe.small_mode)
        picture = _blurred(picture, recipe.final_sinc)
    return _resized(picture, (width, height), recipe.back_mode)


def _eight_bit(picture: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _blurred(picture: np.ndarray, kernel: Kernel | None) -> np.ndarray:
    if kernel is None:
        return picture
    weights = kernel_weights(kernel)
    blurred = cv2.filter2D(picture.astype(np.float64), cv2.CV_64F, weights, borderType=cv2.BORDER_REFLECT_101)
    # OpenCV multiplies large kernels by Fourier transform; the exact sum is a whole number of the weights' steps.
    return _eight_bit(np.rint(blurred * WEIGHT_STEPS) / WEIGHT_STEPS)


def _scaled(size: tuple[float, float], scale: float) -> tuple[int, int]:
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))


def _resized(picture: np.ndarray, size: tuple[int, int], mode: ResizeMode) -> np.ndarray:
    """`picture` at (width, height) in pixels; bilinear and bicubic do not smooth before they shrink."""
    if size == picture.shape[1::-1]:
        return picture
    # `INTER_AREA` interpolates where it enlarges, though the area of a pixel of the result then lies within one pixel;
    # `INTER_LINEAR` rounds in a way that depends on the CPU.
    if mode == "area" and size[0] * size[1] > picture.shape[0] * picture.shape[1]:
        return cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST_EXACT)
    if mode == "bilinear":
        return cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR_EXACT)
    interpolation = cv2.INTER_AREA if mode == "area" else cv2.INTER_CUBIC
    return _eight_bit(cv2.resize(picture.astype(np.float64), size, interpolation=interpolation))


def _noisy(picture: np.ndarray, noise: Noise) -> np.ndarray:
    rng = np.random.Generator(np.random.PCG64(noise.seed))
    if noise.kind == "gaussian":
        shape = (*picture.shape[:2], 1) if noise.grey else picture.shape
        return _eight_bit(picture + noise.level * rng.standard_normal(shape))
    clean = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)[..., None] if noise.grey else picture
    return _eight_bit(picture + noise.level * _poisson_noise(clean, rng))


def _poisson_noise(clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shot noise in levels of 255: full white are as many photons as `clean` has grey levels, in a power of two."""
    num_levels = np.count_nonzero(np.bincount(clean.ravel(), minlength=256))
    photons = 2 ** np.ceil(np.log2(num_levels))
    return rng.poisson(clean * (photons / 255)) * (255 / photons) - clean


def _jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    _, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded
