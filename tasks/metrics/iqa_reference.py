"""Metrics that hold restored pictures against high-quality ones: pair by pair, and FID, set against set."""

import numpy as np
from PIL import Image

from storage.errors import InputError
from tasks.metrics.iqa import load_metric, pictures_per_pass, to_tensor

_INCEPTION_SIDE_PX = 299
_FEATURES = 2048


def measure_pairs(
    name: str, pictures: list[np.ndarray], references: list[np.ndarray], device: str, batch_size: int
) -> list[float]:
    """The metric's value of each picture against its reference, in double precision where the metric has it.

    Args:
        name: of a metric that needs a reference: dists, lpips (its AlexNet, version 0.1), psnr, ssim, ...
        pictures: (H, W, 3) uint8 BGR, all of one size.
        references: as many, of the same size.
        device: cpu, cuda or mps.
        batch_size: pairs per pass.
    """
    import torch

    metric = load_metric(name, device)
    step = pictures_per_pass(name, batch_size)
    values: list[float] = []
    for start in range(0, len(pictures), step):
        batch = [to_tensor(side[start : start + step]) for side in (pictures, references)]
        with torch.inference_mode():
            found = metric(*batch)
        values += found.double().cpu().reshape(len(batch[0])).tolist()
    return values


class FrechetSums:
    """What FID keeps of a set of pictures: number, sum and sum of products of its features; 34 MB for any set."""

    def __init__(self, num_features: int = _FEATURES) -> None:
        self.num = 0
        self._sum = np.zeros(num_features)
        self._products = np.zeros((num_features, num_features))

    def add(self, features: np.ndarray) -> None:
        """Take in (B, F) features."""
        wide = features.astype(np.float64)
        self.num += len(wide)
        self._sum += wide.sum(axis=0)
        self._products += wide.T @ wide

    def mean_and_covariance(self) -> tuple[np.ndarray, np.ndarray]:
        """(F,) and (F, F), the latter with N - 1 in the denominator.

        Raises:
            ValueError: fewer than two pictures.
        """
        if self.num < 2:
            raise InputError(f"FID needs two pictures at least, and there is {self.num}")
        mean = self._sum / self.num
        return mean, (self._products - self.num * np.outer(mean, mean)) / (self.num - 1)


def inception_features(pictures: list[np.ndarray], device: str, batch_size: int) -> np.ndarray:
    """(N, 2048) features as pyiqa's `fid` computes them in its mode `clean`, from memory instead of from a folder.

    Args:
        pictures: (H, W, 3) uint8 BGR, of any size.
        device: cpu, cuda or mps.
        batch_size: pictures per pass.

    Raises:
        WeightsUnavailableError: Inception's weights cannot be had.
    """
    import torch

    network = load_metric("fid", device).net.model
    found = []
    for start in range(0, len(pictures), batch_size):
        resized = np.stack([_resized(picture) for picture in pictures[start : start + batch_size]])
        batch = torch.from_numpy((resized - 128) / 128).permute(0, 3, 1, 2).to(device)
        with torch.inference_mode():
            features = network(batch, False, False)[0]  # neither resize nor normalise: both is done
        found.append(features.reshape(len(batch), -1).cpu().numpy())
    return np.concatenate(found)


def _resized(picture: np.ndarray) -> np.ndarray:
    """The picture as (299, 299, 3) float32 RGB, each channel resized by itself (Parmar et al., CVPR 2022)."""
    side = (_INCEPTION_SIDE_PX, _INCEPTION_SIDE_PX)
    channels = [Image.fromarray(np.float32(picture[..., c])).resize(side, Image.Resampling.BICUBIC) for c in (2, 1, 0)]
    return np.clip(np.stack([np.asarray(channel) for channel in channels], axis=-1), 0, 255)


def frechet_distance(a: FrechetSums, b: FrechetSums) -> float:
    """Distance of two normal distributions (Heusel et al., 2017, eq. 6): |m - n|² + Tr(A + B - 2 (A B)^½).

    The trace of the root is the sum of the roots of the eigenvalues of A B, which are those of the symmetric
    A^½ B A^½; so no root of a matrix that is not symmetric has to be found.
    """
    (mean_a, cov_a), (mean_b, cov_b) = a.mean_and_covariance(), b.mean_and_covariance()
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ cov_b @ root), 0, None)).sum()
    return float(np.sum((mean_a - mean_b) ** 2) + np.trace(cov_a) + np.trace(cov_b) - 2 * shared)
