"""Show on small networks that the training learns to restore: real photos, real metrics, on one CPU.

    python benchmarks/learning_proof.py ../shared/data --out runs/learning-proof

1. `persona curate` cuts crops of 128 px: squares of some photos to learn from, people of other photos to test on.
2. `small_base.py` trains a small base of Stable Diffusion's classes on the former.
3. `model.train` trains OSDHuman on that base and those crops, in two stages and two processes.
4. LQ, restored, and the base's reconstruction of HQ (the ceiling: the decoder is frozen) are held against HQ.

What is there is not made again; from nothing it takes an hour. This is no statement on full-size quality: base, its
noise schedule, HFIE encoder (random here) and degradation (milder, see DEGRADATION) are not the paper's; the
degradation was chosen on crops to learn from. Metrics that need weights find them in TORCH_HOME.
"""

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from diffusers import AutoencoderKL
from proof_crops import ANNOTATIONS, HERE, curate, read_crops, require_no_leak, write_annotations
from small_base import make_base

from model.data.degradation import DegradationConfig, degrade, draw_recipe
from model.network.network_config import VAE_TARGETS
from model.restoration.restore import RestoreConfig, Restorer
from storage.snapshot import Snapshot
from tasks.metrics.bootstrap import bootstrap_interval
from tasks.metrics.iqa import lower_is_better, measure
from tasks.metrics.iqa_reference import measure_pairs
from tasks.training.process import LaunchConfig, training_command

DEGRADATION = {
    "downscale": 1,
    "final_sinc": 0.0,
    "first": {"blur": 0.5, "sinc": 0.0, "sigma_px": [0.2, 0.8], "enlarge": 0.0, "shrink": 0.0},
    "second": DegradationConfig().second.model_dump(mode="json")
    | {"blur": 0.0, "sinc": 0.0, "enlarge": 0.0, "shrink": 0.0},
}
"""Noise and JPEG of both stages as in the paper; hardly any blur and no resizing. A whole person is 128 px wide here:
what a shrunk picture loses then, no network of this size can know."""

SWIN = {"image_side_px": 64, "window": 4, "width": 32, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8]}
TRAINING = {
    "degradation": DEGRADATION,
    "batch_size": 16,
    "betas": [0.9, 0.99],
    "precision": "fp32",
    "gradient_checkpointing": False,
    "num_workers": 1,
    "log_every": 50,
    "grid_every": 500,
    "checkpoint_every": 500,
}
STAGES = {
    "fidelity": {
        "side_px": 32,
        "steps": 2000,
        "learning_rate": 2e-3,
        "warmup_steps": 100,
        "losses": {"mse": 5.0, "lpips": 0.0, "vsd": 0.0},
    },
    "all-losses": {
        "side_px": 64,
        "steps": 500,
        "learning_rate": 3e-4,
        "warmup_steps": 50,
        "losses": {"mse": 5.0, "lpips": 1.0, "lpips_net": "alex", "vsd": 0.1},
    },
}
"""Two trainings, the second started from the first's weights. Cheap updates first: the small U-Net must learn to pass a
latent through precisely, since eq. 2 multiplies its errors (`small_base.BETA_END`); SD's knows that. Then eq. 4 whole.
Ranks and learning rates are larger than the paper's, since the networks are smaller and learn from less."""

RANK, PROCESSES = 32, 2
FULL_REFERENCE = ("psnr", "ssim", "lpips", "dists")
NIQE_SQUARE = 4
"""NIQE looks at blocks of 96 px: it gets squares of 4 x 4 crops instead of single ones."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with coco_mini/ and unlabelled/")
    parser.add_argument("--out", type=Path, default=Path("runs/learning-proof"))
    arguments = parser.parse_args()
    data, out = arguments.data.resolve(), arguments.out.resolve()
    if not (data / ANNOTATIONS).is_file():
        parser.error(f"{data} has no {ANNOTATIONS}")
    out.mkdir(parents=True, exist_ok=True)
    files = write_annotations(data, out)
    learn, test = (curate(name, data, files[name], out) for name in ("learn", "test"))
    require_no_leak(learn, test)
    if not (out / "base/unet").is_dir():
        make_base(read_crops(learn)[1][..., ::-1], out / "base")
    report(test, out, train(learn, out))


def train(learn: Snapshot, out: Path) -> Path:
    """OSDHuman by the real training process, stage after stage; returns the model's folder."""
    adapter = {"rank": RANK, "alpha": RANK}
    hfie = {"extractor": "hfie", "weights": "random", "num_heads": 4, "swin": SWIN | {"embedding_dim": 64}}
    network = {"base": str(out / "base"), "prompt": hfie}
    network |= {"unet": adapter, "regularizer": adapter, "vae": adapter | {"targets": VAE_TARGETS}}
    model = None
    for name, stage in STAGES.items():
        config = {"name": f"learning-proof-{name}", "network": network, **TRAINING, **stage}
        config |= {"output": str(out / name), "snapshot": learn.store.full(learn.path)}
        config |= {"warm_start": str(model)} if model else {}
        path = out / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        launch = training_command(path, LaunchConfig(num_processes=PROCESSES, cpu=True))
        subprocess.run([*launch, "--resume"], check=True, cwd=HERE.parent)
        model = out / name / json.loads((out / name / "result.json").read_text())["model"]
    return model


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
