"""The one step against its formula in double precision; adapters where the paper has them, and nowhere else."""

import copy
import json
import shutil

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from peft import LoraConfig
from safetensors.torch import save_file

from model.network.adapters import GENERATOR, REGULARIZER, lora_layers, lora_parameters
from model.network.base import base_folder, load_base
from model.network.generator import build_generator
from model.network.network_config import VAE_TARGETS, AdapterConfig, NetworkConfig, NullPromptConfig
from model.network.weights import WeightsUnavailableError
from model.training.exit_codes import exit_code
from model.training.regularizer import Regularizer
from storage.errors import ExitCode

SD21_UNET = dict(
    sample_size=64,
    attention_head_dim=[5, 10, 20, 20],
    cross_attention_dim=1024,
    use_linear_projection=True,
)
SD21_VAE = dict(
    block_out_channels=(128, 256, 512, 512),
    layers_per_block=2,
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
)


@pytest.fixture
def generator(tiny_network):
    made = build_generator(tiny_network)
    random = torch.Generator().manual_seed(7)
    for parameter in made.trainable_parameters().values():
        parameter.data += 0.03 * torch.randn(parameter.shape, generator=random)
    return made


@pytest.fixture
def lq():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_one_step_is_eq_2(generator, lq):
    with torch.no_grad():
        z_l, prompt = generator.encode(lq), generator.prompt(lq)
        noise = generator.unet(z_l, 999, encoder_hidden_states=prompt).sample.double()
        z_h = generator.denoise(z_l, prompt)
        restored = generator(lq)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alpha_bar = (1 - betas).prod()
    assert float(alpha_bar) == pytest.approx(0.004660098513, abs=1e-12)  # of SD 2.1's schedule at t = 999
    by_hand = (z_l.double() - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt()
    torch.testing.assert_close(z_h.double(), by_hand, atol=2e-5, rtol=1e-5)
    with torch.no_grad():
        decoded = generator.vae.decode(z_h / 0.18215).sample.clamp(-1, 1)
    torch.testing.assert_close(restored, decoded, atol=1e-6, rtol=0)
    assert restored.shape == lq.shape and restored.abs().max() <= 1


@pytest.mark.parametrize(("t", "amplification"), [(999, 14.6146), (499, 1.6129), (273, 0.7569), (199, 0.5693)])
def test_an_error_of_the_predicted_noise_is_amplified_as_documented(generator, lq, monkeypatch, t, amplification):
    monkeypatch.setattr(generator, "config", generator.config.model_copy(update={"timestep": t}))
    forward, asked = generator.unet.forward, []
    with torch.no_grad():
        z_l, prompt = generator.encode(lq), generator.prompt(lq)
        before = generator.denoise(z_l, prompt)

        def off_by_a_hundredth(latent, timestep, **others):
            asked.append(timestep)
            output = forward(latent, timestep, **others)
            return type(output)(sample=output.sample + 0.01)

        monkeypatch.setattr(generator.unet, "forward", off_by_a_hundredth)
        error = before - generator.denoise(z_l, prompt)
    assert asked == [t] and generator.amplification == pytest.approx(amplification, abs=1e-4)
    torch.testing.assert_close(error, torch.full_like(error, 0.01 * amplification), atol=1e-4, rtol=0)


def test_latent_is_mode_or_sample_of_the_posterior(generator, lq):
    noise = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        posterior = generator.vae.encode(lq).latent_dist
        torch.testing.assert_close(generator.encode(lq), posterior.mean * 0.18215)
        torch.testing.assert_close(generator.encode(lq, noise), (posterior.mean + posterior.std * noise) * 0.18215)


def test_only_adapters_and_head_are_trained(generator, lq):
    Regularizer(generator)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    optimizer = torch.optim.AdamW(generator.trainable_parameters().values(), lr=1e-2)
    for _ in range(2):
        generator(lq).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    after = generator.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    trained = set(generator.trainable_parameters())
    # A shift of all keys by one vector leaves the attention as it is, so the bias of the keys learns nothing.
    assert changed == trained or trained - changed == {"embedder.attention.in_proj_bias"}
    assert not any("decoder" in name or "encoder.swin" in name or REGULARIZER in name for name in changed)
    assert {n.split(".")[0] for n in changed} == {"unet", "vae", "embedder"}


def test_overfits_one_batch(generator, tiny_network, lq):
    """A generator without effect learns what another one of its kind makes of two pictures."""
    with torch.no_grad():
        target = generator(lq)
    learner = build_generator(tiny_network)
    optimizer = torch.optim.AdamW(learner.trainable_parameters().values(), lr=3e-3)
    losses = []
    for _ in range(25):
        loss = torch.nn.functional.mse_loss(learner(lq), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.15 * losses[0], (losses[0], losses[-1])


def test_merging_keeps_the_output_and_drops_the_layers(generator, lq):
    Regularizer(generator)
    with torch.no_grad():
        before = generator(lq)
        after = generator.merge_lora()(lq)
    torch.testing.assert_close(after, before, atol=2e-5, rtol=0)
    assert not list(lora_layers(generator)) and not any(p.requires_grad for p in generator.unet.parameters())
    with pytest.raises(ValueError, match="adapters were merged"):
        generator.trained_tensors()


def test_bf16_works_in_bf16_and_keeps_adapters_noise_and_eq_2_in_fp32(generator, tiny_network, lq):
    low = build_generator(tiny_network, torch.bfloat16)
    with torch.no_grad():
        for name, tensor in low.trained_tensors().items():
            tensor.copy_(generator.trained_tensors()[name])
        assert low.unet.conv_in.base_layer.weight.dtype == torch.bfloat16
        assert {p.dtype for p in low.trainable_parameters().values()} == {torch.float32}
        z_l, prompt = low.encode(lq), low.prompt(lq)
        noise = low.unet(z_l.bfloat16(), 999, encoder_hidden_states=prompt.bfloat16()).sample
        assert noise.dtype == torch.float32 and low.denoise(z_l, prompt).dtype == torch.float32
        assert (low(lq) - generator(lq)).abs().mean() < 0.03
        assert (low.merge_lora()(lq) - generator(lq)).abs().mean() < 0.03


def test_in_bf16_formula_and_unet_see_the_same_latent(tiny_network, monkeypatch):
    low = build_generator(tiny_network, torch.bfloat16)
    noise = torch.randn(1, 4, 8, 8)
    seen = []

    def unet(latent, t, **others):
        seen.append(latent)
        return UNet2DConditionOutput(sample=noise)

    monkeypatch.setattr(low.unet, "forward", unet)
    with torch.no_grad():
        z_h = low.denoise(torch.randn(1, 4, 8, 8), torch.zeros(1, 77, 64))
    alpha_bar = low.alphas_cumprod[999]
    by_hand = (seen[0].float() - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt()
    torch.testing.assert_close(z_h, by_hand, atol=1e-5, rtol=1e-5)


def test_weights_merged_before_they_are_rounded_lose_no_more_than_the_rounding(generator, tiny_network):
    exact, once = copy.deepcopy(generator).merge_lora(), copy.deepcopy(generator).merge_lora(torch.bfloat16)
    assert once.dtype == torch.bfloat16 and once.merge_lora() is once
    for (name, weight), rounded in zip(exact.unet.named_parameters(), once.unet.parameters(), strict=True):
        is_kept = name.startswith(("conv_norm_out", "conv_out"))
        assert rounded.dtype == (torch.float32 if is_kept else torch.bfloat16)
        assert torch.equal(rounded, weight.bfloat16().to(rounded.dtype)), name


def test_full_size_parameter_counts():
    """SD 2.1's shapes on no memory: what the recipe trains, as counted in OSEDiff's layout."""
    config = AdapterConfig()
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**SD21_UNET), AutoencoderKL(**SD21_VAE)
        assert sum(p.numel() for p in unet.parameters()) == 865_910_724
        assert sum(p.numel() for p in vae.parameters()) == 83_653_863
        for network, targets in ((unet, list(config.targets)), (vae, VAE_TARGETS)):
            network.add_adapter(LoraConfig(r=4, target_modules=targets), adapter_name=GENERATOR)
    assert (len(list(lora_layers(unet))), len(list(lora_layers(vae)))) == (258, 32)
    assert sum(p.numel() for p in lora_parameters(unet, GENERATOR).values()) == 4_055_712
    assert sum(p.numel() for p in lora_parameters(vae, GENERATOR).values()) == 369_356
    assert not any("decoder" in name or "time_" in name for name in lora_parameters(vae, GENERATOR))


def test_null_prompt_needs_its_file_only_once(tiny_network, tmp_path, lq):
    save_file({"prompt": torch.randn(77, 64)}, tmp_path / "space.safetensors")
    config = tiny_network.model_copy(update={"prompt": NullPromptConfig(prompt=str(tmp_path / "space.safetensors"))})
    generator = build_generator(config)
    assert "embedder.prompt" in generator.trained_tensors()
    assert not any(name.startswith("embedder") for name in generator.trainable_parameters())
    assert torch.equal(generator.prompt(lq)[0], generator.prompt(-lq)[1])


def changed_config(folder, part, **values):
    path = folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("part", "values", "sentence"),
    [
        (
            "scheduler",
            {"prediction_type": "v_prediction"},
            r"predicts v_prediction .* take Stable Diffusion 2.1 \*base\*",
        ),
        ("unet", {"in_channels": 9}, "from 9 to 4 channels and a VAE of 4 latent channels"),
        ("unet", {"addition_embed_type": "text_time"}, "additional conditions"),
        ("unet", {"_class_name": "SD3Transformer2DModel"}, "holds SD3Transformer2DModel"),
    ],
)
def test_another_architecture_is_told_in_one_sentence(tiny_base, tmp_path, part, values, sentence):
    folder = shutil.copytree(tiny_base, tmp_path / "base")
    changed_config(folder, part, **values)
    with pytest.raises(ValueError, match=sentence):
        load_base(str(folder))


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")]
)
def test_want_of_memory_while_a_base_is_opened_is_not_blamed_on_its_files(tiny_base, monkeypatch, error):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(UNet2DConditionModel, "from_pretrained", refuse)
    with pytest.raises(type(error)) as raised:
        load_base(str(tiny_base))
    assert exit_code(raised.value) == ExitCode.OUT_OF_MEMORY


def test_a_base_that_is_missing_cut_or_far_away_is_told_in_one_sentence(tiny_base, tmp_path, monkeypatch):
    folder = shutil.copytree(tiny_base, tmp_path / "base")
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WeightsUnavailableError, match=r"cannot be opened .* fetch it again"):
        load_base(str(folder))
    weights.unlink()
    with pytest.raises(WeightsUnavailableError, match=r"lacks vae/diffusion_pytorch_model.safetensors"):
        base_folder(str(folder))
    with pytest.raises(WeightsUnavailableError, match="is no folder here and no hub id"):
        base_folder("./nowhere")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(WeightsUnavailableError, match="does not answer: copy it to this machine"):
        base_folder("nobody/no-such-base")


def test_targets_that_fit_no_layer_are_refused(tiny_network):
    config = NetworkConfig(**tiny_network.model_dump() | {"unet": AdapterConfig(targets=("to_z",))})
    with pytest.raises(ValueError, match="to_z"):
        build_generator(config)
