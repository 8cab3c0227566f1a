"""A network: the ops that compute its outputs."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, BinaryIO, NamedTuple

from ...base import device as devices
from ...base.files import append_whole, write_whole
from ...base.usage import warn
from ...compiler.program import Builder, Node, Value
from ...core import Tensor
from ...core.ops.base import sizes
from ...jit.called import Kept
from ...jit.dump_options import check_options
from ...jit.frozen import Frozen, freeze
from ...jit.loaded import tensor_of
from ...jit.program_file import load_program, save_program
from ..network_node import ConstOpBase, Host2DeviceCopy, ImmutableTensor, OpNode, VarNode, node_class
from .batch import Retyped
from .edges import dependencies, in_order
from .filters import NodeFilter, as_varnode

_symbolic_shape = False


def set_symbolic_shape(option: bool) -> bool:
    """Set whether shapes of VarNodes are symbolic. It has no effect: here they are numbers. Returns the previous setting."""
    global _symbolic_shape
    before, _symbolic_shape = _symbolic_shape, option
    return before


class CompGraphDumpResult(NamedTuple):
    """What `Network.dump` wrote: the number of ops, bytes of the file and of its weights, a checksum, names."""

    nr_opr: int
    tot_bytes: int
    tensor_value_bytes: int
    content_hash: int
    inputs: list[str]
    outputs: list[str]
    params: list[str]


class Network:
    """A recorded function as a graph that can be changed.

    Values are VarNodes. Functions and operators take them like tensors and add new ops. Nothing is computed
    before the network is written and loaded (`dump`, `jit.load` or `comp_graph_tools.GraphInference`).

    >>> import io
    >>> @tengen.jit.trace(without_host=True, capture_as_const=True)
    ... def double(x):
    ...     return x + x
    >>> _ = double(tengen.tensor([1.0, 2.0]))
    >>> file = io.BytesIO()
    >>> double.dump(file, arg_names=["x"], output_names=["y"])
    >>> net = Network.load(io.BytesIO(file.getvalue()))
    >>> y = net.get_var_by_name("y")
    >>> net.remove_output(y)
    >>> net.add_output(F.exp(y))
    >>> file = io.BytesIO()
    >>> net.dump(file).nr_opr
    2
    """

    def __init__(self) -> None:
        self._outputs: list[VarNode] = []
        self._arguments: list[VarNode] = []  # as the file has them
        self._metadata: dict[str, Any] = {}

    @classmethod
    def load(cls, model_path: str | os.PathLike[str] | BinaryIO, outspec: Sequence[str] | None = None) -> Network:
        """Load a network from a file that `dump` of a traced function or of a network wrote.

        Args:
            model_path: a path, or a binary file object.
            outspec: names of values to use as outputs in place of those of the file.

        Returns: the network.

        Raises:
            SerializationError: the file is damaged or was not written by tengen.
            ValueError: there is no value of a name in `outspec`.
        """
        function = load_program(model_path)
        net = cls()
        net._metadata = dict(function.metadata)
        net._outputs, net._arguments = _nodes(function)
        if outspec is not None:
            net._outputs = [net.get_var_by_name(name) for name in outspec]
        return net

    @property
    def metadata(self) -> dict[str, Any]:
        """What is stored with the network: `user_info`, and how the file was written."""
        return {"user_info": None, "graph_modified": False, "optimized_for_inference": False, **self._metadata}

    # -- what it consists of -----------------------------------------------------------------------------------

    @property
    def dest_vars(self) -> list[VarNode]:
        """The outputs."""
        return list(self._outputs)

    @property
    def arguments(self) -> list[VarNode]:
        """The arguments in order: those of the file, then new ones. Arguments that no output needs are left out."""
        needed = [op.outputs[0] for op in self.data_providers_filter]
        known = [v for v in self._arguments if v in needed]
        return [*known, *(v for v in needed if v not in known)]

    @property
    def all_oprs(self) -> list[OpNode]:
        """The ops, each after those that it reads; arguments and weights are among them. Raises ValueError if they form a cycle."""
        return in_order(self._outputs)

    @property
    def all_vars(self) -> list[VarNode]:
        """The values, from the outputs back."""
        return dependencies(self._outputs)

    @property
    def all_oprs_dict(self) -> dict[str, OpNode]:
        """The ops by name."""
        return self.opr_filter.as_dict()

    @property
    def all_vars_dict(self) -> dict[str, VarNode]:
        """The values by name."""
        return self.var_filter.as_dict()

    @property
    def opr_filter(self) -> NodeFilter:
        """A filter over all ops."""
        return NodeFilter(self.all_oprs)

    @property
    def var_filter(self) -> NodeFilter:
        """A filter over all values."""
        return NodeFilter(self.all_vars)

    @property
    def params_filter(self) -> NodeFilter:
        """A filter over the weights."""
        return self.opr_filter.param_provider()

    @property
    def data_providers_filter(self) -> NodeFilter:
        """A filter over the arguments."""
        return self.opr_filter.data_provider()

    def get_opr_by_type(self, oprcls: type, unique: bool = True) -> Any:
        """The op of a class; with unique=False a list of all. Raises ValueError if there is not exactly one."""
        return self._one(self.opr_filter.type(oprcls).as_list(), unique, f"op of type {oprcls.__name__}")

    def get_opr_by_name(self, name: str, unique: bool = True) -> Any:
        """The op with a name; see `get_opr_by_type`."""
        return self._one([op for op in self.all_oprs if op.name == name], unique, f"op named {name!r}")

    def get_var_by_name(self, name: str, unique: bool = True) -> Any:
        """The value with a name; see `get_opr_by_type`."""
        return self._one([var for var in self.all_vars if var.name == name], unique, f"value named {name!r}")

    def _one(self, found: list[Any], unique: bool, what: str) -> Any:
        if not unique:
            return found
        if len(found) != 1:
            there = (
                f"there is no {what}" if not found else f"there are {len(found)} of it: {found[:8]}; take unique=False"
            )
            raise ValueError(f"exactly one {what} is wanted, but {there}")
        return found[0]

    def get_var_receive_oprs(self, var: VarNode) -> list[OpNode]:
        """The ops that read a value."""
        return self.opr_filter.has_input(var).as_list()

    def get_dep_oprs(self, var: VarNode) -> list[OpNode]:
        """The ops that compute a value."""
        return in_order([as_varnode(var)])

    # -- changes -------------------------------------------------------------------------------------------------

    def make_const(self, data: Any, name: str | None = None, device: Any = None) -> VarNode:
        """Make a weight with this value; returns a VarNode."""
        return ImmutableTensor(data, name, device).outputs[0]

    def make_input_node(self, shape: Any, dtype: Any, name: str | None = None, device: Any = None) -> VarNode:
        """Make a new argument; returns a VarNode."""
        return Host2DeviceCopy(shape, dtype, name, device).outputs[0]

    def add_output(self, *vars: Any) -> None:
        """Make values outputs of the network."""
        new = [as_varnode(var) for var in vars]
        in_order(new)
        self._outputs += [var for var in dict.fromkeys(new) if var not in self._outputs]

    def remove_output(self, *vars: Any) -> None:
        """Remove values from the outputs. A warning names a value that is not an output."""
        for var in map(as_varnode, vars):
            if var in self._outputs:
                self._outputs.remove(var)
            else:
                warn(f"remove_output: {var.name} is not an output of the network; the outputs are {self._outputs}")

    def add_dep_oprs(self, *vars: Any) -> None:
        """Add the ops that compute some values to the network; they belong to it as soon as an output needs them."""
        in_order(map(as_varnode, vars))

    def replace_vars(self, repl_dict: dict[Any, Any]) -> None:
        """Make all ops that read one value read another. Outputs stay.

        Ops that compute the new values, and that were not in the network, still read the old ones.

        Args:
            repl_dict: {value: replacement}.

        Raises:
            ValueError: the ops would form a cycle, or one of them cannot take the new value; then nothing changes.
        """
        pairs = {as_varnode(old): as_varnode(new) for old, new in repl_dict.items()}
        self._change([(op, pairs) for op in self.all_oprs])

    def replace_oprs(self, repl_dict: dict[Any, Any]) -> None:
        """Make all ops that read the outputs of one op read those of another; see `replace_vars`. Outputs of the network are replaced too."""
        pairs: dict[VarNode, VarNode] = {}
        for old, new in repl_dict.items():
            if len(old.outputs) != len(new.outputs):
                raise ValueError(
                    f"{new.name} has {len(new.outputs)} outputs and cannot take the place of {old.name}, which has {len(old.outputs)}"
                )
            pairs.update(zip(old.outputs, new.outputs, strict=True))
        self._change([(op, pairs) for op in self.all_oprs if op not in repl_dict], pairs)

    def _change(self, ops: Iterable[tuple[OpNode, dict[Any, Any]]], outputs: dict[Any, Any] | None = None) -> None:
        """Replace inputs of ops, and outputs of the network; all or nothing."""
        before = [(op, list(op.inputs)) for op, _ in ops]
        dest = self._outputs
        try:
            for op, pairs in ops:
                op.replace_inputs(pairs)
            self._outputs = [(outputs or {}).get(var, var) for var in dest]
            self._compile()
        except BaseException:  # Ctrl-C too
            self._outputs = dest
            for op, inputs in before:
                op.inputs[:] = inputs
            raise

    def modify_opr_names(self, modifier: str | Callable[[str], str]) -> None:
        """Rename all ops: put a word and a dot before each name, or apply a function to it. Arguments and weights, which are values
        too, get the new name everywhere."""
        rename = modifier if callable(modifier) else lambda name: f"{modifier}.{name}"
        for op in self.all_oprs:
            op.name = rename(op.name)
            if isinstance(op, (Host2DeviceCopy, ConstOpBase)):
                op.outputs[0].name = op.name

    def reset_batch_size(self, batchsize: int, *, blacklist: Iterable[str] = ()) -> None:
        """Change the first dim of all arguments, and all that follows from it.

        Shapes that ops name are changed where they hold the batch.

        Args:
            batchsize: the new size.
            blacklist: names of arguments whose first dim is not a batch.

        Raises:
            ValueError: an op, which the error names, cannot have that batch size, or the dim of the batch cannot be told; then nothing changes.
        """
        (size,) = sizes("reset_batch_size", "batchsize", batchsize)
        providers, left = self.data_providers_filter.as_list(), set(blacklist)
        batched = [op for op in providers if op.outputs[0].name not in left and op.name not in left]
        if unknown := left - {op.name for op in providers} - {op.outputs[0].name for op in providers}:
            raise ValueError(f"reset_batch_size: {sorted(unknown)} are not arguments; the arguments are {providers}")
        if scalars := [op.name for op in batched if not op.shape]:
            raise ValueError(f"reset_batch_size: {scalars} have no dims; name them in blacklist")
        before = [op.shape for op in batched]
        try:
            for op in batched:
                op.shape = (size, *op.shape[1:])
            self._compile()
        except BaseException:  # Ctrl-C too
            for op, shape in zip(batched, before, strict=True):
                op.shape = shape
            raise

    def _compile(self) -> None:
        """Infer the types of all values again, after changes of edges or of the shapes of arguments."""
        order = self.all_oprs
        Retyped(order).commit()
        for op in order:
            op.register()

    # -- as a file -----------------------------------------------------------------------------------------------

    def optimize_for_inference(self, dest_vars: Any, **kwargs: Any) -> Any:
        """Return the values as they are: tengen chooses layouts and fuses where a network is loaded.

        Raises ValueError for an option that MegEngine does not have; `enable_ioc16` and `enable_io16xc32`, which would change what is
        computed, have no effect either, and a warning says so.
        """
        check_options(self.optimize_for_inference, kwargs)
        return dest_vars

    def frozen(self, **metadata: Any) -> Frozen:
        """The network as a recorded function. Raises ValueError without outputs, or if two arguments, or two outputs, have one name."""
        if not self._outputs:
            raise ValueError("the network has no outputs; name them with add_output")
        self._compile()
        builder = Builder(keep_composites=True)
        made: dict[Any, Value] = {}
        names: dict[Value | Node, str] = {}
        constants: dict[Value, Tensor] = {}
        arguments, order = [v.owner for v in self.arguments], self.all_oprs
        for op in [*arguments, *(op for op in order if isinstance(op, ConstOpBase)), *order]:
            if op.op is not None:
                made.update(zip(op.outputs, builder.record(op.op, [made[v] for v in op.inputs]), strict=True))
            elif op.outputs[0] not in made:
                made[op.outputs[0]] = builder.input(op.outputs[0].type)
            if isinstance(op, ConstOpBase):
                constants[made[op.outputs[0]]] = op.tensor
            _note_names(op, made, names)
        program = builder.finish(made[v] for v in self._outputs)
        inputs = [v.name for v in self.arguments]
        return freeze(program, inputs, [v.name for v in self._outputs], constants, metadata, names)

    def dump(
        self,
        file: str | os.PathLike[str] | BinaryIO,
        *,
        keep_var_name: int = 1,
        keep_opr_name: bool = False,
        keep_param_name: bool = False,
        keep_opr_priority: bool = False,
        strip_info_file: Any = None,
        append_json: bool = False,
        optimize_for_inference: bool = True,
        append: bool = False,
        user_info: Any = None,
        enable_metadata: bool = True,
        **kwargs: Any,
    ) -> CompGraphDumpResult:
        """Write the network, whole or not at all.

        Args:
            file: a path, or a binary file object.
            keep_var_name, keep_opr_name, keep_param_name: which names are kept, see `trace.dump`.
            user_info: what to keep with it, of the kinds that JSON has; enable_metadata=False keeps nothing.
            keep_opr_priority, strip_info_file, append_json, optimize_for_inference, kwargs: have no effect; see `optimize_for_inference`.
            append: a file holds one network: True raises ValueError.
        """
        options = check_options(self.dump, {"append": append, **kwargs})
        metadata = {"user_info": user_info, "graph_modified": True, "optimized_for_inference": optimize_for_inference}
        function = self.frozen(**({**metadata, **options} if enable_metadata else {}))
        function = Kept(keep_var_name, keep_opr_name, keep_param_name).of(function)
        whole = io.BytesIO()
        save_program(whole, function)
        data = whole.getvalue()
        if isinstance(file, (str, os.PathLike)):
            with write_whole(file) as opened:
                opened.write(data)
        else:
            append_whole(file, memoryview(data))
        weights = [function.names[v] for v in function.constants if v in function.names]
        size = sum(array.nbytes for array in function.constants.values())
        outputs, count = list(function.outputs), len(function.program.nodes)
        return CompGraphDumpResult(count, len(data), size, zlib.crc32(data), list(function.arguments), outputs, weights)


def _note_names(op: OpNode, made: dict[Any, Value], names: dict[Value | Node, str]) -> None:
    """Copy the names of an op and its outputs to what was made of them."""
    for var in op.outputs:
        value = made[var]
        if value.node is not None and op._name:
            names.setdefault(value.node, op._name)
        called = var._name or (op._name if len(op.outputs) == 1 else None)
        if called and (value.node is not None or op.op is None):
            names.setdefault(value, called)


def _nodes(function: Frozen) -> tuple[list[VarNode], list[VarNode]]:
    """The outputs and the arguments of a recorded function as nodes."""
    program, names = function.program, function.names
    arguments = iter(function.arguments)
    made: dict[Value, Any] = {}
    for value in program.inputs:
        if value in function.constants:
            tensor = tensor_of(function.constants[value], value.dtype, devices.canonical(devices.require(None)))
            (made[value],) = ImmutableTensor(tensor, names.get(value)).outputs
        else:
            (made[value],) = Host2DeviceCopy(value.shape, value.dtype, next(arguments)).outputs
    for node in program.nodes:
        kind = node_class(node.op, node.inputs)
        op = kind(node.op, [made[v] for v in node.inputs], [v.type for v in node.outputs], names.get(node))
        for old, new in zip(node.outputs, op.outputs, strict=True):
            made[old] = new
            new._name = names.get(old)
    for name, value in zip(function.outputs, program.outputs, strict=True):
        made[value].name = name
    return [made[v] for v in program.outputs], [made[v] for v in function.argument_values]
