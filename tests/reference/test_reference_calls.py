"""Every call of the inventory's names gives with tengen what it gave with the reference; README.md says how that was recorded."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import calls
import numpy as np
import pytest
import replay

from tengen.base.missing import planned

# What no call of a few words can show: servers, downloads, files that are written, the runtime's own.
UNCALLED = {
    f"{module}.{name}"
    for module, names in {
        "tengen": "check_misc enable_debug_log set_log_file",
        "tengen.distributed": "Client Server get_mm_server_addr get_py_server_addr group_end group_start init_process_group launcher "
        "override_backend synchronized",
        "tengen.functional.distributed": "collective_comm remote_recv remote_send",
        "tengen.functional.inplace": "InplaceAdd apply",
        "tengen.hub": "help import_module list load_serialized_obj_from_url pretrained",
        "tengen.jit": "xla_trace",
        "tengen.utils.hook": "HookHandler",
        "tengen.utils.module_stats": "enable_receptive_field module_stats print_op_stats print_param_stats sum_op_stats sum_param_stats",
        "tengen.utils.naming": "AutoNaming record_scope",
        "tengen.utils.profiler": "Profiler profile",
        "tengen.utils.tensor_sanity_check": "TensorSanityCheckImpl sync",
    }.items()
    for name in names.split()
}

# The kind of a device that is not there needs no name.
OTHER_SIGNATURES = {
    f"tengen{place}.{name}"
    for place in ("", ".device")
    for name in ("get_cuda_compute_capability", "get_cuda_device_property", "set_prealloc_config")
}

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def exists(name: str) -> bool:
    """Whether tengen has a name of the inventory by now."""
    module, _, last = name.rpartition(".")
    try:
        return hasattr(import_module(module), last)
    except ModuleNotFoundError:
        return False


RECORDED = {family: replay.recorded(family) for family in calls.FAMILIES}
ROWS = {row.text: row for family in calls.FAMILIES for row in calls.rows(family)}
MISSING = {name for text in ROWS for name in calls.called(text) if not exists(name)}
PRESENT = [
    pytest.param(ROWS[text], expected, id=f"{family}-{number}")
    for family, recorded in RECORDED.items()
    for number, (text, expected) in enumerate(recorded)
    if text in ROWS and not calls.called(text) & MISSING
]


@pytest.mark.parametrize("family", calls.FAMILIES)
def test_the_recording_is_of_the_calls(family: str) -> None:
    assert [text for text, _ in RECORDED[family]] == [row.text for row in calls.rows(family)]


def test_what_is_missing_is_planned() -> None:
    """The calls of names that tengen does not have yet wait for them; the list shrinks by itself."""
    waiting = {f"{module}.{name}".strip(".") for module, names in planned().items() for name in names}
    plain = {name.partition(".")[2] for name in MISSING}
    assert not {name for name in plain if not any(f"{name}.".startswith(f"{other}.") for other in waiting)}


# What takes no part in the calls: ops have compat.txt, layers of quantisation programs/quantization.txt and tests/quantization, where they
# have operands that a call has not.
NOT_CALLED = ("quantization", "quantized", "qat", "external", "traced_module")


def test_the_inventory_is_called() -> None:
    """Each class and function is called by a row or a program, under some of the modules that it stands in."""
    programs = [program for family in replay.FAMILIES for program in replay.programs(family)]
    named = {name.rpartition(".")[2] for text in [*ROWS, *programs] for name in calls.called(text)}
    uncalled = {
        f"{module}.{name}"
        for module, names in calls.INVENTORY.items()
        for name, what in names.items()
        if what["kind"] in ("class", "function") and name not in named
        if not any(part in module.split(".") for part in NOT_CALLED) and module != "tengen.core.ops.builtin"
    }
    assert len(ROWS) > 900
    assert uncalled == UNCALLED


@pytest.mark.parametrize("module", calls.INVENTORY)
def test_signatures(module: str) -> None:
    """Each parameter of the inventory is there, in its place, or passed on by `**`."""
    wrong = {}
    for name, what in calls.INVENTORY[module].items():
        if what["kind"] not in ("class", "function") or not what.get("signature") or not exists(f"{module}.{name}"):
            continue
        found = inspect.signature(getattr(import_module(module), name)).parameters
        if any(p.kind is p.VAR_KEYWORD for p in found.values()) or f"{module}.{name}" in OTHER_SIGNATURES:
            continue
        wanted = calls.parameters(what["signature"])
        if [p for p in found if p in wanted] != wanted:
            wrong[name] = f"{list(found)} instead of {wanted}"
    assert not wrong


def test_members() -> None:
    """Each method and property of the inventory's classes is there, but for those that only the reference's own code uses."""
    lacking = {
        f"{name}.{member}"
        for module, names in calls.INVENTORY.items()
        for name, what in names.items()
        if what["kind"] == "class" and module != "tengen.core.ops.builtin" and exists(f"{module}.{name}")
        for member in what.get("members") or ()
        if not hasattr(getattr(import_module(module), name), member)
    }
    tensors = {f"{kind}.{name}" for kind in ("Tensor", "Parameter", "tensor") for name in calls.TENSOR_INTERNALS}
    traces = {
        name for name in lacking if name.partition(".")[0] in ("trace", "xla_trace")
    }  # how it records: no method there is public
    assert lacking - tensors - traces <= {
        "CIFAR10.process", "CIFAR10.untar", "CIFAR100.process", "CIFAR100.untar", "ImageNet.check_raw_file",
        "ConvTranspose2d.output_padding", "ConvTransposeRelu2d.output_padding", "ConvTranspose3d.output_padding",
        "ConvTransposeBn2d.output_padding", "ConvTransposeBnRelu2d.output_padding",
    }  # fmt: skip


@pytest.mark.parametrize(("row", "expected"), PRESENT)
def test_call(row: calls.Row, expected: Any, names: dict[str, Any]) -> None:
    found = calls.judge(row, expected, names)
    assert found is None, f"{row.text}\n{found}"


def test_a_wrong_value_gradient_or_error_is_seen(names: dict[str, Any]) -> None:
    text = "F.exp(X(2, 3))"
    good = calls.outcome(text, names)
    assert calls.judge(calls.Row(text), good, names) is None
    for part in ("value", "gradients"):
        wrong = {**good, part: calls.outcome("F.sin(X(2, 3))", names)[part]}
        assert calls.judge(calls.Row(text), wrong, names) is not None
    assert calls.judge(calls.Row(text), {"raises": "ValueError"}, names) is not None
    assert calls.judge(calls.Row("F.exp()"), good, names) is not None
    right = calls.Row(text, "because", "np.exp(X(2, 3).numpy())")
    assert calls.judge(right, {"raises": "ValueError"}, names) is None
    assert calls.judge(right._replace(right="np.sin(X(2, 3).numpy())"), good, names) is not None
    assert np.isfinite(good["value"]["Tensor"]["values"]).all()
