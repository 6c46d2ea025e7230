"""Tiles: they cover every length, end at the edge, and leave no seam."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from model.restoration.tiling import tile_starts, tiled


@given(st.integers(1, 80), st.integers(2, 16), st.data())
def test_tiles_cover_a_side_and_end_at_its_edge(length, tile, data):
    step = data.draw(st.sampled_from([1, 2, 8]))
    overlap = data.draw(st.integers(0, tile // 2 * step))
    length, tile = length * step, tile * step
    starts = tile_starts(length, tile, overlap, step)
    assert all(start % step == 0 for start in starts)
    assert starts[0] == 0 and starts[-1] + min(tile, length) == length
    shared = [a + tile - b for a, b in pairwise(starts)]
    assert all(overlap <= s < tile for s in shared)
    if length > tile:  # no fewer would do, when starts are whole steps
        stride = (tile - overlap) // step * step
        assert tile + (len(starts) - 2) * stride < length


@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.sampled_from([(2, 0), (4, 8), (6, 20)]),
    st.sampled_from(["half", "same", "double"]),
)
@settings(max_examples=40, deadline=None)
def test_local_work_in_tiles_is_the_work_in_one_piece(size, sides, ratio):
    work = {
        "half": lambda x: functional.avg_pool2d(x, 2),
        "same": lambda x: 3 * x - 1,
        "double": lambda x: functional.interpolate(x, scale_factor=2, mode="nearest"),
    }[ratio]
    x = torch.rand(2, 3, size[0] * 8, size[1] * 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(tiled(work, x, tile=sides[0] * 8, overlap=sides[1], step=8), work(x), atol=1e-5)


def test_neighbours_that_disagree_fade_into_each_other():
    """Each tile is painted in a grey of its own: the steepest slope stays that of the fade, in both directions."""
    greys = iter(range(100))
    blended = tiled(
        lambda x: torch.full_like(x, next(greys) % 2), torch.zeros(1, 1, 96, 160), tile=64, overlap=32, step=8
    )
    assert blended.min() >= 0 and blended.max() <= 1
    for axis in (2, 3):
        steps = blended.diff(dim=axis).abs().max()
        assert steps < 0.06  # sin² over 32 pixels rises by 0.049 per pixel at most


@pytest.mark.parametrize("size", [(8, 8), (8, 640), (640, 8), (24, 2048)])
def test_strips_end(size):
    num_calls = 0

    def work(x):
        nonlocal num_calls
        num_calls += 1
        assert max(x.shape[2:]) <= 64
        return x

    x = torch.rand(1, 1, *size)
    assert torch.allclose(tiled(work, x, tile=64, overlap=16, step=8), x, atol=1e-6)
    assert num_calls == max(1, -(-(max(size) - 16) // 48))
