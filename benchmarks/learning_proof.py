"""Show on small networks that the training learns to restore: real photos, real metrics, on one CPU.

    python benchmarks/learning_proof.py ../shared/data --out runs/learning-proof

1. `persona curate` cuts crops of 128 px: squares of some photos to learn from, people of other photos to test on.
2. `small_base.py` trains a small base of Stable Diffusion's classes on the former.
3. `python -m model.train` trains OSDHuman on that base and those crops.
4. LQ, restored, and the base's reconstruction of HQ (the ceiling: the decoder is frozen) are held against HQ.

What is there is not made again. This is no statement on full-size quality: base, HFIE encoder (random here) and
degradation (milder, see DEGRADATION) are not the paper's. Metrics that need weights find them in TORCH_HOME.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from diffusers import AutoencoderKL
from proof_crops import HERE, curate, read_crops, require_no_leak, write_annotations
from small_base import make_base

from model.degradation import DegradationConfig, degrade, draw_recipe
from model.network_config import VAE_TARGETS
from model.restore import RestoreConfig, Restorer
from storage.snapshot import Snapshot
from tasks.bootstrap import bootstrap_interval
from tasks.iqa import lower_is_better, measure
from tasks.iqa_reference import measure_pairs

DEGRADATION = {
    "downscale": 2,
    "first": {"sigma_px": [0.2, 1.5], "scale": [0.5, 1.5]},
    "second": DegradationConfig().second.model_dump(mode="json") | {"sigma_px": [0.2, 0.8], "scale": [0.6, 1.2]},
}
"""Noise and JPEG as in the paper; blur half as wide and x2 instead of x4, since a whole person is 128 px wide here."""

SWIN = {"image_side_px": 64, "window": 4, "width": 32, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8]}
TRAINING = {
    "name": "learning-proof",
    "degradation": DEGRADATION,
    "losses": {"mse": 5.0, "lpips": 1.0, "lpips_net": "alex", "vsd": 0.1},
    "side_px": 64,
    "batch_size": 4,
    "learning_rate": 1e-3,
    "warmup_steps": 30,
    "precision": "fp32",
    "gradient_checkpointing": False,
    "num_workers": 1,
    "log_every": 10,
    "grid_every": 100,
    "checkpoint_every": 100,
}
"""Ranks and learning rate are larger than the paper's, since the networks are smaller and learn from less."""

RANK = 32
FULL_REFERENCE = ("psnr", "ssim", "lpips", "dists")
NIQE_SQUARE = 4
"""NIQE looks at blocks of 96 px: it gets squares of 4 x 4 crops instead of single ones."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with coco_mini/ and unlabelled/")
    parser.add_argument("--out", type=Path, default=Path("runs/learning-proof"))
    parser.add_argument("--steps", type=int, default=600, help="updates of OSDHuman")
    arguments = parser.parse_args()
    data, out = arguments.data.resolve(), arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    files = write_annotations(data, out)
    learn, test = (curate(name, data, files[name], out) for name in ("learn", "test"))
    require_no_leak(learn, test)
    if not (out / "base/unet").is_dir():
        make_base(read_crops(learn)[1][..., ::-1], out / "base")
    report(test, out, train(learn, out, arguments.steps))


def train(learn: Snapshot, out: Path, steps: int) -> Path:
    """OSDHuman by the real training process; returns the model's folder."""
    adapter = {"rank": RANK, "alpha": RANK}
    hfie = {"extractor": "hfie", "weights": "random", "num_heads": 4, "swin": SWIN | {"embedding_dim": 64}}
    config = TRAINING | {
        "output": str(out / "training"),
        "snapshot": learn.store.full(learn.path),
        "steps": steps,
        "network": {"base": str(out / "base"), "prompt": hfie}
        | {"unet": adapter, "regularizer": adapter, "vae": adapter | {"targets": VAE_TARGETS}},
    }
    path = out / "training.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    subprocess.run([sys.executable, "-m", "model.train", str(path), "--resume"], check=True, cwd=HERE.parent)
    result = json.loads((out / "training/result.json").read_text())
    return out / "training" / result["model"]


def report(test: Snapshot, out: Path, model: Path) -> None:
    """Write `figures.md` and `grid.png`, and print the figures."""
    crop_ids, hq = read_crops(test)
    config = DegradationConfig.model_validate(DEGRADATION)
    lq = [degrade(crop, draw_recipe(crop_id, 0, 0, config)) for crop_id, crop in zip(crop_ids, hq, strict=True)]
    restored = Restorer.load(model, config=RestoreConfig(batch_size=8)).restore(lq)
    ceiling = reconstructed(out / "base", hq)
    shown = {"LQ": lq, "restored": restored, "ceiling": ceiling, "HQ": list(hq)}
    text = figures(shown)
    (out / "figures.md").write_text(text)
    grid = [np.hstack([shown[name][i] for name in shown]) for i in range(len(hq))]
    grid += [np.zeros_like(grid[0])] * (-len(grid) % 3)
    cv2.imwrite(str(out / "grid.png"), np.hstack([np.vstack(grid[column::3]) for column in range(3)]))
    print(f"{text}\n{len(hq)} crops; LQ | restored | ceiling | HQ in {out / 'grid.png'}")


@torch.inference_mode()
def reconstructed(base: Path, hq: np.ndarray) -> list[np.ndarray]:
    """What the base's VAE makes of the crops, (N, H, W, 3) uint8 BGR."""
    vae: Any = AutoencoderKL.from_pretrained(base / "vae")
    pictures = torch.from_numpy(hq).flip(-1).permute(0, 3, 1, 2).float() / 127.5 - 1
    back = vae.decode(vae.encode(pictures).latent_dist.mode()).sample.clamp(-1, 1)
    return list(((back + 1) * 127.5).round().byte().permute(0, 2, 3, 1).flip(-1).numpy())


def figures(shown: dict[str, list[np.ndarray]]) -> str:
    """A Markdown table: means, and the paired difference of restored and LQ with its 95 % interval."""
    lines = ["| metric | LQ | restored | ceiling | HQ | restored - LQ |", "|---|---|---|---|---|---|"]
    for metric in FULL_REFERENCE:
        of = {name: np.array(measure_pairs(metric, shown[name], shown["HQ"], "cpu", 8)) for name in list(shown)[:3]}
        gain = of["restored"] - of["LQ"]
        low, high = bootstrap_interval(gain, 2000, 0)
        num_better = int(np.sum(gain < 0 if lower_is_better(metric) else gain > 0))
        means = " | ".join(f"{values.mean():.4f}" for values in of.values())
        interval = f"{gain.mean():+.4f} [{low:+.4f}, {high:+.4f}], better in {num_better} of {len(gain)}"
        lines.append(f"| {metric} {arrow(metric)} | {means} | | {interval} |")
    niqe = [np.mean(measure("niqe", squares(pictures), "cpu", 1)) for pictures in shown.values()]
    lines.append(
        f"| niqe {arrow('niqe')} | {' | '.join(f'{value:.4f}' for value in niqe)} | {niqe[1] - niqe[0]:+.4f} |"
    )
    return "\n".join(lines) + "\n"


def arrow(metric: str) -> str:
    return "↓" if lower_is_better(metric) else "↑"


def squares(pictures: list[np.ndarray]) -> list[np.ndarray]:
    """Squares of NIQE_SQUARE x NIQE_SQUARE pictures, without those that are left over."""
    num = NIQE_SQUARE
    return [
        np.vstack([np.hstack(pictures[start + row * num : start + (row + 1) * num]) for row in range(num)])
        for start in range(0, len(pictures) - num * num + 1, num * num)
    ]


if __name__ == "__main__":
    main()
