"""RAM's published layout against a forward pass written from its definition; what is frozen, what is learned."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from model.network.hfie import Hfie, ImageEncoder, encoder_hash, load_encoder, load_null_prompt
from model.network.network_config import HfieConfig, NullPromptConfig, SwinConfig
from model.network.weights import WeightsUnavailableError
from model.ram import convert, encoder_tensors
from tests.model.conftest import TINY_SWIN

# Two blocks in the first stage, so that windows are shifted there too.
SWIN = SwinConfig(image_side_px=64, window=4, width=8, depths=(2, 2), num_heads=(2, 4), embedding_dim=12)


def random_tensors(seed=0):
    random = torch.Generator().manual_seed(seed)
    return lambda *shape: 0.3 * torch.randn(shape, generator=random)


def published_checkpoint(config, tensor=None):
    """Random tensors under the names and shapes of the published checkpoint."""
    tensor = tensor or random_tensors()
    width, side = config.width, config.image_side_px // config.patch_px
    model = {
        "visual_encoder.patch_embed.proj.weight": tensor(width, 3, config.patch_px, config.patch_px),
        "visual_encoder.patch_embed.proj.bias": tensor(width),
        "visual_encoder.patch_embed.norm.weight": 1 + tensor(width),
        "visual_encoder.patch_embed.norm.bias": tensor(width),
        "tagging_head.encoder.layer.0.weight": tensor(3, 3),
        "label_embed": tensor(5, 12),
    }
    for stage, (depth, heads) in enumerate(zip(config.depths, config.num_heads, strict=True)):
        dim = width * 2**stage
        for block in range(depth):
            at = f"visual_encoder.layers.{stage}.blocks.{block}"
            for norm in ("norm1", "norm2"):
                model[f"{at}.{norm}.weight"], model[f"{at}.{norm}.bias"] = 1 + tensor(dim), tensor(dim)
            for name, rows, columns in (("attn.qkv", 3 * dim, dim), ("attn.proj", dim, dim)):
                model[f"{at}.{name}.weight"], model[f"{at}.{name}.bias"] = tensor(rows, columns), tensor(rows)
            for name, rows, columns in (("mlp.fc1", 4 * dim, dim), ("mlp.fc2", dim, 4 * dim)):
                model[f"{at}.{name}.weight"], model[f"{at}.{name}.bias"] = tensor(rows, columns), tensor(rows)
            model[f"{at}.attn.relative_position_bias_table"] = tensor((2 * config.window - 1) ** 2, heads)
            model[f"{at}.attn.relative_position_index"] = torch.zeros(config.window**2, config.window**2)
            if block % 2 and side // 2**stage > config.window:
                model[f"{at}.attn_mask"] = torch.zeros(4, config.window**2, config.window**2)
        if stage + 1 < len(config.depths):
            at = f"visual_encoder.layers.{stage}.downsample"
            model[f"{at}.reduction.weight"] = tensor(2 * dim, 4 * dim)
            model[f"{at}.norm.weight"], model[f"{at}.norm.bias"] = 1 + tensor(4 * dim), tensor(4 * dim)
    last = width * 2 ** (len(config.depths) - 1)
    model["visual_encoder.norm.weight"], model["visual_encoder.norm.bias"] = 1 + tensor(last), tensor(last)
    model["image_proj.weight"], model["image_proj.bias"] = (
        tensor(config.embedding_dim, last),
        tensor(config.embedding_dim),
    )
    return model


def published_forward(model, config, picture):
    """RAM's image embeddings of (3, S, S) normalised pixels, token by token and window by window, from the paper."""
    w = {key.removeprefix("visual_encoder."): value for key, value in model.items()}

    def norm(x, at):
        return F.layer_norm(x, x.shape[-1:], w[f"{at}.weight"], w[f"{at}.bias"])

    def linear(x, at):
        return x @ w[f"{at}.weight"].T + w.get(f"{at}.bias", 0)

    patches = F.conv2d(picture[None], w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], config.patch_px)[0]
    x = norm(patches.permute(1, 2, 0), "patch_embed.norm")
    for stage, (depth, heads) in enumerate(zip(config.depths, config.num_heads, strict=True)):
        side = x.shape[0]
        window = min(config.window, side)
        for block in range(depth):
            at = f"layers.{stage}.blocks.{block}"
            shift = window // 2 if block % 2 and side > window else 0
            x = x + attention(norm(x, f"{at}.norm1"), w, at, heads, window, shift, linear)
            hidden = F.gelu(linear(norm(x, f"{at}.norm2"), f"{at}.mlp.fc1"))
            x = x + linear(hidden, f"{at}.mlp.fc2")
        if stage + 1 < len(config.depths):
            merged = torch.cat([x[0::2, 0::2], x[1::2, 0::2], x[0::2, 1::2], x[1::2, 1::2]], dim=-1)
            at = f"layers.{stage}.downsample"
            x = norm(merged, f"{at}.norm") @ w[f"{at}.reduction.weight"].T
    local = norm(x, "norm").flatten(0, 1)
    return linear(torch.cat([local.mean(0, keepdim=True), local]), "image_proj")


def attention(x, w, at, heads, window, shift, linear):
    """Each position attends to those of its shifted window that are no neighbours across the picture's edge."""
    side, dim = x.shape[0], x.shape[-1]
    q, k, v = linear(x, f"{at}.attn.qkv").view(side, side, 3, heads, dim // heads).permute(2, 3, 0, 1, 4)
    table, out = w[f"{at}.attn.relative_position_bias_table"], torch.zeros(side, side, dim)
    for top in range(0, side, window):
        for left in range(0, side, window):
            cells = [(r, c) for r in range(top, top + window) for c in range(left, left + window)]
            here = [((r + shift) % side, (c + shift) % side) for r, c in cells]
            for (r, c), (row, column) in zip(cells, here, strict=True):
                mates = [
                    i
                    for i, (r2, c2) in enumerate(cells)
                    if not shift
                    or ((r + shift >= side) == (r2 + shift >= side) and (c + shift >= side) == (c2 + shift >= side))
                ]
                rows, columns = [here[i][0] for i in mates], [here[i][1] for i in mates]
                bias = torch.stack(
                    [
                        table[(r - cells[i][0] + window - 1) * (2 * window - 1) + c - cells[i][1] + window - 1]
                        for i in mates
                    ]
                )
                logits = (k[:, rows, columns] @ q[:, row, column, :, None])[..., 0] * (dim // heads) ** -0.5 + bias.T
                out[row, column] = (logits.softmax(-1)[:, None] @ v[:, rows, columns])[:, 0].flatten()
    return linear(out, f"{at}.attn.proj")


@pytest.fixture
def encoder_of(tmp_path):
    def build(checkpoint, dape=None):
        torch.save({"model": checkpoint}, tmp_path / "ram.pth")
        if dape:
            torch.save(dape, tmp_path / "dape.pth")
        convert(tmp_path / "ram.pth", tmp_path / "ram.safetensors", tmp_path / "dape.pth" if dape else None, SWIN)
        return load_encoder(HfieConfig(weights=str(tmp_path / "ram.safetensors"), swin=SWIN))

    return build


def normalised(lq):
    picture = (lq + 1) / 2
    return (picture - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]


def test_published_layout_gives_the_features_of_its_definition(encoder_of):
    checkpoint = published_checkpoint(SWIN)
    encoder = encoder_of(checkpoint)
    lq = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    embeddings = encoder(lq)
    assert embeddings.shape == (2, 1 + 8 * 8, 12)
    for picture, features in zip(lq, embeddings, strict=True):
        torch.testing.assert_close(
            features, published_forward(checkpoint, SWIN, normalised(picture)), atol=1e-4, rtol=0
        )


def test_dape_updates_q_and_v(encoder_of):
    checkpoint = published_checkpoint(SWIN)
    random = torch.Generator().manual_seed(5)
    dape, merged = {}, dict(checkpoint)
    for key in [key for key in checkpoint if key.endswith("qkv.weight")]:
        dim = checkpoint[key].shape[1]
        low, high = torch.randn(16, dim, generator=random), torch.randn(2 * dim, 8, generator=random)
        dape[key.replace("weight", "lora_A")], dape[key.replace("weight", "lora_B")] = low, high
        # As a layer computes it: x W + x A^T B^T / 8, once for q and once for v.
        update = torch.cat([high[:dim] @ low[:8], torch.zeros(dim, dim), high[dim:] @ low[8:]]) / 8
        merged[key] = checkpoint[key] + update
    lq = torch.rand(1, 3, 64, 64, generator=random) * 2 - 1
    features = encoder_of(checkpoint, dape)(lq)[0]
    torch.testing.assert_close(features, published_forward(merged, SWIN, normalised(lq[0])), atol=1e-4, rtol=0)


def test_a_checkpoint_that_lacks_a_tensor_or_runs_code_is_refused(encoder_of, tmp_path, capsys):
    checkpoint = published_checkpoint(SWIN)
    del checkpoint["visual_encoder.layers.1.blocks.1.attn.proj.bias"]
    with pytest.raises(WeightsUnavailableError, match=r"1 tensors are missing or differ, such as swin.layers.1"):
        encoder_of(checkpoint)
    torch.save({"model": {"visual_encoder.x": object}}, tmp_path / "code.pth")
    with pytest.raises(WeightsUnavailableError, match=r"code.pth is no checkpoint of tensors"):
        convert(tmp_path / "code.pth", tmp_path / "out.safetensors", config=SWIN)
    assert not (tmp_path / "out.safetensors").exists()


def test_full_size_names_and_shapes_are_rams():
    """145 x 512 from 195,198,516 parameters and the projection; on no memory."""
    with torch.device("meta"):
        encoder = ImageEncoder(SwinConfig())
        features = encoder.swin.forward_features(torch.empty(1, 3, 384, 384))
        published = encoder_tensors(published_checkpoint(SwinConfig(), torch.empty))
    assert sum(p.numel() for p in encoder.swin.parameters()) == 195_198_516
    assert features.shape == (1, 12, 12, 1536) and encoder.image_proj.weight.shape == (512, 1536)
    shapes = {key: value.shape for key, value in encoder.state_dict().items()}
    assert {key: value.shape for key, value in published.items()} == shapes


def test_attention_of_learned_queries(tiny_network):
    config = HfieConfig(weights="random", swin=TINY_SWIN)
    torch.manual_seed(0)
    hfie = Hfie(config, load_encoder(config), prompt_dim=64)
    lq = torch.rand(2, 3, 64, 64) * 2 - 1
    prompt = hfie(lq)
    assert prompt.shape == (2, 77, 64)
    e, a = hfie.encoder(lq), hfie.attention
    assert not e.requires_grad and not any(p.requires_grad for p in hfie.encoder.parameters())
    bias_q, bias_k, bias_v = a.in_proj_bias.chunk(3)
    heads = [
        part.view(*part.shape[:-1], 8, 8).transpose(-2, -3)
        for part in (
            (hfie.queries @ a.q_proj_weight.T + bias_q).expand(2, -1, -1),
            e @ a.k_proj_weight.T + bias_k,
            e @ a.v_proj_weight.T + bias_v,
        )
    ]
    attended = (heads[0] @ heads[1].transpose(-1, -2) / 8**0.5).softmax(-1) @ heads[2]
    by_hand = hfie.norm(a.out_proj(attended.transpose(1, 2).flatten(2)))
    torch.testing.assert_close(prompt, by_hand, atol=1e-5, rtol=0)
    prompt.square().sum().backward()
    assert hfie.queries.grad.abs().sum() > 0


def test_random_encoder_is_the_same_again_and_leaves_other_randomness_alone():
    config = HfieConfig(weights="random", swin=TINY_SWIN, random_seed=3)
    torch.manual_seed(11)
    first, drawn = load_encoder(config), torch.rand(1)
    torch.manual_seed(11)
    assert torch.rand(1) == drawn
    assert encoder_hash(config, first) == encoder_hash(config, load_encoder(config))
    other = config.model_copy(update={"random_seed": 4})
    assert encoder_hash(other, load_encoder(other)) != encoder_hash(config, first)


def test_null_prompt_is_checked(tmp_path):
    save_file({"prompt": torch.randn(77, 64)}, tmp_path / "space.safetensors")
    config = NullPromptConfig(prompt=str(tmp_path / "space.safetensors"))
    assert load_null_prompt(config, 64)(torch.zeros(3, 3, 8, 8)).shape == (3, 77, 64)
    with pytest.raises(ValueError, match=r"is \(77, 64\), the U-Net takes \(tokens, 1024\)"):
        load_null_prompt(config, 1024)
    with pytest.raises(WeightsUnavailableError, match="is no safetensors file"):
        load_null_prompt(NullPromptConfig(prompt=str(tmp_path / "none")), 64)
