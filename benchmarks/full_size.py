"""Time and memory of the network in the shapes of Stable Diffusion 2.1 base, with random weights, at 512 x 512.

    python benchmarks/full_size.py [counts] [restore-fp32] [bare-fp32] [restore-bf16] [bare-bf16]
        [train-fp32] [train-bf16]

Without names everything is measured. Each measurement runs in a process of its own, so that peak memory (resident, of
the whole process) belongs to it. "bare" calls VAE encoder, U-Net, VAE decoder and Swin-L directly: what the network
adds to them is the difference to "restore". CPU seconds count all threads: the best of three after a warm-up, or the
first run where that alone takes more than LONG_S (a training step; bf16 on a processor without instructions for it).
The random weights speak of time and memory only.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL, UNet2DConditionModel

from model.network.base import Base
from model.network.generator import Generator
from model.network.hfie import Hfie, ImageEncoder
from model.network.network_config import HfieConfig, NetworkConfig
from model.tiny_base import schedule
from model.training.regularizer import Regularizer
from model.training.train_config import TrainConfig
from model.training.train_step import Training

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
MEASUREMENTS = ("counts", "restore-fp32", "bare-fp32", "restore-bf16", "bare-bf16", "train-fp32", "train-bf16")
SIDE_PX, REPEATS, LONG_S = 512, 3, 100
PUBLISHED = {
    "U-Net": 865_910_724,
    "VAE": 83_653_863,
    "generator LoRA": 4_425_068,
    "HFIE head": 3_228_672 + 2_048,
    "regularizer LoRA": 4_055_712,
}


def full_size_generator(dtype: torch.dtype) -> Generator:
    """SD 2.1 base, RAM's Swin-L and the HFIE, random."""
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)  # never holds an fp32 copy of what stays in bf16
    unet = UNet2DConditionModel(
        sample_size=64, attention_head_dim=[5, 10, 20, 20], cross_attention_dim=1024, use_linear_projection=True
    )
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=768,
    )
    encoder = ImageEncoder(HfieConfig().swin).eval()
    torch.set_default_dtype(torch.float32)
    base = Base(unet.requires_grad_(False).eval(), vae.requires_grad_(False).eval(), schedule().alphas_cumprod.float())
    return Generator(NetworkConfig(), base, Hfie(HfieConfig(), encoder, 1024), {})


def numbers(parameters) -> int:
    return sum(parameter.numel() for parameter in parameters)


def counts() -> dict[str, float]:
    generator = full_size_generator(torch.bfloat16)
    base = {part: numbers(getattr(generator, part).parameters()) for part in ("unet", "vae")}
    trained = generator.trainable_parameters()
    lora = {part: numbers(p for n, p in trained.items() if n.startswith(part)) for part in base}
    regularizer = numbers(Regularizer(generator).trainable_parameters().values())
    here = (
        base["unet"] - lora["unet"],
        base["vae"] - lora["vae"],
        lora["unet"] + lora["vae"],
        numbers(p for n, p in trained.items() if n.startswith("embedder")),
        regularizer,
    )
    return {name: count for name, count in zip(PUBLISHED, here, strict=True)}


@torch.no_grad()
def restore(dtype: torch.dtype) -> dict[str, float]:
    generator = laid_out(full_size_generator(dtype).merge_lora(), dtype)
    return timed(lambda: generator(torch.zeros(1, 3, SIDE_PX, SIDE_PX)))


@torch.no_grad()
def bare(dtype: torch.dtype) -> dict[str, float]:
    generator = laid_out(full_size_generator(dtype).merge_lora(), dtype)
    unet, vae, swin = generator.unet, generator.vae, generator.embedder.encoder.swin
    picture, small = torch.zeros(1, 3, SIDE_PX, SIDE_PX, dtype=dtype), torch.zeros(1, 3, 384, 384, dtype=dtype)
    prompt = torch.randn(1, 77, 1024, dtype=dtype)

    def run() -> None:
        swin.forward_features(small)
        latent = vae.encode(picture).latent_dist.mode()
        vae.decode(unet(latent, generator.config.timestep, encoder_hidden_states=prompt).sample.to(dtype))

    return timed(run)


def laid_out(generator: Generator, dtype: torch.dtype) -> Generator:
    """As the restorer lays it out: channels last in bf16."""
    return generator.eval().to(memory_format=torch.channels_last) if dtype == torch.bfloat16 else generator.eval()


def train(dtype: torch.dtype) -> dict[str, float]:
    """One whole update at batch 1: frozen weights in `dtype`, gradient checkpointing, LPIPS of VGG16 (random)."""
    import lpips

    precision = next(name for name, known in DTYPES.items() if known == dtype)
    config = TrainConfig(output=Path(), snapshot=Path(), batch_size=1, precision=precision)
    network = lpips.LPIPS(net="vgg", pretrained=False, pnet_rand=True, verbose=False).requires_grad_(False)
    training = Training(config, Accelerator(cpu=True), network, full_size_generator(dtype))
    pictures = torch.rand(2, 1, 3, SIDE_PX, SIDE_PX) * 2 - 1
    batch = {"lq": pictures[0], "hq": pictures[1], "crop_id": ["benchmark"]}

    def update() -> None:
        training.accumulate(batch, 0)
        training.apply(0)

    return timed(update)


def timed(run) -> dict[str, float]:
    taken = [one_run(run)]
    if taken[0]["wall_s"] < LONG_S:
        taken = [one_run(run) for _ in range(REPEATS)]
    best = {key: min(times[key] for times in taken) for key in ("cpu_s", "wall_s")}
    return best | {"peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def one_run(run) -> dict[str, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}


def measure(name: str) -> dict[str, float]:
    """One measurement in this process."""
    if name == "counts":
        return counts()
    kind, _, dtype = name.partition("-")
    return {"restore": restore, "bare": bare, "train": train}[kind](DTYPES[dtype])


def measured(name: str) -> dict[str, float]:
    """The same in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--here", name], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name} ended with exit code {done.returncode}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main(names: tuple[str, ...]) -> None:
    if unknown := set(names) - set(MEASUREMENTS):
        sys.exit(f"unknown {', '.join(sorted(unknown))}: known are {', '.join(MEASUREMENTS)}")
    for name in names:
        result = measured(name)
        if name == "counts":
            for part, count in result.items():
                print(f"{part:17} {count:>12,} parameters here, {PUBLISHED[part]:>12,} as counted before", flush=True)
        else:
            figures = "CPU {cpu_s:.1f} s, wall {wall_s:.1f} s, peak {peak_gib:.2f} GiB".format(**result)
            print(f"{name:17} {figures}", flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    if sys.argv[1:2] == ["--here"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        main(tuple(sys.argv[1:]) or MEASUREMENTS)
