"""The degradation: what is drawn how often, kernels against other formulas, and the same bytes everywhere."""

import hashlib
import os
import subprocess
import sys
from collections import Counter

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import integrate, stats

from model.data.degradation import (
    KERNEL_SIZES_PX,
    KERNELS,
    RESIZE_MODES,
    DegradationConfig,
    Noise,
    Recipe,
    StageConfig,
    _noisy,
    _resized,
    degrade,
    draw_recipe,
    training,
)
from model.data.kernels import GaussianKernel, SincKernel, kernel_weights

NUM_RECIPES = 4000


@pytest.fixture(scope="module")
def recipes():
    return [draw_recipe(f"crop-{i}", 0, 0, training()) for i in range(NUM_RECIPES)]


def photo(shared_data, side_px: int = 256) -> np.ndarray:
    whole = cv2.imread(str(shared_data / "coco_mini/val2017/000000000139.jpg"))
    return np.ascontiguousarray(whole[:side_px, :side_px])


def agrees(share: float, num: int, of: int) -> bool:
    """Whether `num` of `of` is likely where each happens with probability `share`; wrong once in a million draws."""
    return stats.binomtest(num, of, share).pvalue > 1e-6


def spans(values, lowest: float, highest: float) -> bool:
    """Whether the values look uniform over the range, and none is outside."""
    inside = lowest <= min(values) and max(values) <= highest
    return inside and stats.kstest(values, stats.uniform(lowest, highest - lowest).cdf).pvalue > 1e-6


STAGES = [
    ("first", 1.0, (0.2, 3.0), 0.2, 0.7, (0.15, 1.5), (1, 30), (0.05, 3)),
    ("second", 0.8, (0.2, 1.5), 0.3, 0.4, (0.3, 1.2), (1, 25), (0.05, 2.5)),
]


@pytest.mark.parametrize(("name", "blur", "sigma", "enlarge", "shrink", "scale", "gaussian", "poisson"), STAGES)
def test_a_stage_is_drawn_as_published(recipes, name, blur, sigma, enlarge, shrink, scale, gaussian, poisson):
    """The figures of Real-ESRGAN's x4plus, written down once more."""
    drawn = [getattr(recipe, name) for recipe in recipes]
    blurs = [stage.blur for stage in drawn if stage.blur]
    assert agrees(blur, len(blurs), len(drawn))
    sincs = [kernel for kernel in blurs if kernel.kind == "sinc"]
    assert agrees(0.1, len(sincs), len(blurs))
    for small, lowest in ((True, np.pi / 3), (False, np.pi / 5)):
        assert spans([k.cutoff_rad for k in sincs if (k.size_px < 13) == small], lowest, np.pi)
    kernels = [kernel for kernel in blurs if kernel.kind == "gaussian"]
    assert spans([kernel.sigma_px[0] for kernel in kernels], *sigma)
    kinds = Counter((kernel.shape, kernel.sigma_px[0] == kernel.sigma_px[1]) for kernel in kernels)
    shares = {(shape, isotropic): share for shape, isotropic, share in KERNELS}
    assert shares == {
        **{("gaussian", True): 0.45, ("gaussian", False): 0.25, ("generalised", True): 0.12},
        **{("generalised", False): 0.03, ("plateau", True): 0.12, ("plateau", False): 0.03},
    }
    assert all(agrees(share, kinds[kind], len(kernels)) for kind, share in shares.items())
    turned = [kernel for kernel in kernels if kernel.sigma_px[0] != kernel.sigma_px[1]]
    assert spans([kernel.sigma_px[1] for kernel in turned], *sigma)
    assert spans([kernel.rotation_rad for kernel in turned], -np.pi, np.pi)
    betas = [kernel.beta for kernel in kernels if kernel.shape == "generalised"]
    assert agrees(0.5, sum(beta < 1 for beta in betas), len(betas))
    assert spans([b for b in betas if b < 1], 0.5, 1) and spans([b for b in betas if b > 1], 1, 4)
    betas = [kernel.beta for kernel in kernels if kernel.shape == "plateau"]
    assert agrees(0.5, betas.count(1.0), len(betas)) and spans([b for b in betas if b != 1], 1, 2)
    scales = [stage.resize.scale for stage in drawn]
    larger, smaller = [s for s in scales if s > 1], [s for s in scales if s < 1]
    assert agrees(enlarge, len(larger), len(drawn)) and agrees(shrink, len(smaller), len(drawn))
    assert spans(larger, 1, scale[1]) and spans(smaller, scale[0], 1)
    levels = {kind: [s.noise.level for s in drawn if s.noise.kind == kind] for kind in ("gaussian", "poisson")}
    assert agrees(0.5, len(levels["gaussian"]), len(drawn))
    assert spans(levels["gaussian"], *gaussian) and spans(levels["poisson"], *poisson)
    assert agrees(0.4, sum(stage.noise.grey for stage in drawn), len(drawn))
    for kind in ("gaussian", "poisson"):  # grey or not has nothing to do with the kind
        of_kind = [stage.noise.grey for stage in drawn if stage.noise.kind == kind]
        assert agrees(0.4, sum(of_kind), len(of_kind))
    qualities = Counter(stage.jpeg_quality for stage in drawn)
    assert sorted(qualities) == list(range(30, 96)) and stats.chisquare(list(qualities.values())).pvalue > 1e-6


def test_the_end_is_drawn_as_published(recipes):
    sincs = [recipe.final_sinc for recipe in recipes if recipe.final_sinc]
    assert agrees(0.8, len(sincs), len(recipes))
    assert spans([kernel.cutoff_rad for kernel in sincs], np.pi / 3, np.pi)
    assert agrees(0.5, sum(recipe.sinc_before_jpeg for recipe in recipes), len(recipes))
    assert {recipe.downscale for recipe in recipes} == {4}
    for modes in (
        [recipe.first.resize.mode for recipe in recipes],
        [recipe.second.resize.mode for recipe in recipes],
        [recipe.small_mode for recipe in recipes],
        [recipe.back_mode for recipe in recipes],
    ):
        assert all(agrees(1 / 3, modes.count(mode), len(modes)) for mode in RESIZE_MODES)
    sizes = Counter(kernel.size_px for kernel in sincs)
    assert KERNEL_SIZES_PX == (7, 9, 11, 13, 15, 17, 19, 21)
    assert sorted(sizes) == list(KERNEL_SIZES_PX) and stats.chisquare(list(sizes.values())).pvalue > 1e-6


def test_crops_epochs_and_seeds_have_recipes_of_their_own():
    drawn = {draw_recipe(*key, training()) for key in (("a", 0, 0), ("b", 0, 0), ("a", 1, 0), ("a", 0, 1))}
    assert len(drawn) == 4
    assert draw_recipe("a", 0, 0, training()) in drawn


def test_a_gaussian_is_the_density_of_its_covariance():
    """Independent of the code's rotated axes: the covariance matrix, inverted."""
    kernel = GaussianKernel(shape="gaussian", size_px=21, sigma_px=(2.5, 0.8), rotation_rad=0.6)
    turn = np.array([[np.cos(0.6), -np.sin(0.6)], [np.sin(0.6), np.cos(0.6)]])
    covariance = turn @ np.diag([2.5**2, 0.8**2]) @ turn.T
    grid = np.stack(np.meshgrid(np.arange(-10, 11), np.arange(-10, 11)), axis=-1)
    density = stats.multivariate_normal([0, 0], covariance).pdf(grid)
    assert np.allclose(kernel_weights(kernel), density / density.sum(), atol=2**-16)


def test_beta_makes_tails_and_plateaus():
    def profile(shape, beta):
        weights = kernel_weights(GaussianKernel(shape=shape, size_px=21, sigma_px=(2, 2), beta=beta))
        return weights[10, 10:] / weights[10, 10]

    r = np.arange(11)
    assert np.allclose(profile("generalised", 3.0), np.exp(-((r / 2) ** 6) / 2), atol=2**-10)
    assert np.allclose(profile("plateau", 1.5), 1 / ((r / 2) ** 3 + 1), atol=2**-10)


def test_the_sinc_filter_passes_low_frequencies_only():
    """Its weights are the inverse Fourier transform of a disc: J1 by numerical integration, not by a formula."""
    kernel = SincKernel(size_px=21, cutoff_rad=np.pi / 2)

    def transform(r):  # of the disc, in polar coordinates
        return integrate.dblquad(
            lambda angle, w: w * np.cos(w * r * np.cos(angle)), 0, kernel.cutoff_rad, 0, 2 * np.pi
        )[0]

    weights = kernel_weights(kernel)
    expected = np.array([transform(r) for r in (0, 1, 2, 5)])
    assert np.allclose(weights[10, [10, 11, 12, 15]] / weights[10, 10], expected / expected[0], atol=5e-4)
    response = np.abs(np.fft.fft2(weights, (64, 64)))[0]
    assert response[4] > 0.9 and response[28] < 0.1


@given(draw=st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_weights_are_whole_steps_that_sum_to_one(draw):
    for stage in (draw_recipe("any", 0, draw, training()).first, draw_recipe("any", 0, draw, training()).second):
        if stage.blur:
            steps = kernel_weights(stage.blur) * 2**16
            assert np.array_equal(steps, np.rint(steps)) and steps.sum() == 2**16


def test_noise_has_its_level():
    flat = np.full((256, 256, 3), 128, np.uint8)
    noisy = _noisy(flat, Noise(kind="gaussian", level=10, grey=False, seed=1)).astype(float) - 128
    assert abs(noisy.std() - 10) < 0.1 and abs(noisy.mean()) < 0.1
    assert abs(np.corrcoef(noisy.reshape(-1, 3).T)[0, 1]) < 0.02
    grey = _noisy(flat, Noise(kind="gaussian", level=10, grey=True, seed=1)).astype(float) - 128
    assert np.ptp(grey, axis=-1).max() == 0
    # 256 grey levels: 256 photons are white, so n of them scatter by sqrt(n), in levels of 255 by sqrt(255 x / 256).
    # Rounding to eight bits takes up to 4 % of that: 255 levels for 256 photons.
    ramp = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (4096, 1, 3))
    poisson = _noisy(ramp, Noise(kind="poisson", level=1, grey=False, seed=1)).astype(float) - ramp
    assert np.allclose(poisson[:, 30:180].std(axis=(0, 2)), np.sqrt(np.arange(30, 180) * 255 / 256), rtol=0.06)
    assert np.abs(poisson[:, 30:180].mean(axis=(0, 2))).max() < 0.6


@pytest.mark.parametrize("mode", RESIZE_MODES)
def test_resizing_agrees_with_torch(shared_data, mode):
    """Real-ESRGAN resizes with torch; on whole factors its area filter and OpenCV's are the same."""
    import torch

    picture = photo(shared_data, 240)
    tensor = torch.from_numpy(picture).permute(2, 0, 1)[None].double()
    for size in (60, 480) if mode == "area" else (60, 150, 480):
        options = {} if mode == "area" else {"align_corners": False}
        theirs = torch.nn.functional.interpolate(tensor, size=(size, size), mode=mode, **options)
        theirs = theirs[0].permute(1, 2, 0).clamp(0, 255).numpy()
        assert np.abs(_resized(picture, (size, size), mode) - theirs).max() <= (
            0.75 if mode == "bilinear" else 0.51
        )  # weights of 8 bits


@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    seed=st.integers(0, 2**31),
    downscale=st.sampled_from([1, 2, 4, 8]),
)
@settings(max_examples=150, deadline=None)
def test_any_size_goes_through(height, width, seed, downscale):
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)[:, ::-1]
    picture.flags.writeable = False
    recipe = draw_recipe("any", 1, seed, DegradationConfig(downscale=downscale))
    lq = degrade(picture, recipe)
    assert (lq.shape, lq.dtype) == (picture.shape, np.uint8)
    assert np.array_equal(lq, degrade(picture.copy(), Recipe.model_validate_json(recipe.model_dump_json())))


@pytest.mark.parametrize("wrong", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8)])
def test_what_is_no_picture_is_refused(wrong):
    with pytest.raises(ValueError, match=r"give a \(H, W, 3\) uint8 array"):
        degrade(wrong, draw_recipe("a", 0, 0, training()))


@pytest.mark.parametrize(
    "wrong", [{"sigma_px": (3, 1)}, {"enlarge": 0.6, "shrink": 0.6}, {"scale": (1.2, 1.5)}, {"jpeg": 3}]
)
def test_impossible_stages_are_refused(wrong):
    with pytest.raises(ValidationError):
        StageConfig(**wrong)


def test_lq_is_worse_but_of_the_same_scene(shared_data):
    picture = photo(shared_data)
    lqs = [degrade(picture, draw_recipe(f"{i}", 0, 0, training())) for i in range(20)]
    psnr = [cv2.PSNR(picture, lq) for lq in lqs]
    assert 13 < np.mean(psnr) < 26 and min(psnr) > 8
    assert np.abs(np.mean(lqs, axis=(0, 1, 2)) - picture.mean(axis=(0, 1))).max() < 8  # no colour is shifted


# Run in a process of its own, on whatever CPU the variables pretend to have.
DIGEST = """
import hashlib, sys, cv2
from model.data.degradation import degrade, draw_recipe, training
cv2.setNumThreads(int(sys.argv[2]))
picture = cv2.imread(sys.argv[1])
digest = hashlib.sha256(b"".join(degrade(picture, draw_recipe(str(i), 0, 0, training())).tobytes() for i in range(24)))
print(digest.hexdigest())
"""
OLD_CPU = {"OPENCV_CPU_DISABLE": "AVX2,AVX,FP16,SSE4.2,SSE4.1", "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4"}
OTHER_LIBRARIES = {"OPENCV_IPP": "disabled", "JSIMD_FORCENONE": "1"}


@pytest.mark.parametrize("variables", [OLD_CPU, OTHER_LIBRARIES, OLD_CPU | OTHER_LIBRARIES])
def test_another_cpu_makes_the_same_bytes(shared_data, tmp_path, variables, clean_environment):
    picture = photo(shared_data, 160)
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), picture)
    here = [degrade(picture, draw_recipe(str(i), 0, 0, training())) for i in reversed(range(24))]
    expected = hashlib.sha256(b"".join(lq.tobytes() for lq in reversed(here))).hexdigest()
    environment = clean_environment | {"PYTHONPATH": os.pathsep.join(sys.path)} | variables
    done = subprocess.run(
        [sys.executable, "-c", DIGEST, path, "2"], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected
