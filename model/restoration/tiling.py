"""Work on a large picture or latent tile by tile: tiles overlap, and fade into each other."""

from collections.abc import Callable

import torch


def tile_starts(length: int, tile: int, overlap: int, step: int) -> list[int]:
    """Where tiles begin along one side: as few as cover it, evenly spread, the last one ending at the edge.

    Args:
        length: of the side; a multiple of `step`.
        tile: length of a tile; a multiple of `step`.
        overlap: least that two neighbours share; at most half of `tile`.
        step: every start is a multiple of this, so that what a network halves falls on the same pixels in all tiles.
    """
    if length <= tile:
        return [0]
    room = (length - tile) // step
    stride = (tile - overlap) // step
    num_gaps = -(-room // stride)
    return [step * (room * i // num_gaps) for i in range(num_gaps + 1)]


def tiled(
    work: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, *, tile: int, overlap: int, step: int
) -> torch.Tensor:
    """`work(x)`, in one piece where both sides fit into a tile.

    Args:
        work: maps (B, C, h, w) to (B, D, r·h, r·w) with one ratio r for all sizes, such as 1/8, 1 or 8.
        x: (B, C, H, W); the sides are multiples of `step`.
        tile: side of a tile, in units of `x`.
        overlap: least that neighbours share, in units of `x`.
        step: see `tile_starts`.

    Returns:
        (B, D, r·H, r·W), blended in float32.
    """
    height, width = x.shape[2:]
    if height <= tile and width <= tile:
        return work(x)
    tile_height, tile_width = min(tile, height), min(tile, width)
    total = weight = torch.empty(0)
    for y in tile_starts(height, tile, overlap, step):
        for x_start in tile_starts(width, tile, overlap, step):
            part = work(x[:, :, y : y + tile_height, x_start : x_start + tile_width]).float()
            rows, columns = part.shape[2:]
            if not total.numel():
                total = part.new_zeros(*part.shape[:2], height * rows // tile_height, width * columns // tile_width)
                weight = part.new_zeros(total.shape[2:])
                fade = overlap * rows // tile_height
                window = _window(rows, fade, part)[:, None] * _window(columns, fade, part)
            top, left = y * rows // tile_height, x_start * columns // tile_width
            total[:, :, top : top + rows, left : left + columns] += part * window
            weight[top : top + rows, left : left + columns] += window
    return total / weight


def _window(length: int, fade: int, like: torch.Tensor) -> torch.Tensor:
    """(length,) weights: 1 in the middle, falling as a raised cosine over `fade` at both ends, never 0."""
    fade = min(fade, length // 2)
    rise = torch.sin((torch.arange(fade, device=like.device, dtype=like.dtype) + 0.5) / fade * (torch.pi / 2)) ** 2
    return torch.cat([rise, like.new_ones(length - 2 * fade), rise.flip(0)])
