"""Networks in plain PyTorch whose state dicts have the names that published weights have, with what they give for random weights.

python tests/utils/record_networks.py      # writes networks.json; needs torch
"""

from __future__ import annotations

import json
import os
import sys
from collections import OrderedDict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

sys.path.append(str(Path(__file__).parents[1] / "helpers"))

from network_values import image, values, words


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3, 1 × 1, as in ResNet-50 (He et al. 2016)."""

    def __init__(self, inside, width, stride):
        super().__init__()
        out = 4 * width
        self.conv1 = nn.Conv2d(inside, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample = None
        if stride > 1 or inside != out:
            self.downsample = nn.Sequential(nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, width=4, depths=(2, 2, 1, 1), classes=5):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inside = width
        for number, depth in enumerate(depths):
            blocks = []
            for index in range(depth):
                blocks.append(Bottleneck(inside, width << number, 2 if number and not index else 1))
                inside = 4 * (width << number)
            setattr(self, f"layer{number + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inside, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def conv_bn(inside, out, kernel=3, stride=1, groups=1):
    conv = nn.Conv2d(inside, out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU6())


class InvertedResidual(nn.Module):
    """Widen, depthwise, narrow, as in MobileNetV2 (Sandler et al. 2018)."""

    def __init__(self, inside, out, stride, expand):
        super().__init__()
        width = inside * expand
        layers = [conv_bn(inside, width, 1)] if expand > 1 else []
        layers += [conv_bn(width, width, 3, stride, width), nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out)]
        self.conv = nn.Sequential(*layers)
        self.same = stride == 1 and inside == out

    def forward(self, x):
        return x + self.conv(x) if self.same else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self, classes=5):
        super().__init__()
        blocks = [InvertedResidual(*row) for row in ((4, 4, 1, 1), (4, 8, 2, 6), (8, 8, 1, 6), (8, 12, 2, 6))]
        self.features = nn.Sequential(conv_bn(3, 4, 3, 2), *blocks, conv_bn(12, 24, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(24, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class EncoderBlock(nn.Module):
    """Attention and a perceptron, each after a LayerNorm."""

    def __init__(self, width, heads):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(0), nn.Linear(2 * width, width))

    def forward(self, x):
        y = self.ln_1(x)
        x = x + self.self_attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    def __init__(self, length, width, heads, depth):
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.zeros(1, length, width))
        layers = ((f"encoder_layer_{number}", EncoderBlock(width, heads)) for number in range(depth))
        self.layers = nn.Sequential(OrderedDict(layers))
        self.ln = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x):
        return self.ln(self.layers(x + self.pos_embedding))


class ViT(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2021)."""

    def __init__(self, width=16, heads=4, patch=8, size=32, classes=5):
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.conv_proj = nn.Conv2d(3, width, patch, patch)
        self.encoder = Encoder((size // patch) ** 2 + 1, width, heads, 2)
        self.heads = nn.Sequential(OrderedDict(head=nn.Linear(width, classes)))

    def forward(self, x):
        x = self.conv_proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1)
        return self.heads(self.encoder(x)[:, 0])


class Part(nn.Module):
    """Modules by name."""

    def __init__(self, /, **members):
        super().__init__()
        for name, member in members.items():
            self.add_module(name, member)


class Embeddings(nn.Module):
    def __init__(self, vocabulary, length, width):
        super().__init__()
        self.register_buffer("position_ids", torch.arange(length)[None])
        self.word_embeddings = nn.Embedding(vocabulary, width)
        self.position_embeddings = nn.Embedding(length, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, ids):
        places = self.position_ids[:, : ids.shape[1]]
        x = self.word_embeddings(ids) + self.position_embeddings(places) + self.token_type_embeddings.weight[0]
        return self.LayerNorm(x)


class BertLayer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        inner = Part(query=nn.Linear(width, width), key=nn.Linear(width, width), value=nn.Linear(width, width))
        output = Part(dense=nn.Linear(width, width), LayerNorm=nn.LayerNorm(width, eps=1e-12))
        self.attention = Part(**{"self": inner, "output": output})
        self.intermediate = Part(dense=nn.Linear(width, 2 * width))
        self.output = Part(dense=nn.Linear(2 * width, width), LayerNorm=nn.LayerNorm(width, eps=1e-12))

    def forward(self, x):
        inner, output = self.attention.self, self.attention.output
        parts = [
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (inner.query, inner.key, inner.value)
        ]
        attended = F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)
        x = output.LayerNorm(x + output.dense(attended))
        return self.output.LayerNorm(x + self.output.dense(F.gelu(self.intermediate.dense(x))))


class Bert(nn.Module):
    """An encoder of text (Devlin et al. 2019), with the names of its published weights."""

    def __init__(self, vocabulary=30, length=10, width=16, heads=4):
        super().__init__()
        self.bert = Part(
            embeddings=Embeddings(vocabulary, length, width),
            encoder=Part(layer=nn.ModuleList(BertLayer(width, heads) for _ in range(2))),
            pooler=Part(dense=nn.Linear(width, width)),
        )
        self.classifier = nn.Linear(width, 3)

    def forward(self, ids):
        x = self.bert.embeddings(ids)
        for layer in self.bert.encoder.layer:
            x = layer(x)
        return self.classifier(torch.tanh(self.bert.pooler.dense(x[:, 0])))


def main() -> None:
    found = {}
    for name, net in {"resnet": ResNet(), "mobilenet": MobileNetV2(), "vit": ViT(), "bert": Bert()}.items():
        shapes = {key: list(value.shape) for key, value in net.state_dict().items()}
        net.load_state_dict({key: torch.from_numpy(value) for key, value in values(shapes).items()})
        net.eval()
        with torch.no_grad():
            y = net(torch.from_numpy(words(30) if name == "bert" else image(32)))
        found[name] = {"shapes": shapes, "output": y.tolist()}
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "networks.json"), "w") as file:
        json.dump(found, file, indent=0)
        file.write("\n")


if __name__ == "__main__":
    main()
