"""Restoring pictures of any size with a tiny network, which has learned nothing but is all there."""

import cv2
import numpy as np
import pytest
import torch

from model.model_folder import load_model
from model.restoration.restore import RestoreConfig, Restorer


@pytest.fixture(autouse=True)
def one_thread():
    """For layers this small more threads only wait for each other."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="session")
def restorer(tiny_model):
    return Restorer.load(tiny_model, device="cpu")


def scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def test_a_crop_is_what_the_generator_makes_of_it(tiny_model, restorer):
    crop = scene(64, 64)
    lq = torch.from_numpy(crop[:, :, ::-1].copy()).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        expected = (load_model(tiny_model, "cpu")(lq)[0] + 1) * 127.5  # its adapters are not merged
    [restored] = restorer.restore([crop])
    assert np.abs(restored[:, :, ::-1] - expected.permute(1, 2, 0).numpy()).max() <= 0.51
    assert restored.std() > 1 and not np.array_equal(restored, crop)


def test_batches_change_nothing(tiny_model, restorer):
    crops = [scene(64, 64, 0), scene(80, 64, 1), scene(64, 64, 2), scene(64, 64, 3), scene(80, 64, 4)]
    batched = Restorer.load(tiny_model, device="cpu", config=RestoreConfig(batch_size=2)).restore(crops)
    for crop, together in zip(crops, batched, strict=True):
        [alone] = restorer.restore([crop])
        assert np.abs(alone.astype(int) - together).max() <= 1
        assert together.shape == crop.shape


@pytest.mark.parametrize("upscale", [1, 1.5, 3])
@pytest.mark.parametrize("size", [(1, 1), (7, 40), (63, 65), (64, 64), (113, 70)])
def test_any_size_comes_out_at_its_own_size(tiny_model, restorer, size, upscale):
    larger = Restorer(load_model(tiny_model, "cpu"), RestoreConfig(upscale=upscale)) if upscale != 1 else restorer
    [restored] = larger.restore([scene(*size)])
    assert (restored.shape, restored.dtype) == ((round(size[0] * upscale), round(size[1] * upscale), 3), np.uint8)


@pytest.mark.parametrize("size", [(1, 3), (40, 90), (70, 131), (300, 64)])
def test_padding_tiling_and_enlarging_leave_a_picture_in_place(tiny_model, monkeypatch, size):
    """With a network that changes nothing, a picture comes back as it was; enlarged and shrunk, as good as."""
    restorer = Restorer(load_model(tiny_model, "cpu"), RestoreConfig(tile_px=128, overlap_px=64, colour="wavelet"))
    for part in ("encode", "decode"):
        monkeypatch.setattr(restorer.generator, part, lambda x: x)
    monkeypatch.setattr(restorer.generator, "denoise", lambda z, prompt: z)
    picture = scene(*size)
    [restored] = restorer.restore([picture])
    assert np.abs(restored.astype(int) - picture).max() <= (0 if min(size) >= 64 else 8)


def seam_strength(picture: np.ndarray, whole: np.ndarray, at: list[int]) -> float:
    """How much steeper the difference to `whole` is at the borders of tiles than elsewhere."""
    slope = np.abs(np.diff(picture.astype(float) - whole, axis=1)).mean(axis=(0, 2))
    return slope[at].mean() / slope.mean()


def test_tiles_leave_no_seam(tiny_model, restorer):
    picture = scene(96, 320)
    [whole] = restorer.restore([picture])
    tiles = Restorer.load(tiny_model, device="cpu", config=RestoreConfig(tile_px=128, overlap_px=64))
    assert tiles.is_tiled(picture) and not restorer.is_tiled(picture)
    [tiled] = tiles.restore([picture])
    borders = [63, 127, 191, 255]  # tiles begin at 0, 64, 128 and 192
    # The same network on tiles that are set side by side shows that seams would be seen.
    hard = np.hstack([restorer.restore([np.ascontiguousarray(picture[:, x : x + 64])])[0] for x in range(0, 320, 64)])
    assert seam_strength(tiled, whole, borders) < 1.4 < 1.7 < seam_strength(hard, whole, borders)
    assert np.abs(tiled.astype(int) - whole).mean() < 0.6 * np.abs(hard.astype(int) - whole).mean()


def test_a_long_strip_ends(tiny_model):
    tiles = Restorer.load(tiny_model, device="cpu", config=RestoreConfig(tile_px=256, overlap_px=64))
    [restored] = tiles.restore([scene(64, 2048)])
    assert restored.shape == (64, 2048, 3)


def test_bf16_comes_close_to_fp32(tiny_model, restorer):
    crop = scene(64, 64)
    low = Restorer.load(tiny_model, device="cpu", dtype="bf16")
    assert low.generator.dtype == torch.bfloat16
    difference = low.restore([crop])[0].astype(int) - restorer.restore([crop])[0]
    assert np.abs(difference).mean() < 8


def test_what_cannot_be_restored_is_told_in_one_sentence(restorer, tiny_model, tmp_path):
    with pytest.raises(ValueError, match="megapixels: shrink or crop"):
        restorer.restore([scene(1, 20_000)])
    with pytest.raises(ValueError, match=r"give \(H, W, 3\) uint8 arrays"):
        restorer.restore([np.zeros((8, 8), np.uint8)])
    with pytest.raises(ValueError, match="must be a multiple of 16"):
        Restorer(load_model(tiny_model, "cpu"), RestoreConfig(tile_px=120, overlap_px=8))
    with pytest.raises(ValueError, match="no model folder"):
        Restorer.load(tmp_path)
    broken = Restorer.load(tiny_model, device="cpu")
    broken.generator.vae.decoder.conv_out.bias.data[0] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        broken.restore([scene(64, 64)])
