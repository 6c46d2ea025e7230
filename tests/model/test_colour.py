"""Colour correction against its definition, and what it is for."""

import cv2
import numpy as np
import pytest
import torch

from model.restoration.colour import corrected, low_frequencies


@pytest.fixture
def pair():
    random = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 40, 56, generator=random) * 2 - 1, torch.rand(2, 3, 40, 56, generator=random) - 0.5


def test_low_frequencies_are_five_spread_blurs(pair):
    """Each blur written out as a whole kernel with holes, with OpenCV and replicated borders."""
    picture = pair[0][0].permute(1, 2, 0).numpy()
    expected = picture
    for radius in (1, 2, 4, 8, 16):
        kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
        kernel[::radius, ::radius] = np.outer([1, 2, 1], [1, 2, 1]) / 16
        expected = cv2.filter2D(expected, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    assert np.allclose(low_frequencies(pair[0])[0].permute(1, 2, 0).numpy(), expected, atol=1e-5)


def test_wavelet_takes_details_from_one_and_colours_from_the_other(pair):
    restored, lq = pair
    result = corrected(restored, lq, "wavelet")
    assert torch.allclose(result - low_frequencies(lq), restored - low_frequencies(restored), atol=1e-6)
    assert torch.allclose(corrected(restored + 0.3, lq, "wavelet"), result, atol=1e-5)  # a cast has no effect


def test_adain_has_mean_and_scatter_of_lq(pair):
    restored, lq = pair
    result = corrected(restored, lq, "adain")
    assert torch.allclose(result.mean(dim=(2, 3)), lq.mean(dim=(2, 3)), atol=1e-5)
    assert torch.allclose(result.std(dim=(2, 3)), lq.std(dim=(2, 3)), rtol=1e-3)
    flat = torch.zeros_like(restored)
    assert torch.isfinite(corrected(flat, lq, "adain")).all()


@pytest.mark.parametrize("method", ["none", "wavelet", "adain"])
def test_a_picture_keeps_its_own_colours(pair, method):
    assert torch.allclose(corrected(pair[0], pair[0], method), pair[0], atol=1e-5)


def test_none_changes_nothing(pair):
    assert torch.equal(corrected(*pair, "none"), pair[0])
