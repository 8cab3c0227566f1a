"""What small networks of torchvision and transformers give for random weights: names and shapes of their parameters, and outputs.

python tests/models/record_models.py      # writes models.json; needs torch, torchvision and transformers: make test-models
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from peers import torch, transformers
from peers import vision as tv

sys.path.append(str(Path(__file__).parents[1] / "helpers"))

from network_values import image, values, words

MOBILE, CNBLOCK = tv.mobilenetv3.InvertedResidualConfig, tv.convnext.CNBlockConfig

NETWORKS = {
    "resnet": lambda: tv.ResNet(tv.resnet.BasicBlock, [1, 2, 1, 1], num_classes=5),
    "resnext": lambda: tv.ResNet(tv.resnet.Bottleneck, [1, 1, 1, 1], num_classes=5, groups=8, width_per_group=4),
    "vit": lambda: tv.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5),
    "mobilenet_v2": lambda: tv.MobileNetV2(num_classes=5, width_mult=0.25),
    "mobilenet_v3": lambda: tv.MobileNetV3(
        [
            MOBILE(16, 3, 16, 16, True, "RE", 2, 1, 1),
            MOBILE(16, 5, 40, 24, False, "HS", 2, 1, 1),
            MOBILE(24, 3, 64, 24, True, "HS", 1, 1, 1),
        ],
        32,
        num_classes=5,
    ),
    "shufflenet": lambda: tv.ShuffleNetV2([2, 1, 2], [8, 16, 32, 64, 64], num_classes=5),
    "efficientnet": lambda: tv.EfficientNet(
        tv.efficientnet._efficientnet_conf("efficientnet_b0", width_mult=0.25, depth_mult=0.3)[0], 0.2, num_classes=5
    ),
    "convnext": lambda: tv.ConvNeXt([CNBLOCK(8, 16, 2), CNBLOCK(16, None, 1)], num_classes=5),
    "swin": lambda: tv.SwinTransformer([4, 4], 8, [2, 2], [2, 4], [3, 3], num_classes=5),
    "bert": lambda: transformers.BertModel(
        transformers.BertConfig(
            vocab_size=30, max_position_embeddings=16, num_hidden_layers=2, num_attention_heads=2, hidden_size=16,
            intermediate_size=32,
        )
    ),
    "gpt": lambda: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=30, n_positions=16, n_layer=2, n_head=2, n_embd=16)
    ),
}  # fmt: skip


def recorded(name: str) -> dict[str, object]:
    """Shapes by name, and outputs of images of 32×32 pixels or of seven tokens, by a network in evaluation."""
    torch.manual_seed(0)
    net = NETWORKS[name]().eval()
    shapes = {key: list(value.shape) for key, value in net.state_dict().items()}
    state = {key: torch.from_numpy(value) for key, value in values(shapes).items()}
    if name == "gpt":
        state["lm_head.weight"] = state["transformer.wte.weight"]  # they are one
    state |= {key: value for key, value in net.state_dict().items() if key.endswith("relative_position_index")}
    net.load_state_dict(state)
    with torch.no_grad():
        if name in ("bert", "gpt"):
            found = net(torch.from_numpy(words(30)))
            outputs = [found.logits] if name == "gpt" else [found.last_hidden_state, found.pooler_output]
        else:
            outputs = [net(torch.from_numpy(image(32)))]
    said = [[float(f"{number:.7g}") for number in output.flatten().tolist()] for output in outputs]
    return {"shapes": shapes, "outputs": said}


def main() -> None:
    """Write models.json, a network a line."""
    lines = [f"{json.dumps(name)}: {json.dumps(recorded(name), separators=(',', ':'))}" for name in NETWORKS]
    (Path(__file__).parent / "models.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
