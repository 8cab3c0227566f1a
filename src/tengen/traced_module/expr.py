"""Expressions: the calls that make up a graph. Each names what it calls, and runs by calling it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .._rt import apply
from ..compiler.program import Op
from ..core import Parameter, Tensor
from ..module import Module
from .known import OPERATORS, WRITING, function_name
from .node import ModuleNode, Node
from .pytree import LeafDef, TreeDef, tree_flatten
from .shape import GetVarShape
from .utils import member

__all__ = ["Apply", "CallFunction", "CallMethod", "Constant", "Expr", "GetAttr", "Input"]


class Expr:
    """One step of a graph.

    Attributes:
        inputs: the nodes that it reads, in order; a node that it reads twice is listed twice.
        outputs: the nodes that it makes.
    """

    _takes_args = False

    def __init__(self) -> None:
        self._id = -1
        self.inputs: list[Node] = []
        self.outputs: list[Node] = []
        self._graph: Any = None
        self._leaves: list[Any] = []
        self.arg_def: TreeDef | None = None
        self.out_def: TreeDef = LeafDef(Tensor)
        self._out_leaves: list[Any] = []
        self._removable = True

    @property
    def id(self) -> int:
        """Its number, for `graph.get_expr_by_id`."""
        return self._id

    @property
    def top_graph(self) -> Any:
        """The graph that it belongs to."""
        return self._graph

    # -- what it reads and makes ------------------------------------------------------------------------------------

    def _set_leaves(self, leaves: Sequence[Any], structure: TreeDef | None) -> None:
        self._leaves, self.arg_def = list(leaves), structure
        self._take_inputs([leaf for leaf in leaves if isinstance(leaf, Node)])

    def _take_inputs(self, inputs: Iterable[Node]) -> None:
        for node in self.inputs:
            if self in node.users:
                node.users.remove(self)
        self.inputs = list(inputs)
        for node in self.inputs:
            if self not in node.users:
                node.users.append(self)
        if self._graph is not None:
            self._graph._changed()

    def _set_outputs(self, leaves: Sequence[Any], structure: TreeDef) -> None:
        self._out_leaves, self.out_def = list(leaves), structure
        self.outputs = [leaf for leaf in leaves if isinstance(leaf, Node)]

    @property
    def const_val(self) -> list[tuple[int, Any]]:
        """The arguments that are not nodes, each with its position among all leaves of the arguments."""
        return [(index, leaf) for index, leaf in enumerate(self._leaves) if not isinstance(leaf, Node)]

    def unflatten_args(self, inputs: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Build (args, kwargs) with these values for the inputs."""
        assert self.arg_def is not None, f"{type(self).__name__} has no arguments"
        waiting = iter(inputs)
        found: tuple[tuple[Any, ...], dict[str, Any]] = self.arg_def.unflatten(
            [next(waiting) if isinstance(leaf, Node) else leaf for leaf in self._leaves]
        )
        return found

    def replace_inputs(self, repl_dict: Mapping[Node, Node]) -> None:
        """Read other nodes.

        Args:
            repl_dict: {node: replacement}.
        """
        for old, new in repl_dict.items():
            if type(new) is not type(old):
                raise TypeError(f"{old} is a {type(old).__name__} and cannot be replaced by {new!r:.60}")
        if self.arg_def is not None:
            leaves = [repl_dict.get(leaf, leaf) if isinstance(leaf, Node) else leaf for leaf in self._leaves]
            self._set_leaves(leaves, self.arg_def)
        else:
            self._take_inputs(repl_dict.get(node, node) for node in self.inputs)

    # -- arguments --------------------------------------------------------------------------------------------------

    def _arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not self._takes_args:
            raise TypeError(f"{self!r}: a {type(self).__name__} expression has no args and kwargs, only inputs")
        return self.unflatten_args(self.inputs)

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments, with nodes; for a method, the first is the object."""
        return self._arguments()[0]

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments."""
        return self._arguments()[1]

    @property
    def return_val(self) -> Any:
        """The nodes that it makes, in the containers that the call returns."""
        return self.out_def.unflatten(self._out_leaves)

    def _get_func(self) -> Callable[..., Any]:
        raise TypeError(f"a {type(self).__name__} expression calls no function with a signature")

    def set_args_kwargs(self, *args: Any, **kwargs: Any) -> None:
        """Set its arguments: nodes and constants, as the function takes them; for a method, the first is the object.

        Raises TypeError if the function cannot be called this way.
        """
        if not self._takes_args:
            raise TypeError(f"a {type(self).__name__} expression has no arguments to set")
        bound = bind(self._get_func(), args, kwargs)
        leaves, structure = tree_flatten(bound)
        for leaf in leaves:
            if isinstance(leaf, Node) and leaf.top_graph is not self.top_graph:
                raise ValueError(f"node {leaf} stands in another graph")
        self._set_leaves(leaves, structure)

    @property
    def named_args(self) -> dict[str, Any]:
        """The arguments by the names of the function's parameters."""
        parameters = inspect.signature(self._get_func()).parameters
        args, kwargs = list(self.args), dict(self.kwargs)
        named: dict[str, Any] = {}
        for name, parameter in parameters.items():
            if parameter.kind is parameter.VAR_POSITIONAL:
                named[name], args = tuple(args), []
            elif parameter.kind is parameter.VAR_KEYWORD:
                named[name] = kwargs
            elif args and parameter.kind is not parameter.KEYWORD_ONLY:
                named[name] = args.pop(0)
            elif name in kwargs:
                named[name] = kwargs.pop(name)
        return named

    def set_arg(self, name: str, val: Any) -> None:
        """Set one argument by the name of its parameter. Raises ValueError if the function has no such parameter."""
        function = self._get_func()
        named = self.named_args
        parameters = inspect.signature(function).parameters
        if name not in parameters:
            raise ValueError(f"{function.__name__} has no parameter {name!r}: {', '.join(parameters)}")
        named[name] = val
        args, kwargs = [], {}
        for key, value in named.items():
            kind = parameters[key].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                args += list(value)
            elif kind is inspect.Parameter.VAR_KEYWORD:
                kwargs.update(value)
            elif kind is inspect.Parameter.KEYWORD_ONLY:
                kwargs[key] = value
            else:
                args.append(value)
        self.set_args_kwargs(*args, **kwargs)

    # -- running ----------------------------------------------------------------------------------------------------

    def _run(self, *inputs: Any) -> Any:
        raise NotImplementedError

    def interpret(self, *inputs: Any) -> tuple[Any, ...]:
        """Compute the values of `outputs` from those of `inputs`."""
        result = self._run(*inputs)
        if isinstance(self.out_def, LeafDef):
            return (result,)
        leaves, structure = tree_flatten(result)
        if len(leaves) != len(self._out_leaves):
            raise RuntimeError(
                f"{self!r} gave {structure} when it was traced for {self.out_def}: what a traced module returns may not depend on values"
            )
        return tuple(value for value, leaf in zip(leaves, self._out_leaves, strict=True) if isinstance(leaf, Node))

    def _module_of(self, node: ModuleNode) -> Any:
        return None

    def enable_remove(self) -> None:
        """Let `graph.compile` remove it if nothing reads its outputs."""
        self._removable = True

    def disable_remove(self) -> None:
        """Keep it in the graph even if nothing reads its outputs."""
        self._removable = False

    # -- text -------------------------------------------------------------------------------------------------------

    def _text(self) -> str:
        raise NotImplementedError

    def _argument_text(self, skipped: int = 0) -> str:
        args, kwargs = self._arguments()
        named = ", ".join(f"{key}={kwargs[key]}" for key in sorted(kwargs))
        return f"{', '.join(map(str, args[skipped:]))}, {named}"

    def __repr__(self) -> str:
        return f"%{self._id}:\t{self.return_val} = {self._text()}"


def bind(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments as a graph keeps them: positional where possible, and with defaults for those that are missing."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        return tuple(args), dict(kwargs)
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.args, bound.kwargs


class Input(Expr):
    """An input of the graph; the first is the module itself."""

    def __init__(self, node: Node, name: str):
        super().__init__()
        self.name = name
        node.expr = self
        self._set_outputs([node], LeafDef(Tensor))

    def _run(self, *inputs: Any) -> Any:
        raise RuntimeError(f"input {self.outputs[0]} is given by the caller")

    def _module_of(self, node: ModuleNode) -> Any:
        return None if self._graph is None else self._graph.module

    def _text(self) -> str:
        return "Input()"


class GetAttr(Expr):
    """A module or tensor that is an attribute of a module.

    Attributes:
        name: the name of the attribute, dotted if it is inside other modules.
    """

    def __init__(self, module: ModuleNode, node: Node, attr_name: str):
        super().__init__()
        self.name = attr_name
        node.expr = self
        self._take_inputs([module])
        self._set_outputs([node], LeafDef(Tensor))

    def _run(self, *inputs: Any) -> Any:
        return member(inputs[0], self.name)

    def _module_of(self, node: ModuleNode) -> Any:
        owner = self.inputs[0]
        holder = owner.owner if isinstance(owner, ModuleNode) else None
        return None if holder is None else member(holder, self.name)

    def _text(self) -> str:
        made = self.outputs[0]
        kind = made.shown_type if isinstance(made, ModuleNode) else "Tensor"
        return f'getattr({self.inputs[0]}, "{self.name}") -> ({kind})'


class CallMethod(Expr):
    """A call of a module, or of a method of a tensor.

    Attributes:
        method: the name of the method, "__call__" for a module.
    """

    _takes_args = True

    def __init__(self, method: str = "__call__"):
        super().__init__()
        self.method = method
        self._removable = method not in WRITING

    @property
    def graph(self) -> Any:
        """The graph of the called module; None for a layer and for tensors."""
        first = self.inputs[0]
        module = first.owner if isinstance(first, ModuleNode) else None
        graphs = getattr(module, "argdef_graph_map", None)
        if not graphs:
            return None
        found: Any = graphs.get(self.arg_def)
        return next(iter(graphs.values())) if found is None and len(graphs) == 1 else found

    def _get_func(self) -> Callable[..., Any]:
        first = self.inputs[0]
        if isinstance(first, ModuleNode):
            module = first.owner
            if hasattr(module, "_forward_of"):
                found: Callable[..., Any] = module._forward_of()
                return found
            return type(module).forward if self.method == "__call__" else getattr(type(module), self.method)
        return getattr(Tensor, self.method)

    def _run(self, *inputs: Any) -> Any:
        args, kwargs = self.unflatten_args(inputs)
        target = args[0]
        if isinstance(target, Module):
            return target(*args[1:], **kwargs)
        if not isinstance(target, (Tensor, int, float, tuple)):
            raise TypeError(f"{self!r} calls a {type(target).__name__}")
        function = OPERATORS.get(self.method)
        result = function(*args) if function is not None else getattr(target, self.method)(*args[1:], **kwargs)
        return target if self.method in WRITING and result is None else result

    def _text(self) -> str:
        name = self.inputs[0] if self.method == "__call__" else f"{self.inputs[0]}.{self.method}"
        return f"{name}({self._argument_text(1)})"


class CallFunction(Expr):
    """A call of a function of `tengen.functional`, or of a wrapped function.

    Attributes:
        func: the function.
    """

    _takes_args = True

    def __init__(self, func: Callable[..., Any]):
        super().__init__()
        self.func = func

    def _get_func(self) -> Callable[..., Any]:
        return self.func

    def _run(self, *inputs: Any) -> Any:
        args, kwargs = self.unflatten_args(inputs)
        return self.func(*args, **kwargs)

    def _text(self) -> str:
        return f"{function_name(self.func)}({self._argument_text()})"


class Apply(Expr):
    """An operation that the program itself passed to `apply`, or the shape of a tensor.

    Attributes:
        opdef: the operation.
    """

    def __init__(self, opdef: Any):
        super().__init__()
        self.opdef = opdef

    def _run(self, *inputs: Any) -> Any:
        args, _ = self.unflatten_args(inputs)
        return self.opdef(*args) if isinstance(self.opdef, GetVarShape) else apply(self.opdef, *args)

    def _text(self) -> str:
        return f"{op_name(self.opdef)}({', '.join(map(str, self._leaves))})"


class Constant(Expr):
    """A tensor that the traced call made from data or found outside.

    Attributes:
        value: the tensor.
    """

    def __init__(self, value: Any, node: Node):
        super().__init__()
        self.value = value
        node.expr = self
        self._set_outputs([node], LeafDef(Tensor))

    def _run(self, *inputs: Any) -> Any:
        return self.value

    def _module_of(self, node: ModuleNode) -> Any:
        return self.value

    def _text(self) -> str:
        return f"Constant() -> ({'Module' if isinstance(self.value, Module) else 'Tensor'})"

    @property
    def default_name(self) -> str:
        """The name of its node, unless another node has it."""
        kind = "module" if isinstance(self.value, Module) else type(self.value).__name__.lower()
        return f"const_{kind if isinstance(self.value, (Module, Tensor, Parameter)) else 'tensor'}"


def op_name(op: Any) -> str:
    """The name of an operation in the text of a graph."""
    return op.name if isinstance(op, Op) else type(op).__name__


# -- what an expression is -------------------------------------------------------------------------------------------


def _any_of(value: Any, wanted: Any) -> bool:
    if wanted is None:
        return True
    several = isinstance(wanted, Iterable) and not isinstance(wanted, (str, type))
    return any(value is one or value == one for one in (wanted if several else (wanted,)))


def is_input(expr: Any) -> bool:
    """Whether it is an input of a graph."""
    return isinstance(expr, Input)


def is_getattr(expr: Any) -> bool:
    """Whether it is an attribute of a module."""
    return isinstance(expr, GetAttr)


def is_constant(expr: Any) -> bool:
    """Whether it is a constant."""
    return isinstance(expr, Constant)


def is_call_module(expr: Any, module_cls: Any = None) -> bool:
    """Whether it calls a module (of this class, if one is given)."""
    if not (isinstance(expr, CallMethod) and isinstance(expr.inputs[0], ModuleNode) and expr.method == "__call__"):
        return False
    return module_cls is None or isinstance(expr.inputs[0].owner, module_cls)


def is_call_tensor_method(expr: Any, method: str | Iterable[str] | None = None) -> bool:
    """Whether it calls a method of a tensor (one of these, if some are given)."""
    return isinstance(expr, CallMethod) and not is_call_module(expr) and _any_of(expr.method, method)


def is_call_function(expr: Any, func: Any = None) -> bool:
    """Whether it calls a function (one of these, if some are given)."""
    return isinstance(expr, CallFunction) and _any_of(expr.func, func)


def is_apply_def(expr: Any, opdef: Any = None) -> bool:
    """Whether it is an operation (of one of these classes, if some are given)."""
    return isinstance(expr, Apply) and (opdef is None or isinstance(expr.opdef, opdef))
