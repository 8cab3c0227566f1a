"""Networks of full size, with the weights of torchvision's and transformers' own, give their outputs: `make test-models`."""

from __future__ import annotations

import numpy as np
import pytest
from peers import torch, transformers, vision

import tengen
from tengen import models

VISION = """resnet18 resnet34 resnet50 resnet101 resnet152 resnext50_32x4d resnext101_32x8d resnext101_64x4d wide_resnet50_2 wide_resnet101_2
vit_b_16 vit_b_32 vit_l_32 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5
shufflenet_v2_x2_0 efficientnet_b0 efficientnet_b1 efficientnet_b4 efficientnet_b7 convnext_tiny convnext_base swin_t swin_s swin_b""".split()


def close(mine, theirs):
    """As far as float32 goes: the error against the size of the numbers."""
    mine, theirs = mine.numpy(), theirs.detach().numpy()
    assert np.abs(mine - theirs).max() < 2e-3 * np.abs(theirs).max(), (mine.ravel()[:5], theirs.ravel()[:5])


def randomised(net):
    """So that no parameter has the value that is first in every network, and activations stay in bounds."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 1.5, generator=generator)
            elif value.dtype == torch.float32 and value.ndim < 2:
                value.add_(torch.randn(value.shape, generator=generator), alpha=0.1)
    return net.eval()


@pytest.mark.parametrize("name", VISION)
def test_torchvision(name, tmp_path):
    theirs = randomised(getattr(vision, name)())
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    mine = getattr(models, name)(weights=tmp_path / "weights.pth")
    mine.eval()
    x = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    assert sum(p.size for p in mine.parameters()) == sum(p.numel() for p in theirs.parameters())
    close(mine(tengen.tensor(x)), theirs(torch.from_numpy(x)))


@pytest.mark.parametrize("name", ["bert_base", "bert_large"])
def test_bert(name, tmp_path):
    sizes = {} if name == "bert_base" else {
        "num_hidden_layers": 24, "num_attention_heads": 16, "hidden_size": 1024, "intermediate_size": 4096
    }  # fmt: skip
    theirs = randomised(transformers.BertModel(transformers.BertConfig(**sizes)))
    theirs.save_pretrained(tmp_path)
    mine = getattr(models, name)(weights=tmp_path / "model.safetensors")
    mine.eval()
    tokens = np.random.default_rng(0).integers(0, 30522, (2, 32))
    mask, kinds = np.ones((2, 32), np.int64), np.zeros((2, 32), np.int64)
    mask[1, 20:], kinds[:, 9:] = 0, 1
    found = mine(*(tengen.tensor(x.astype(np.int32)) for x in (tokens, mask, kinds)))
    wanted = theirs(torch.from_numpy(tokens), torch.from_numpy(mask), torch.from_numpy(kinds))
    close(found[0][0], wanted.last_hidden_state[0])
    close(found[0][1, :20], wanted.last_hidden_state[1, :20])
    close(found[1], wanted.pooler_output)


@pytest.mark.parametrize("name, depth, heads, features", [("gpt2", 12, 12, 768), ("gpt2_medium", 24, 16, 1024)])
def test_gpt2(name, depth, heads, features, tmp_path):
    config = transformers.GPT2Config(n_layer=depth, n_head=heads, n_embd=features)
    theirs = randomised(transformers.GPT2LMHeadModel(config))
    theirs.save_pretrained(tmp_path)
    mine = getattr(models, name)(weights=tmp_path / "model.safetensors")
    mine.eval()
    tokens = np.random.default_rng(0).integers(0, 50257, (1, 24))
    wanted = theirs(torch.from_numpy(tokens)).logits
    close(mine(tengen.tensor(tokens.astype(np.int32))), wanted)
    drawn = theirs.generate(torch.from_numpy(tokens), max_new_tokens=8, do_sample=False)[0, 24:].tolist()
    assert mine.generate(tokens[0].tolist(), 8, temperature=0) == drawn
