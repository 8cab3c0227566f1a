"""Weights with PyTorch's names and shapes go into networks that are written as tengen's are; outputs equal PyTorch's (record_networks.py)."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from network_values import image, values, words

import tengen
import tengen.functional as F
import tengen.module as M
from tengen import Parameter, Tensor
from tengen.base.errors import StateDictError
from tengen.utils.weights import match

RECORDED = json.loads((Path(__file__).parent / "networks.json").read_text())


class Bottleneck(M.Module):
    def __init__(self, inside, width, stride):
        super().__init__()
        out = 4 * width
        self.conv1 = M.Conv2d(inside, width, 1, bias=False)
        self.bn1 = M.BatchNorm2d(width)
        self.conv2 = M.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = M.BatchNorm2d(width)
        self.conv3 = M.Conv2d(width, out, 1, bias=False)
        self.bn3 = M.BatchNorm2d(out)
        self.downsample = M.Identity()
        if stride > 1 or inside != out:
            self.downsample = M.Sequential(M.Conv2d(inside, out, 1, stride, bias=False), M.BatchNorm2d(out))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNet(M.Module):
    """With PyTorch's names; its stages are a list."""

    def __init__(self, width=4, depths=(2, 2, 1, 1)):
        super().__init__()
        self.conv1 = M.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = M.BatchNorm2d(width)
        inside = width
        for number, depth in enumerate(depths):
            blocks = []
            for index in range(depth):
                blocks.append(Bottleneck(inside, width << number, 2 if number and not index else 1))
                inside = 4 * (width << number)
            setattr(self, f"layer{number + 1}", M.Sequential(*blocks))
        self.fc = M.Linear(inside, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(F.mean(x, (2, 3)))


class ConvBn(M.Module):
    def __init__(self, inside, out, kernel, stride=1, groups=1, act=True):
        super().__init__()
        self.conv = M.Conv2d(inside, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = M.BatchNorm2d(out)
        self.act = act

    def forward(self, x):
        x = self.norm(self.conv(x))
        return F.relu6(x) if self.act else x


class Block(M.Module):
    def __init__(self, inside, out, stride, expand):
        super().__init__()
        width = inside * expand
        self.widen = ConvBn(inside, width, 1) if expand > 1 else None
        self.depthwise = ConvBn(width, width, 3, stride, width)
        self.narrow = ConvBn(width, out, 1, act=False)
        self.same = stride == 1 and inside == out

    def forward(self, x):
        y = self.narrow(self.depthwise(self.widen(x) if self.widen else x))
        return x + y if self.same else y


class MobileNet(M.Module):
    """With names of its own, and convolutions and their normalisations in modules of their own."""

    def __init__(self):
        super().__init__()
        self.stem = ConvBn(3, 4, 3, 2)
        self.blocks = [Block(*row) for row in ((4, 4, 1, 1), (4, 8, 2, 6), (8, 8, 1, 6), (8, 12, 2, 6))]
        self.last = ConvBn(12, 24, 1)
        self.classify = M.Linear(24, 5)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.classify(F.mean(self.last(x), (2, 3)))


def attend(q, k, v, heads):
    """Attention over (N, L, E)."""
    n, length, width = q.shape
    q, k, v = (x.reshape(n, length, heads, width // heads).transpose(0, 2, 1, 3) for x in (q, k, v))
    weights = F.softmax(F.matmul(q, k.transpose(0, 1, 3, 2)) / math.sqrt(width // heads), axis=-1)
    return F.matmul(weights, v).transpose(0, 2, 1, 3).reshape(n, length, width)


class Attention(M.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.qkv = M.Linear(width, 3 * width)
        self.proj = M.Linear(width, width)
        self.heads = heads

    def forward(self, x):
        return self.proj(attend(*F.split(self.qkv(x), 3, axis=2), self.heads))


class ViTBlock(M.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = M.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = M.LayerNorm(width, eps=1e-6)
        self.mlp = M.Sequential(M.Linear(width, 2 * width), M.GELU(), M.Linear(2 * width, width))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(M.Module):
    def __init__(self, width=16, heads=4):
        super().__init__()
        self.cls = Parameter(np.zeros((1, 1, width), np.float32))
        self.patches = M.Conv2d(3, width, 8, 8)
        self.places = Parameter(np.zeros((1, 17, width), np.float32))
        self.blocks = M.Sequential(*(ViTBlock(width, heads) for _ in range(2)))
        self.norm = M.LayerNorm(width, eps=1e-6)
        self.head = M.Linear(width, 5)

    def forward(self, x):
        x = F.flatten(self.patches(x), 2).transpose(0, 2, 1)
        x = F.concat([F.broadcast_to(self.cls, (len(x), 1, x.shape[2])), x], axis=1)
        return self.head(self.norm(self.blocks(x + self.places))[:, 0])


class BertLayer(M.Module):
    """The published names, but for those of attention."""

    def __init__(self, width, heads):
        super().__init__()
        self.query, self.key, self.value = (M.Linear(width, width) for _ in range(3))
        self.dense = M.Linear(width, width)
        self.norm = M.LayerNorm(width, eps=1e-12)
        self.inside = M.Linear(width, 2 * width)
        self.outside = M.Linear(2 * width, width)
        self.last_norm = M.LayerNorm(width, eps=1e-12)
        self.heads = heads

    def forward(self, x):
        x = self.norm(x + self.dense(attend(self.query(x), self.key(x), self.value(x), self.heads)))
        return self.last_norm(x + self.outside(F.gelu(self.inside(x))))


class Bert(M.Module):
    def __init__(self, width=16):
        super().__init__()
        self.word_embeddings = M.Embedding(30, width)
        self.position_embeddings = M.Embedding(10, width)
        self.token_type_embeddings = M.Embedding(2, width)
        self.norm = M.LayerNorm(width, eps=1e-12)
        self.layers = [BertLayer(width, 4) for _ in range(2)]
        self.pooler = M.Linear(width, width)
        self.classifier = M.Linear(width, 3)

    def forward(self, ids):
        x = self.word_embeddings(ids) + self.position_embeddings.weight[: ids.shape[1]]
        x = self.norm(x + self.token_type_embeddings.weight[0])
        for layer in self.layers:
            x = layer(x)
        return self.classifier(F.tanh(self.pooler(x[:, 0])))


NETWORKS = {"resnet": ResNet, "mobilenet": MobileNet, "vit": ViT, "bert": Bert}


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_equal_those_of_pytorch(name, capsys):
    net = NETWORKS[name]()
    state = values(RECORDED[name]["shapes"])
    found = match(net, state, strict=True)
    assert (found.missing, found.unused) == ([], [])
    assert len(found.rows) == len(net.state_dict())
    assert f"{len(found.rows)} loaded" in capsys.readouterr().out
    net.eval()
    y = net(Tensor(words(30).astype(np.int32)) if name == "bert" else Tensor(image(32)))
    np.testing.assert_allclose(y.numpy(), RECORDED[name]["output"], rtol=2e-4, atol=2e-5)


def linear_net():
    """Names and shapes that others can fit or not."""
    net = M.Sequential(M.Linear(2, 3), M.Linear(3, 3), M.Linear(3, 4))
    for number, tensor in enumerate(net.parameters()):
        tensor.set_value(np.full(tensor.shape, number, np.float32))
    return net


def state_of(net, **changes):
    return {changes.get(name.replace(".", "_"), name): array + 10 for name, array in net.state_dict().items()}


def test_a_prefix_and_a_checkpoint(capsys):
    net = linear_net()
    state = {f"module.{name}": array + 1 for name, array in net.state_dict().items()}
    found = match(net, {"epoch": 3, "state_dict": state})
    assert {how for _, _, _, how in found.rows} == {"same name"}
    assert capsys.readouterr().out == "6 loaded, of which 6 have the same name and shape\n"
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, state[f"module.{name}"])


def test_a_part_of_a_larger_network():
    class Detector(M.Module):
        def __init__(self):
            super().__init__()
            self.backbone = linear_net()
            self.head = M.Linear(4, 7)

        def forward(self, x):
            return self.head(self.backbone(x))

    net = Detector()
    found = match(net, state_of(linear_net()), verbose=False)
    assert len(found.rows) == 6
    assert found.missing == ["head.weight", "head.bias"]
    assert float(net.backbone[0].weight[0, 0]) == 11.0


def test_another_order_is_found_by_names(capsys):
    class Net(M.Module):
        def __init__(self):
            super().__init__()
            self.norm_last = M.LayerNorm(3)
            self.norm_first = M.LayerNorm(3)

        def forward(self, x):
            return self.norm_last(self.norm_first(x))

    net = Net()
    state = {f"norm.{place}.{leaf}": np.full(3, i + 1.0) for i, (place, leaf) in enumerate(
        [("first", "weight"), ("first", "bias"), ("last", "weight"), ("last", "bias")])}  # fmt: skip
    found = match(net, state)
    assert [(name, source, how) for name, source, _, how in found.rows] == [
        ("norm_last.weight", "norm.last.weight", "by name"),
        ("norm_last.bias", "norm.last.bias", "by name"),
        ("norm_first.weight", "norm.first.weight", "by name"),
        ("norm_first.bias", "norm.first.bias", "by name"),
    ]
    assert "norm_first.bias    norm.first.bias    (3,)   by name" in capsys.readouterr().out


def test_a_layer_that_moved_is_found_by_its_name():
    net = M.Sequential(M.LayerNorm(3), M.Linear(3, 3))
    net.post, net.pre = M.Linear(3, 2), M.Linear(2, 3)
    state = {f"net.pre.w.{leaf}": np.ones((3, 2) if leaf == "weight" else 3) for leaf in ("weight", "bias")}
    state |= {f"net.post.w.{leaf}": np.ones((2, 3) if leaf == "weight" else 2) for leaf in ("weight", "bias")}
    found = match(net, state, verbose=False)
    assert sorted((name, source) for name, source, _, _ in found.rows) == [
        ("post.bias", "net.post.w.bias"),
        ("post.weight", "net.post.w.weight"),
        ("pre.bias", "net.pre.w.bias"),
        ("pre.weight", "net.pre.w.weight"),
    ]


def test_what_could_be_either_stays_missing():
    net = M.Sequential(M.Linear(2, 2, bias=False), M.Linear(2, 2, bias=False))
    found = match(net, {"a.weight": np.ones((2, 2))}, verbose=False)
    assert len(found.rows) == len(found.missing) == 1


def test_nothing_is_transposed():
    net = M.Linear(2, 3)
    with pytest.raises(
        StateDictError,
        match=r"nothing was loaded\nmissing .*: weight \(3, 2\), bias \(3,\)\nnot used: weight \(2, 3\)",
    ):
        match(net, {"weight": np.ones((2, 3))})
    found = match(net, {"weight": np.ones((2, 3)), "bias": np.ones(3)}, verbose=False)
    assert (found.missing, found.unused) == (["weight"], ["weight"])


def test_strict_changes_nothing():
    net = linear_net()
    state = state_of(net)
    del state["1.weight"]
    before = net.state_dict()
    with pytest.raises(StateDictError, match=r"nothing was loaded\nmissing in the state dict: 1\.weight \(3, 3\)$"):
        match(net, state, strict=True)
    assert all(np.array_equal(before[name], array) for name, array in net.state_dict().items())


def test_rename():
    net = M.Sequential(M.Linear(2, 2), M.Linear(2, 2))
    state = {f"{name}.{leaf}": np.full((2, 2) if leaf == "weight" else 2, value)
             for value, name in ((1.0, "second"), (2.0, "first")) for leaf in ("weight", "bias")}  # fmt: skip
    found = match(net, state, rename={"^first": "0", "^second": "1"}, verbose=False)
    assert next((name, source, how) for name, source, _, how in found.rows) == ("0.weight", "first.weight", "same name")
    assert float(net[0].bias[0]) == 2.0


@pytest.mark.parametrize(
    "layer, shape",
    [
        (lambda: M.Conv2d(4, 6, 3, groups=2), (6, 2, 3, 3)),
        (lambda: M.Conv2d(4, 4, 3, groups=4), (4, 1, 3, 3)),
        (lambda: M.Conv1d(4, 6, 3, groups=2), (6, 2, 3)),
        (lambda: M.ConvTranspose2d(4, 6, 3, groups=2), (4, 3, 3, 3)),
        (lambda: M.Conv2d(4, 6, 1), (6, 4, 1, 1)),
    ],
)
def test_shapes_of_weights(layer, shape):
    net = layer()
    array = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    match(net, {"weight": array, "bias": np.zeros(net.out_channels)}, strict=True, verbose=False)
    np.testing.assert_array_equal(net.weight.numpy().ravel(), array.ravel())


def test_old_names_of_normalisation():
    net = M.BatchNorm1d(3)
    state = {
        "gamma": np.ones(3) * 2,
        "beta": np.ones(3) * 3,
        "moving_mean": np.ones(3) * 4,
        "moving_variance": np.ones(3) * 5,
    }
    match(net, state, strict=True, verbose=False)
    values = [float(getattr(net, name).reshape(-1)[0]) for name in ("weight", "bias", "running_mean", "running_var")]
    assert values == [2, 3, 4, 5]


def test_a_shared_weight_has_both_its_names():
    net = M.Sequential(M.Linear(2, 2, bias=False), M.Linear(2, 2, bias=False))
    net[1].weight = net[0].weight
    found = match(net, {"0.weight": np.ones((2, 2)), "1.weight": np.ones((2, 2))}, strict=True, verbose=False)
    assert len(found.rows) == 2


def test_a_file_of_pytorch():
    """From the file into a network, as it is."""
    net = M.Sequential(M.Conv2d(2, 4, 3, groups=2), M.BatchNorm2d(4), M.Linear(4, 2))
    path = Path(__file__).parents[1] / "formats" / "pytorch" / "checkpoint.pt"
    state = tengen.load(path)
    found = match(net, state, strict=True, verbose=False)
    assert found.unused == []
    for name, source in (("0.weight", "0.weight"), ("1.running_var", "1.running_var"), ("2.bias", "3.bias")):
        assert net.state_dict()[name].ravel().tolist() == state["model"][source].numpy().ravel().tolist()


def test_what_is_no_state_dict():
    with pytest.raises(TypeError, match="dict of tensors or arrays by name, got list"):
        match(M.Linear(1, 1), [1])


def lstm_of_pytorch(x, state):
    """The outputs by the formulas of PyTorch's LSTM, bidirectional and with two layers, of x (T, N, features)."""

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    for layer in range(2):
        sides = []
        for end in ("", "_reverse"):
            w, u, b, c = (state[f"{name}_l{layer}{end}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            h = cell = np.zeros((x.shape[1], u.shape[1]))
            made = []
            for step in x[::-1] if end else x:
                i, f, g, o = np.split(step @ w.T + b + h @ u.T + c, 4, axis=1)
                cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(cell)
                made.append(h)
            sides.append(np.stack(made[::-1] if end else made))
        x = np.concatenate(sides, axis=2)
    return x


def test_weights_of_an_lstm_of_pytorch():
    random = np.random.default_rng(0)
    state = {
        f"{name}_l{layer}{end}": random.standard_normal((16, *inner))
        for layer, features in ((0, 3), (1, 8))
        for end in ("", "_reverse")
        for name, inner in (("weight_ih", (features,)), ("weight_hh", (4,)), ("bias_ih", ()), ("bias_hh", ()))
    }
    shuffled = {name: state[name] for name in sorted(state)}  # the order in the file does not matter
    rnn, x = M.LSTM(3, 4, num_layers=2, bidirectional=True), random.standard_normal((5, 2, 3))
    found = match(rnn, shuffled, strict=True, verbose=False)
    assert (found.missing, found.unused) == ([], [])
    truth = lstm_of_pytorch(x, state)
    np.testing.assert_allclose(rnn(Tensor(x, dtype="float32"))[0].numpy(), truth, rtol=1e-4, atol=1e-5)


def test_weights_of_recurrent_layers_inside_a_network():
    class Net(M.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.head = M.RNN(3, 4), M.Linear(4, 2)

        def forward(self, x):
            return self.head(self.encoder(x)[0])

    net, shapes = Net(), {"weight_ih": (4, 3), "weight_hh": (4, 4), "bias_ih": (4,), "bias_hh": (4,)}
    theirs = {f"module.rnn.{name}_l0": np.full(shape, i) for i, (name, shape) in enumerate(shapes.items())}
    theirs |= {"module.fc.weight": np.ones((2, 4)), "module.fc.bias": np.ones(2)}
    found = match(net, theirs, strict=True, verbose=False)
    assert [(mine, source) for mine, source, _, _ in found.rows] == [
        ("encoder._flatten_weights", "module.rnn._flatten_weights"),
        ("head.weight", "module.fc.weight"),
        ("head.bias", "module.fc.bias"),
    ]
    np.testing.assert_array_equal(net.encoder._flatten_weights.numpy().ravel(), np.repeat([0, 1, 2, 3], [12, 16, 4, 4]))


def test_a_gru_of_pytorch_goes_nowhere():
    theirs = {"gru.weight_ih_l0": np.ones((12, 3)), "gru.weight_hh_l0": np.ones((12, 4)), "fc.bias": np.ones(2)}
    theirs["fc.weight"] = np.ones((2, 2))
    found = match(M.Sequential(M.Linear(2, 2), M.LSTM(3, 4)), theirs, verbose=False)
    assert found.unused == ["gru.weight_ih_l0", "gru.weight_hh_l0"]


def attention_of_pytorch(x, state, heads):
    """The output by the formulas of PyTorch's MultiheadAttention, of x (N, L, E) on itself."""

    def split(y):
        return y.reshape(*y.shape[:2], heads, -1).transpose(0, 2, 1, 3)

    one = state.get("in_proj_weight")
    weights = [state[f"{part}_proj_weight"] for part in "qkv"] if one is None else np.split(one, 3)
    biases = np.split(state.get("in_proj_bias", np.zeros(3 * x.shape[2])), 3)
    q, k, v = (split(x @ w.T + b) for w, b in zip(weights, biases, strict=True))
    scores = q @ k.swapaxes(2, 3) / np.sqrt(q.shape[3])
    chances = np.exp(scores) / np.exp(scores).sum(3, keepdims=True)
    y = (chances @ v).transpose(0, 2, 1, 3).reshape(x.shape)
    return y @ state["out_proj.weight"].T + state.get("out_proj.bias", 0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("parts", [["in"], ["q", "k", "v"]])
def test_weights_of_an_attention_of_pytorch(parts, bias):
    random = np.random.default_rng(0)
    state = {f"{part}_proj_weight": random.standard_normal((24 // len(parts), 8)) for part in parts}
    state |= {"in_proj_bias": random.standard_normal(24)} if bias else {}
    state |= {"out_proj.weight": random.standard_normal((8, 8))}
    state |= {"out_proj.bias": random.standard_normal(8)} if bias else {}
    layer, x = M.MultiHeadAttention(8, 2, bias=bias), random.standard_normal((2, 5, 8))
    found = match(layer, state, strict=True, verbose=False)
    assert (found.missing, found.unused) == ([], [])
    given = Tensor(x, dtype="float32")
    truth = attention_of_pytorch(x, state, heads=2)
    np.testing.assert_allclose(layer(given, given, given)[0].numpy(), truth, rtol=1e-4, atol=1e-5)


def test_weights_of_attention_with_rows_of_its_own():
    state = {
        "a.in_proj_weight": np.ones((12, 4)),
        "a.out_proj.weight": np.ones((4, 4)),
        "a.bias_k": np.full((1, 1, 4), 2.0),
    }
    state |= {"a.bias_v": np.full((1, 1, 4), 3.0), "a.in_proj_bias": np.zeros(12), "a.out_proj.bias": np.zeros(4)}
    net = M.Sequential(M.MultiHeadAttention(4, 2, add_bias_kv=True))
    match(net, state, strict=True, verbose=False)
    assert net[0].bias_k.tolist() == [[[2.0] * 4]] and net[0].bias_v.tolist() == [[[3.0] * 4]]


def test_attention_that_keeps_the_parameters_of_pytorch():
    """A network that splits the product itself gets `in_proj_weight` as it is."""

    class Net(M.Module):
        def __init__(self):
            super().__init__()
            self.in_proj_weight, self.out_proj = (
                tengen.Parameter(np.zeros((12, 4), np.float32)),
                M.Linear(4, 4, bias=False),
            )

        def forward(self, x):
            return x

    state = {"in_proj_weight": np.ones((12, 4)), "out_proj.weight": np.ones((4, 4))}
    net = Net()
    found = match(net, state, strict=True, verbose=False)
    assert found.unused == [] and net.in_proj_weight.numpy().all()
