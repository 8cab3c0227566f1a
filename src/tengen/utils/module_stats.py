"""Statistics of a network: parameters, operations, activations, receptive fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .. import module as M
from ..core import Tensor
from ..logger import get_logger
from ..module import Module
from . import flops
from .table import table

__all__ = [
    "disable_receptive_field",
    "enable_receptive_field",
    "get_activation_stats",
    "get_op_stats",
    "get_param_stats",
    "module_stats",
    "print_activations_stats",
    "print_op_stats",
    "print_param_stats",
    "print_summary",
    "register_flops",
    "register_receptive_field",
    "sizeof_fmt",
    "sum_activations_stats",
    "sum_op_stats",
    "sum_param_stats",
]

_logger = get_logger(__name__)
Row = dict[str, Any]
Count = Callable[[Any, Sequence[Tensor], Sequence[Tensor]], float]


class total_stats(NamedTuple):
    """Sums over a network: bytes and numbers of parameters, operations, bytes and numbers of activations."""

    param_size: int
    param_dims: int
    flops: int
    act_size: int
    act_dims: int


class stats(NamedTuple):
    """A row for each parameter, for each layer, and for each layer's output."""

    params: list[Row]
    flops: list[Row]
    activations: list[Row]


# -- what a layer costs ----------------------------------------------------------------------------------------

_FLOPS: dict[type[Module], Count] = {}
_RECEPTIVE: dict[type[Module], Callable[[Any], tuple[Any, Any]]] = {}
_receptive_field = False


def register_flops(*modules: type[Module]) -> Callable[[Count], Count]:
    """Decorates a function of (module, inputs, outputs) that returns the operations of layers of these classes and their subclasses.

    >>> @register_flops(M.Softmax)
    ... def softmax_flops(module, inputs, outputs):
    ...     return 5 * inputs[0].size
    >>> get_op_stats(M.Softmax(axis=1), [tengen.tensor([[1.0, 2.0]])], [tengen.tensor([[0.3, 0.7]])])["flops_num"]
    10
    """

    def register(count: Count) -> Count:
        _FLOPS.update(dict.fromkeys(modules, count))
        return count

    return register


def register_receptive_field(*modules: type[Module]) -> Callable[[Any], Any]:
    """Decorates a function of a module that returns its window size and stride, each (height, width)."""

    def register(window: Any) -> Any:
        _RECEPTIVE.update(dict.fromkeys(modules, window))
        return window

    return register


def enable_receptive_field() -> None:
    """Make `module_stats` report receptive fields too."""
    global _receptive_field
    _receptive_field = True


def disable_receptive_field() -> None:
    """Make `module_stats` leave receptive fields out, which is the default."""
    global _receptive_field
    _receptive_field = False


def _registered(table_of: Mapping[type[Module], Any], module: Module) -> Any:
    return next((table_of[kind] for kind in type(module).__mro__ if kind in table_of), None)


def _layers(*names: str) -> tuple[type[Module], ...]:
    return tuple(getattr(M, name) for name in names if hasattr(M, name))


@register_flops(*_layers("Conv1d", "Conv2d", "Conv3d", "LocalConv2d", "DeformableConv2d"))
def _conv(module: Any, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> int:
    window = prod(module._numbers("kernel_size")) * module.in_channels // module.groups
    return flops.convolution(outputs[0].size, window, getattr(module, "bias", None) is not None)


@register_flops(*_layers("ConvTranspose2d", "ConvTranspose3d"))
def _conv_transpose(module: Any, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> int:
    window = prod(module._numbers("kernel_size")) * module.out_channels // module.groups
    return flops.transposed_convolution(inputs[0].size, window, outputs[0].size, module.bias is not None)


@register_flops(*_layers("BatchNorm1d", "BatchNorm2d", "SyncBatchNorm", "GroupNorm", "LayerNorm", "InstanceNorm"))
def _norm(module: Any, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> int:
    return flops.normalization(inputs[0].size)


@register_flops(*_layers("AvgPool2d", "MaxPool2d"))
def _pool(module: Any, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> int:
    return flops.pooling(outputs[0].size, _pair(module.kernel_size))


# MegEngine counts one operation for each output here, however large its window is.
@register_flops(*_layers("AdaptiveAvgPool2d", "AdaptiveMaxPool2d"))
def _adaptive_pool(module: Any, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> int:
    return flops.adaptive_pooling(outputs[0].size, tuple(inputs[0].shape)[2:], tuple(outputs[0].shape)[2:])


@register_flops(M.Linear)
def _linear(module: Any, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> int:
    return flops.linear(outputs[0].size, module.in_features, module.bias.size if module.bias is not None else 0)


@register_flops(*_layers("BatchMatMulActivation"))
def _batch_matmul(module: Any, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> int:
    return flops.linear(outputs[0].size, module.weight.shape[-1], 0)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


@register_receptive_field(*_layers("Conv2d"))
def _conv_window(module: Any) -> tuple[Any, Any]:
    spans = zip(_pair(module.kernel_size), _pair(module.dilation), strict=True)
    return tuple((kernel - 1) * dilation + 1 for kernel, dilation in spans), _pair(module.stride)


@register_receptive_field(*_layers("AvgPool2d", "MaxPool2d"))
def _pool_window(module: Any) -> tuple[Any, Any]:
    return _pair(module.kernel_size), _pair(module.stride or module.kernel_size)


# -- rows ------------------------------------------------------------------------------------------------------


def sizeof_fmt(num: float, suffix: str = "B") -> str:
    """Format a number for people: in units of 1024 for bytes (suffix "B"), of 1000 for all else.

    >>> sizeof_fmt(1536), sizeof_fmt(1500, suffix="OPs"), sizeof_fmt(12, suffix="")
    ('1.500 KiB', '1.500 KOPs', '12.000')
    """
    scale, binary = (1024.0, "i") if suffix == "B" else (1000.0, "")
    units = ["", "K", "M", "G", "T", "P", "E", "Z"]
    while abs(num) >= scale and len(units) > 1:
        num /= scale
        units.pop(0)
    unit = units[0] + binary if units[0] else ""
    return f"{num:3.3f} {unit}{suffix}".rstrip()


def _bits(tensor: Tensor) -> int:
    return tensor.desc.itemsize * 8


def get_param_stats(param: Tensor) -> Row:
    """The row of a parameter: dtype, shape, mean, standard deviation, number of elements and bytes."""
    array = np.asarray(param.numpy(), np.float64)
    mean, std = (f"{value:.3g}" for value in ((array.mean(), array.std()) if array.size else (0, 0)))
    row = {"dtype": param.dtype, "shape": tuple(param.shape), "mean": mean, "std": std}
    return row | {"param_dim": param.size, "nbits": _bits(param), "size": param.size * _bits(param) // 8}


def get_op_stats(module: Module, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Row | None:
    """The row of a layer: shapes and operations; None for a class without a `register_flops` function."""
    count = _registered(_FLOPS, module)
    if count is None:
        return None
    shapes = {
        f"{what}_shapes": [tuple(x.shape) for x in tensors]
        for what, tensors in (("input", inputs), ("output", outputs))
    }
    return shapes | {"flops_num": count(module, inputs, outputs)}


def get_activation_stats(output: Tensor, has_input: bool = False) -> Row:
    """The row of an output: dtype, shape, number of elements and bytes; with `has_input`, mean and standard deviation."""
    row: Row = {"dtype": output.dtype, "shape": tuple(output.shape)}
    if has_input:
        array = np.asarray(output.numpy(), np.float64)
        row |= {"mean": f"{array.mean():.3g}", "std": f"{array.std():.3g}"}
    return row | {"act_dim": output.size, "nbits": _bits(output), "size": output.size * _bits(output) // 8}


def _sum(rows: list[Row], key: str, bar: str, length: int, suffix: str, into: str) -> int:
    """Add to each row its share of the sum of `key`, as numbers and as a bar."""
    whole, so_far = sum(row[key] for row in rows), 0
    largest = max((row[key] for row in rows), default=0)
    for row in rows:
        number = row[key]
        so_far += number
        row[f"{into}_cum"] = sizeof_fmt(so_far, suffix=suffix)
        row["ratio"] = number / whole if whole else 0.0
        row["percentage"] = f"{row['ratio'] * 100:.2f}%"
        row[bar] = "#" * int(number / largest * length) if largest else ""
        row[into] = sizeof_fmt(number, suffix=suffix)
    return int(whole)


def sum_param_stats(params: list[Row], bar_length_max: int = 20) -> tuple[int, int, list[Row]]:
    """(elements, bytes, rows) of all parameters; the rows get shares, and one more with the sums."""
    dims = sum(row["param_dim"] for row in params)
    size = _sum(params, "size", "size_bar", bar_length_max, "B", "size")
    params.append({"name": "total", "param_dim": dims, "size": sizeof_fmt(size)})
    return dims, size, params


def sum_op_stats(flops: list[Row], bar_length_max: int = 20) -> tuple[int, list[Row]]:
    """(operations, rows) of all layers; the rows get shares, and one more with the sums."""
    total = _sum(flops, "flops_num", "bar", bar_length_max, "OPs", "flops")
    flops.append({"name": "total", "flops": sizeof_fmt(total, suffix="OPs")})
    return total, flops


def sum_activations_stats(activations: list[Row], bar_length_max: int = 20) -> tuple[int, int, list[Row]]:
    """(elements, bytes, rows) of all outputs; the rows get shares, and one more with the sums."""
    dims = sum(row["act_dim"] for row in activations)
    size = _sum(activations, "size", "size_bar", bar_length_max, "B", "size")
    activations.append({"name": "total", "act_dim": dims, "size": sizeof_fmt(size)})
    return dims, size, activations


# -- tables ----------------------------------------------------------------------------------------------------


def _print(title: str, rows: Sequence[Row], columns: str) -> None:
    known = [column for column in columns.split() if any(column in row for row in rows)]
    _logger.info("%s:\n%s", title, table(known, [[row.get(column, "") for column in known] for row in rows]))


def print_param_stats(params: Sequence[Row]) -> None:
    """Log the rows of parameters as a table."""
    _print("param stats", params, "name dtype shape mean std param_dim nbits size size_cum percentage size_bar")


def print_op_stats(flops: Sequence[Row]) -> None:
    """Log the rows of layers as a table."""
    columns = "name class_name input_shapes output_shapes flops flops_cum percentage bar receptive_field stride"
    _print("flops stats", flops, columns)


def print_activations_stats(activations: Sequence[Row], has_input: bool = False) -> None:
    """Log the rows of outputs as a table; `has_input` has no effect: columns without entries are left out."""
    columns = "name class_name dtype shape mean std nbits act_dim size size_cum percentage size_bar"
    _print("activations stats", activations, columns)


def print_summary(**kwargs: Any) -> None:
    """Log names and values as a table."""
    _logger.info("summary\n%s", table(("item", "value"), list(kwargs.items())))


# -- a network -------------------------------------------------------------------------------------------------


def module_stats(
    model: Module,
    inputs: Any = None,
    input_shapes: Any = None,
    cal_params: bool = True,
    cal_flops: bool = True,
    cal_activations: bool = True,
    logging_to_stdout: bool = True,
    bar_length_max: int = 20,
) -> tuple[total_stats, stats]:
    """Count parameters, operations and activations in one run of a network in evaluation mode, and log them as tables.

    A multiplication and the addition that follows it count as one operation. Layers with a rule (`register_flops`) are listed;
    functions between layers are not.

    Args:
        model: the network; its mode is restored afterwards.
        inputs: the arguments: an array or tensor, or a list, tuple or dict (keyword arguments) of them.
        input_shapes: instead, the shape of the argument, or a list of shapes, for random numbers.
        cal_params, cal_flops, cal_activations: what to count.
        logging_to_stdout: log the rows; the summary is always logged.
        bar_length_max: the length of the longest bar in the tables.

    Returns (sums, rows). Raises ValueError unless exactly one of `inputs` and `input_shapes` is given.

    >>> total, rows = module_stats(M.Sequential(M.Linear(3, 4), M.Linear(4, 2)), input_shapes=(1, 3), logging_to_stdout=False)
    >>> total.param_dims, total.flops, rows.flops[0]["output_shapes"]
    (26, 26, [(1, 4)])
    """
    given, keywords = arguments(inputs, input_shapes)
    params = [{**get_param_stats(parameter), "name": _short(name)} for name, parameter in model.named_parameters()]
    watch = _Watch(has_input=inputs is not None)
    with evaluating(model), watch.hooked(model):
        model(*given, **keywords)
    found = stats(params, watch.flops, watch.activations)
    total = total_stats(0, 0, 0, 0, 0)
    summary: dict[str, Any] = {"#params": len(params)}
    if cal_params:
        dims, size, _ = sum_param_stats(params, bar_length_max)
        total = total._replace(param_dims=dims, param_size=size)
        summary |= {"total_param_dims": sizeof_fmt(dims, suffix=""), "total_param_size": sizeof_fmt(size)}
    if cal_flops:
        total = total._replace(flops=sum_op_stats(watch.flops, bar_length_max)[0])
        summary["total_flops"] = sizeof_fmt(total.flops, suffix="OPs")
    if cal_activations:
        dims, size, _ = sum_activations_stats(watch.activations, bar_length_max)
        total = total._replace(act_dims=dims, act_size=size)
        summary |= {"total_act_dims": sizeof_fmt(dims, suffix=""), "total_act_size": sizeof_fmt(size)}
    if total.flops and total.param_size:
        summary["flops/param_size"] = f"{total.flops / total.param_size:3.3f}"
    for wanted, show, rows in (
        (cal_params, print_param_stats, params),
        (cal_flops, print_op_stats, watch.flops),
        (cal_activations, print_activations_stats, watch.activations),
    ):
        if wanted and logging_to_stdout:
            show(rows)
    print_summary(**summary)
    return total, found


def _short(name: str) -> str:
    parent, _, leaf = name.rpartition(".")
    return f"{parent}-{ {'weight': 'w', 'bias': 'b'}.get(leaf, leaf) }"


def arguments(inputs: Any, shapes: Any, caller: str = "module_stats") -> tuple[list[Any], dict[str, Any]]:
    if (inputs is None) == (shapes is None):
        raise ValueError(f"{caller} takes inputs, or input_shapes to make random ones of: give one of them")
    if shapes is not None:
        one = len(shapes) == 0 or isinstance(shapes[0], (int, np.integer))
        rng = np.random.default_rng(0)
        return [Tensor(rng.random(tuple(shape), np.float32)) for shape in ([shapes] if one else shapes)], {}
    if isinstance(inputs, dict):
        return [], {name: _tensor(value) for name, value in inputs.items()}
    return [_tensor(value) for value in (inputs if isinstance(inputs, (list, tuple)) else [inputs])], {}


def _tensor(value: Any) -> Any:
    return Tensor(value) if isinstance(value, (np.ndarray, np.generic)) else value


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Run a block in evaluation mode, then restore the mode of each module."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


class _Watch:
    """Rows of what the layers of a network do."""

    def __init__(self, has_input: bool):
        self.flops: list[Row] = []
        self.activations: list[Row] = []
        self._has_input = has_input
        self._fields: list[tuple[Tensor, Any, Any]] = []  # outputs of layers: tensor, receptive field, stride

    @contextmanager
    def hooked(self, model: Module) -> Iterator[None]:
        handles = [
            module.register_forward_hook(self._hook(name))
            for name, module in model.named_modules()
            if _registered(_FLOPS, module) is not None
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str) -> Callable[..., None]:
        def see(module: Module, inputs: Any, outputs: Any) -> None:
            given = [x for x in inputs if isinstance(x, Tensor)]
            made = [y for y in (outputs if isinstance(outputs, (list, tuple)) else [outputs]) if isinstance(y, Tensor)]
            known = {"name": name, "class_name": type(module).__name__}
            row = get_op_stats(module, given, made)
            if row is not None and made:
                field = self._field(module, given, made) if _receptive_field else {}
                self.flops.append({**row, **known, **field})
                self.activations.append({**get_activation_stats(made[0], self._has_input), **known})

        return see

    def _field(self, module: Module, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Row:
        """The receptive field after a layer, in pixels of the network's input. Source: Araujo, Norris and Sim 2019.

        Functions between layers are not seen: an input that no layer computed counts as the last output with its height and width.
        """
        before = next(
            ((field, stride) for x in inputs for tensor, field, stride in reversed(self._fields)
             if tensor is x or tuple(tensor.shape)[2:] == tuple(x.shape)[2:]),
            ((1, 1), (1, 1)),
        )  # fmt: skip
        window = _registered(_RECEPTIVE, module)
        span, step = window(module) if window is not None else ((1, 1), (1, 1))
        field = tuple(f + (k - 1) * s for f, s, k in zip(*before, span, strict=True))
        stride = tuple(s * t for s, t in zip(before[1], step, strict=True))
        self._fields += [(output, field, stride) for output in outputs]
        return {"receptive_field": field, "stride": stride}
