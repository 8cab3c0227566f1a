"""Names that users expect and that are not there: of PyTorch, of MegEngine but not here yet, of another module."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import pydoc
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import tengen
import tengen.data
import tengen.distributed
import tengen.functional as F
import tengen.module as M
import tengen.optimizer as optim
from tengen import Parameter, Tensor
from tengen.base import habits, missing

TOOL = Path(__file__).resolve().parents[2] / "tools" / "list_planned.py"
HABITS = [*habits.TENSOR.values(), *habits.PACKAGE.values(), *habits.MODULE.values()]


def message(owner: object, name: str) -> str:
    with pytest.raises(AttributeError) as caught:
        getattr(owner, name)
    return str(caught.value)


# -- of a tensor -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("backward", "gm.backward(loss)"),
        ("view", "x.reshape(shape)"),
        ("permute", "x.transpose(2, 0, 1)"),
        ("unsqueeze", "F.expand_dims(x, axis)"),
        ("squeeze", "tengen.functional.squeeze(x)"),
        ("cuda", 'x.to("cpu0")'),
        ("requires_grad", "GradManager.attach()"),
        ("requires_grad_", "GradManager.attach()"),
        ("data", "x.set_value(v)"),
        ("clone", "F.copy(x)"),
        ("contiguous", "leave it out"),
        ("expand", "F.broadcast_to(x, shape)"),
        ("float", 'x.astype("float32")'),
        ("long", 'x.astype("int32")'),
        ("type", "x.astype(dtype)"),
        ("dim", "x.ndim"),
        ("numel", "x.size"),
        ("t", "x.T"),
        ("mm", "F.matmul(x, y)"),
        ("matmul", "tengen.functional.matmul(x)"),
        ("argmax", "tengen.functional.argmax(x)"),
        ("exp", "tengen.functional.exp(x)"),
        ("repeat", "F.tile(x, reps)"),
    ],
)
@pytest.mark.parametrize("kind", [Tensor, Parameter])
def test_a_tensor_says_how_the_names_of_pytorch_are_said_here(kind, name, way):
    said = message(kind([1.0, 2.0]), name)
    assert said.startswith(f"{kind.__name__!r} object has no attribute {name!r}; ")
    assert way in said
    assert "\n" not in said


def test_the_package_says_where_exports_and_profiles_are():
    assert 'dump("net.onnx"' in message(tengen, "onnx")
    assert "tengen.utils.profiler.Profiler" in message(tengen, "profiler")
    assert "tensorboardX" in message(tengen.utils, "tensorboard")


def test_a_name_that_nobody_knows_gets_the_usual_message():
    assert message(Tensor(1.0), "viewx") == "'Tensor' object has no attribute 'viewx'"


def test_such_names_are_not_there():
    x = Tensor([1.0, 2.0])
    for name in [*habits.TENSOR, "exp", "argmax"]:
        assert not hasattr(x, name)
        assert not hasattr(Tensor, name)
        assert getattr(x, name, 3) == 3
    assert not {"view", "exp", "requires_grad"} & set(dir(x))
    assert {"reshape", "shape", "numpy", "_name"} <= set(dir(Tensor(1.0, name="x")))
    assert not {"view", "exp"} & {name for name, _ in inspect.getmembers(x)}


def test_a_subclass_and_a_program_may_use_them():
    class Image(Tensor):
        def view(self) -> str:
            return "seen"

        def __getattr__(self, name: str) -> str:
            return f"own {name}"

    image = Image([1.0])
    assert image.view() == "seen"
    assert image.permute == "own permute"
    assert "view" in dir(image)
    image.data = 5
    assert image.data == 5
    assert "data" in dir(image)


def test_requires_grad_cannot_be_set_for_nothing():
    parameter = Parameter([1.0])
    with pytest.raises(AttributeError, match=r"GradManager\.attach\(\)"):
        parameter.requires_grad = False
    assert not vars(parameter)


def test_copies_pickles_and_numpy_go_on():
    x = Tensor([1.0, 2.0])
    for made in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x)), np.asarray(x)):
        np.testing.assert_array_equal(np.asarray(made), [1.0, 2.0])


# -- of a network ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(habits.MODULE))
def test_a_network_says_how_the_names_of_pytorch_are_said_here(name):
    net = M.Linear(2, 2)
    assert habits.MODULE[name] in message(net, name)
    assert not hasattr(net, name)


def test_casting_a_network_as_it_is_said():
    net = M.Linear(2, 2)
    x = Tensor([[1.0, 2.0]], dtype="float64")
    exec(habits.MODULE["double"], {"net": net})
    assert net(x).dtype == "float64"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: M.ReLU(inplace=True),
            "ReLU() got an unexpected keyword argument 'inplace'; PyTorch's, in tengen: leave it out",
        ),
        (lambda: M.LeakyReLU(0.1, inplace=True), "LeakyReLU() got an unexpected keyword argument 'inplace'"),
        (lambda: M.Softmax(dim=1), "Softmax() got an unexpected keyword argument 'dim'; PyTorch's, in tengen: axis"),
        (lambda: M.Dropout(p=0.5), "Dropout() got an unexpected keyword argument 'p'; PyTorch's, in tengen: drop_prob"),
        (
            lambda: M.MultiHeadAttention(8, 2, batch_first=True),
            "MultiHeadAttention() got an unexpected keyword argument 'batch_first'; PyTorch's, in tengen: leave it out",
        ),
        (lambda: M.ConvBn2d(1, 2, 3, device="cpu0"), "ConvBn2d() got an unexpected keyword argument 'device'"),
    ],
)
def test_a_layer_says_how_the_arguments_of_pytorch_are_said_here(call, said):
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value).startswith(said)


def test_optimizers_and_schedulers_say_so_too():
    adam = optim.Adam([Parameter([1.0])], lr=0.5)
    with pytest.raises(TypeError, match=r"^AdamW\(\) got .* 'fused'; PyTorch's, in tengen: leave it out"):
        optim.AdamW([Parameter([1.0])], lr=0.1, fused=True)
    with pytest.raises(TypeError, match="'last_epoch'; PyTorch's, in tengen: current_epoch"):
        optim.MultiStepLR(adam, [1], last_epoch=-1)
    scheduler = optim.MultiStepLR(adam, [1], gamma=0.1)
    assert 'group["lr"] for group in optimizer.param_groups' in message(scheduler, "get_last_lr")
    assert list(inspect.signature(optim.MultiStepLR).parameters) == [
        "optimizer",
        "milestones",
        "gamma",
        "current_epoch",
    ]
    scheduler.load_state_dict(scheduler.state_dict())
    assert copy.copy(scheduler).milestones == [1]


def test_a_data_loader_says_that_batches_are_the_samplers():
    with pytest.raises(TypeError, match=r"DataLoader\(\) got .* 'shuffle'; .*RandomSampler\(data, batch_size=32"):
        tengen.data.DataLoader([1, 2, 3], shuffle=True)
    with pytest.raises(TypeError, match="in tengen: collator"):
        tengen.data.DataLoader([1, 2, 3], collate_fn=list)
    assert list(inspect.signature(tengen.data.DataLoader).parameters)[:2] == ["dataset", "sampler"]
    assert pickle.loads(pickle.dumps(tengen.data.DataLoader([1, 2, 3]))).dataset == [1, 2, 3]


def test_a_class_of_the_program_may_take_them():
    class Net(M.Module):
        def __init__(self, dim: int, *, p: float = 0.5):
            super().__init__()
            self.taken = dim, p

        def forward(self, x):
            return x

    assert Net(dim=3, p=0.1).taken == (3, 0.1)
    assert copy.deepcopy(Net(2)).taken == (2, 0.5)
    assert pickle.loads(pickle.dumps(M.Linear(2, 3, name="a"))).name == "a"
    assert str(inspect.signature(Net)) == "(dim: 'int', *, p: 'float' = 0.5)"
    assert list(inspect.signature(M.Linear).parameters) == [
        "in_features",
        "out_features",
        "bias",
        "compute_mode",
        "name",
    ]
    assert not hasattr(Net(1), "__signature__")
    with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
        Net(1, other=2)


# -- of modules --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "name", "way"),
    [
        (tengen, "no_grad", "nothing is recorded outside of `with gm:`"),
        (tengen, "nn", "tengen.module for layers"),
        (tengen, "from_numpy", "tengen.Tensor(array)"),
        (tengen, "randn", "tengen.random.normal(size=shape)"),
        (tengen, "cat", "F.concat(tensors, axis)"),
        (tengen, "zeros", "it is tengen.functional.zeros"),
        (tengen, "trace", "it is tengen.jit.trace"),
        (tengen, "GradManager", "it is tengen.autodiff.GradManager"),
        (tengen, "Linear", "it is tengen.module.Linear"),
        (F, "cat", "F.concat(tensors, axis)"),
        (F, "relu_", "x = F.relu(x)"),
        (F, "log_softmax", "F.logsoftmax(x, axis)"),
        (F, "cross_entropy", "it is tengen.functional.loss.cross_entropy"),
        (F, "interpolate", "it is tengen.functional.vision.interpolate"),
        (F.nn, "mse_loss", "F.nn.square_loss(pred, label)"),
        (M, "CrossEntropyLoss", "F.nn.cross_entropy(pred, label)"),
        (M, "ModuleList", "a list that is an attribute"),
        (M, "Parameter", "tengen.Parameter"),
        (M.init, "kaiming_normal_", "msra_normal_"),
        (M, "GRU", "M.LSTM"),
        (M, "utils", "clip_grad_norm"),
        (tengen.optimizer, "CosineAnnealingLR", 'optimizer.param_groups[0]["lr"] = rate'),
        (tengen.optimizer.lr_scheduler, "StepLR", 'optimizer.param_groups[0]["lr"] = rate'),
        (tengen, "float", '"float32", as text'),
        (tengen, "cuda", "is_cuda_available()"),
        (tengen, "backends", "leave it out"),
        (M, "functional", "tengen.functional"),
        (M, "Flatten", "lambda x: F.flatten(x, 1)"),
        (M, "DataParallel", "make_allreduce_cb"),
        (tengen.data, "transforms", "tengen.data.transform"),
        (tengen.data.transform, "ToTensor", "ToMode()"),
        (tengen.data, "TensorDataset", "tengen.data.dataset.ArrayDataset(x, y)"),
        (tengen.data, "ArrayDataset", "it is tengen.data.dataset.ArrayDataset"),
        (tengen.data.dataset, "random_split", "a sampler with indices="),
        (M, "TransformerEncoderLayer", "M.MultiHeadAttention"),
        (M, "MultiheadAttention", "M.MultiHeadAttention(8, 2) for nn.MultiheadAttention(8, 2, batch_first=True)"),
        (F, "mish", "x * F.tanh(F.softplus(x)) for torch.nn.functional.mish(x)"),
        (tengen.data, "WeightedRandomSampler", "tengen.data.ReplacementSampler"),
    ],
)
def test_a_module_says_where_a_name_is(owner, name, way):
    said = message(owner, name)
    assert way in said
    assert f"module {owner.__name__!r} has no attribute {name!r}; " in said
    assert not hasattr(owner, name)
    assert name not in dir(owner)


@pytest.mark.parametrize(
    ("line", "way"),
    [
        ("from tengen.optimizer import CosineAnnealingLR", "PyTorch's, in tengen: optimizer.param_groups"),
        ("from tengen.data import DataLoader, random_split", "a sampler with indices="),
        ("from tengen.functional import cat as join", "F.concat(tensors, axis)"),
        ("from tengen.data import ArrayDataset", "it is tengen.data.dataset.ArrayDataset"),
    ],
)
def test_an_import_says_it_too(line, way):
    with pytest.raises(ImportError) as caught:
        exec(line, {})
    assert "cannot import name " in str(caught.value) and way in str(caught.value)


def test_all_calls_of_the_table_are_known():
    """But those that have no counterpart, and what several names have in common."""
    known = missing.pytorch()
    assert known["vstack"] == "F.concat([x, y], axis=0) for torch.vstack([x, y])"
    assert known["Dataset"] == "tengen.data.dataset.Dataset"
    assert len(known) > 250 and "GRU" not in known and "" not in known


def test_python_still_suggests_what_was_meant():
    with pytest.raises(AttributeError) as caught:
        F.relux  # noqa: B018
    assert (str(caught.value), caught.value.name, caught.value.obj) == (
        "module 'tengen.functional' has no attribute 'relux'",
        "relux",
        F,
    )


def test_a_part_that_is_not_imported_yet_is_named():
    code = "import tengen; tengen.data.DataLoader"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "module 'tengen' has no attribute 'data'; it is there after `import tengen.data`" in done.stderr


def test_what_is_said_exists():
    """Each name of tengen in the tables, such as F.concat."""
    names = {"F": F, "M": M, "tengen": tengen}
    said = {found for way in HABITS for found in re.findall(r"\b(?:F|M|tengen)(?:\.\w+)+", way)}
    assert len(said) > 30
    for path in said:
        owner, *parts = path.split(".")
        found: object = names[owner]
        for part in parts:
            found = getattr(found, part)
    methods = {found for way in HABITS for found in re.findall(r"\bx\.(\w+)", way)}
    assert {"reshape", "astype"} <= methods
    assert [name for name in methods if not hasattr(Tensor(1.0), name)] == []


# -- of MegEngine, not here yet ----------------------------------------------------------------------------------


def test_a_name_that_is_planned_says_so(monkeypatch):
    monkeypatch.setattr(missing, "planned", lambda: {"": frozenset({"not_yet"}), "functional": frozenset({"nor_this"})})
    version = tengen.__version__
    assert message(tengen, "not_yet") == f"tengen {version} does not have not_yet of MegEngine yet"
    assert message(F, "nor_this") == f"tengen {version} does not have functional.nor_this of MegEngine yet"


def test_names_that_are_planned_are_not_there():
    """If this fails because the name is there by now: run tools/list_planned.py again."""
    for module, names in missing.planned().items():
        owner = import_module(f"tengen.{module}".strip("."))
        assert not [name for name in names if hasattr(owner, name)]


def test_what_programs_written_for_megengine_alone_find_is_named():
    import tengen.core.ops.builtin as ops

    given = missing._givers()
    assert len(given) > 50
    for (module, name), package in given.items():
        assert not hasattr(import_module(f"tengen.{module}"), name)
        assert package == "tengen.compat.megengine"
    assert message(ops, "AddAxis").endswith("; MegEngine's, and there with `import tengen.compat.megengine`")


def test_what_is_missing_is_found():
    assert message(tengen, "nothing_like_it") == "module 'tengen' has no attribute 'nothing_like_it'"
    with pytest.raises(ImportError, match=r"cannot import name 'LSTM2' from 'tengen\.module'"):
        from tengen.module import LSTM2  # noqa: F401


def test_the_list_has_what_an_inventory_has_and_tengen_not(tmp_path):
    kind = {"kind": "function", "signature": "()"}
    inventory = {
        "tengen": {"Tensor": {"kind": "class"}, "not_yet": kind, "a_number": {"kind": "int"}},
        "tengen.functional": {"exp": kind, "never": kind, "none": kind},
        "tengen.lacking.part": {"of_it": kind},
    }
    (tmp_path / "inventory.json").write_text(json.dumps(inventory), encoding="utf-8")
    command = [sys.executable, str(TOOL), str(tmp_path / "inventory.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if not line.startswith("#")] == [
        ". lacking not_yet",
        "functional never none",
    ]


def test_import_does_not_read_the_list():
    code = "import tengen; from tengen.base import missing; print(missing.planned.cache_info().currsize)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def test_everything_is_still_imported_by_a_star():
    names: dict[str, object] = {}
    exec("from tengen.functional import *", names)
    assert set(F.__all__) <= set(names)


def test_help_shows_the_way():
    text = pydoc.plain(pydoc.render_doc(Tensor))
    assert "PyTorch's, in tengen: x.reshape(shape)" in text
