"""Module: the base class of layers and networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar
from weakref import ref

import numpy as np

from ..base.frames import shorten
from ..base.missing import Explained, module_hint
from ..base.naming import CALLS
from ..base.usage import warn
from ..core import Parameter, Tensor
from .hook import HookHandler
from .state import load_state

__all__ = ["Module"]

Hook = Callable[..., Any]

# Most attributes; left out early because looking for members is what walks over large networks spend their time on.
_ATOMS = frozenset((bool, int, float, str, type(None)))


def _is_parameter(leaf: object) -> bool:
    return isinstance(leaf, Parameter)


def _is_buffer(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and not isinstance(leaf, Parameter)


def _is_values(value: object) -> bool:
    return isinstance(value, np.ndarray) or _is_buffer(value)


def _is_tensor(leaf: object) -> bool:
    return isinstance(leaf, Tensor)


def _is_module(leaf: object) -> bool:
    return isinstance(leaf, Module)


def _leaves(key: str, value: object) -> Iterator[tuple[str, Tensor | Module]]:
    """The tensors and modules in `value`, which may be nested lists, tuples and dicts, with dotted names."""
    if isinstance(value, dict):
        for name in sorted(value, key=str):
            for leaf in _leaves(f"{key}.{name}", value[name]):
                if not isinstance(name, str):
                    raise TypeError(f"{leaf[0]}: a dict that holds modules or tensors needs str keys, got {name!r}")
                yield leaf
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _leaves(f"{key}.{index}", item)
    elif isinstance(value, (Tensor, Module)):
        yield key, value


class Module(Explained, ABC):
    """A part of a network: its attributes are parameters, buffers and other modules, its `forward` what it computes.

    Tensors and modules are found in attributes, and in lists, tuples and dicts (with str keys) that are attributes,
    however deep. Names are the dotted way to them; attributes come in alphabetical order. What is reachable under two
    names counts once.

    Args:
        name: any text, kept as `.name`.

    >>> class Scale(Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.factor = Parameter([2.0])
    ...     def forward(self, x):
    ...         return x * self.factor
    """

    def __init__(self, name: str | None = None):
        self.training = True
        self.quantize_disabled = False
        self.name = name
        self._forward_pre_hooks: dict[int, Hook] = {}
        self._forward_hooks: dict[int, Hook] = {}

    @abstractmethod
    def forward(self, inputs: Any) -> Any:
        """What the module computes when it is called.

        Args:
            inputs: what a subclass takes.

        Returns: what a subclass gives.
        """

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        try:
            if self._forward_pre_hooks:
                inputs = self._run_pre_hooks(inputs)
            outputs = self.forward(*inputs, **kwargs)
            return self._run_hooks(inputs, outputs) if self._forward_hooks else outputs
        except Exception as error:
            add_module_path(error, self)
            shorten(error)
            raise

    # -- members ---------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        attributes = self.__dict__
        if "training" not in attributes and name != "training" and next(_leaves(name, value), None) is not None:
            raise AttributeError(self._not_initialised(f"cannot set {name!r}"))
        if type(value) not in _ATOMS and isinstance(attributes.get(name), Parameter) and _is_values(value):
            warn(
                f"{type(self).__name__}.{name} was a Parameter and is now a {type(value).__name__}, so parameters() has it no longer and an "
                f"optimizer goes on with the old one; to give it other values call {name}.set_value(...), and assign Parameter(...) for a new one"
            )
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        missing = f"{type(self).__name__!r} object has no attribute {name!r}{module_hint(name)}"
        raise AttributeError(missing if "training" in self.__dict__ else self._not_initialised(missing))

    def _not_initialised(self, problem: str) -> str:
        kind = type(self).__name__
        return f"{problem} before Module.__init__() has run: call super().__init__() first in {kind}.__init__()"

    def _leaves(self) -> Iterator[tuple[str, Tensor | Module]]:
        """Tensors and modules directly in this module (those in containers included), with their names."""
        attributes = self.__dict__
        for name in sorted(attributes):
            value = attributes[name]
            if type(value) not in _ATOMS:
                yield from _leaves(name, value)

    def _walk(
        self, wanted: Callable[[object], bool], prefix: str, recursive: bool, entered: set[int]
    ) -> Iterator[tuple[str, Any, Module]]:
        """All (name, leaf, the module that holds it), each leaf as often as it is reached, each module entered once."""
        entered.add(id(self))
        dot = prefix + "." if prefix else ""
        for name, leaf in self._leaves():
            if wanted(leaf):
                yield dot + name, leaf, self
            if recursive and isinstance(leaf, Module) and id(leaf) not in entered:
                yield from leaf._walk(wanted, dot + name, recursive, entered)

    def _named(
        self, wanted: Callable[[object], bool], prefix: str | None, recursive: bool, with_parent: bool
    ) -> Iterator[tuple[Any, ...]]:
        seen: set[int] = set()
        for name, leaf, parent in self._walk(wanted, prefix or "", recursive, set()):
            if id(leaf) not in seen:
                seen.add(id(leaf))
                yield (name, leaf, parent) if with_parent else (name, leaf)

    def named_parameters(
        self, prefix: str | None = None, recursive: bool = True, *, with_parent: bool = False
    ) -> Iterable[tuple[str, Parameter]]:
        """Each parameter with its name.

        Args:
            prefix: put before each name, with a dot.
            recursive: also those of the modules inside.
            with_parent: also give the module that holds it.

        Returns: an iterator of (name, parameter), or (name, parameter, module).

        >>> [name for name, _ in M.Linear(2, 3).named_parameters()]
        ['bias', 'weight']
        """
        return self._named(_is_parameter, prefix, recursive, with_parent)

    def named_buffers(
        self, prefix: str | None = None, recursive: bool = True, *, with_parent: bool = False
    ) -> Iterable[tuple[str, Tensor]]:
        """Each tensor that is not a parameter, such as running statistics, with its name.

        Args:
            prefix, recursive, with_parent: see `named_parameters`.

        Returns: an iterator of (name, tensor).
        """
        return self._named(_is_buffer, prefix, recursive, with_parent)

    def named_tensors(
        self, prefix: str | None = None, recursive: bool = True, *, with_parent: bool = False
    ) -> Iterable[tuple[str, Tensor]]:
        """Each parameter and buffer with its name.

        Args:
            prefix, recursive, with_parent: see `named_parameters`.

        Returns: an iterator of (name, tensor).
        """
        return self._named(_is_tensor, prefix, recursive, with_parent)

    def named_children(self, *, with_parent: bool = False) -> Iterable[tuple[str, Module]]:
        """Each module that is directly in this one, with its name.

        Args:
            with_parent: also give this module.

        Returns: an iterator of (name, module).
        """
        return self._named(_is_module, None, False, with_parent)

    def named_modules(self, prefix: str | None = None, *, with_parent: bool = False) -> Iterable[tuple[str, Module]]:
        """This module, whose name is `prefix` or empty, and each one inside, at any depth, with its name.

        Args:
            prefix: put before each name, with a dot.
            with_parent: also give the module that holds it.

        Returns: an iterator of (name, module).
        """
        found: Any = (prefix or "", self, None) if with_parent else (prefix or "", self)
        yield found
        for found in self._named(_is_module, prefix, True, with_parent):
            if found[1] is not self:
                yield found

    def parameters(self, recursive: bool = True) -> Iterable[Parameter]:
        """Each parameter.

        Args:
            recursive: also those of the modules inside.

        Returns: an iterator of parameters.
        """
        return (leaf for _, leaf in self.named_parameters(recursive=recursive))

    def buffers(self, recursive: bool = True) -> Iterable[Tensor]:
        """Each tensor that is not a parameter, such as running statistics.

        Args:
            recursive: also those of the modules inside.

        Returns: an iterator of tensors.
        """
        return (leaf for _, leaf in self.named_buffers(recursive=recursive))

    def tensors(self, recursive: bool = True) -> Iterable[Tensor]:
        """Each parameter and buffer.

        Args:
            recursive: also those of the modules inside.

        Returns: an iterator of tensors.
        """
        return (leaf for _, leaf in self.named_tensors(recursive=recursive))

    def children(self) -> Iterable[Module]:
        """Each module that is directly in this one.

        Returns: an iterator of modules.
        """
        return (leaf for _, leaf in self.named_children())

    def modules(self) -> Iterable[Module]:
        """This module and each one inside, at any depth.

        Returns: an iterator of modules.
        """
        return (leaf for _, leaf in self.named_modules())

    # -- what is done to all modules -------------------------------------------------------------------------

    def apply(self, fn: Callable[[Module], Any]) -> None:
        """Call a function with this module and each one inside.

        Args:
            fn: gets a module.
        """
        for module in self.modules():
            fn(module)

    def train(self, mode: bool = True, recursive: bool = True) -> None:
        """Set `training`, which Dropout and BatchNorm look at.

        Args:
            mode: True for training, False for evaluation.
            recursive: also in the modules inside.
        """
        for module in self.modules() if recursive else (self,):
            module.training = mode

    def eval(self) -> None:
        """Set `training` to False, here and in each module inside."""
        self.train(False)

    def disable_quantize(self, value: bool = True) -> None:
        """Set whether quantisation leaves this module, and each one inside, alone.

        Args:
            value: whether quantisation leaves them alone.
        """
        for module in self.modules():
            module.quantize_disabled = value

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to zero.

        Optimizers have `clear_grad` for this.
        """
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad.reset_zero()

    def replace_param(self, params: Mapping[Any, Parameter], start_pos: int, seen: set[int] | None = None) -> int:
        """Put others in the place of this module's parameters, in the order of `parameters()`.

        Args:
            params: their values, in that order, are the new parameters.
            start_pos: which of them is the first.
            seen: ids of modules to leave out; those that were done are added.

        Returns: how many parameters there were to replace; those past the end of `params` stay.

        Raises:
            ValueError: a value does not have the shape of the parameter that it replaces.
        """
        new = list(params.values())[start_pos:]
        seen = set() if seen is None else seen
        old = {id(leaf): leaf for _, leaf, _ in self._walk(_is_parameter, "", True, seen)}
        for before, after in zip(old.values(), new, strict=False):
            if tuple(before.shape) != tuple(after.shape):
                raise ValueError(
                    f"a parameter of shape {tuple(before.shape)} cannot be replaced by one of {tuple(after.shape)}"
                )
            before._reset(after)
        return len(old)

    # -- hooks -----------------------------------------------------------------------------------------------

    def _run_pre_hooks(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in tuple(self._forward_pre_hooks.values()):
            changed = hook(self, inputs)
            if changed is not None:
                inputs = changed if isinstance(changed, tuple) else (changed,)
        return inputs

    def _run_hooks(self, inputs: tuple[Any, ...], outputs: Any) -> Any:
        for hook in tuple(self._forward_hooks.values()):
            changed = hook(self, inputs, outputs)
            if changed is not None:
                outputs = changed
        return outputs

    def register_forward_pre_hook(self, hook: Hook) -> HookHandler:
        """Have a function called before `forward`.

        Args:
            hook: gets (module, inputs); what it returns, if not None, replaces the inputs.

        Returns: a handle, which has `remove()`.
        """
        return HookHandler(self._forward_pre_hooks, hook)

    def register_forward_hook(self, hook: Hook) -> HookHandler:
        """Have a function called after `forward`.

        Args:
            hook: gets (module, inputs, outputs); a result that is not None replaces outputs.

        Returns: a handle, which has `remove()`.
        """
        return HookHandler(self._forward_hooks, hook)

    # -- state -----------------------------------------------------------------------------------------------

    # State dicts hold this module's own tensors as 1-d arrays, as MegEngine's files do for some layers.
    _flat_state: ClassVar[bool] = False

    def _named_state(self, prefix: str) -> Iterator[tuple[str, Tensor, tuple[int, ...]]]:
        """Every name of every tensor, and its shape in state dicts; a shared one appears under each of its names."""
        for path, module in self.named_modules():
            dot = f"{prefix}{path}." if path else prefix
            for name, leaf in module._leaves():
                if isinstance(leaf, Tensor):
                    yield dot + name, leaf, (leaf.size,) if module._flat_state else tuple(leaf.shape)

    def state_dict(self, rst: dict[str, Any] | None = None, prefix: str = "", keep_var: bool = False) -> dict[str, Any]:
        """All parameters and buffers by name.

        Args:
            rst: a dict to put them in; a new one if None.
            prefix: put before each name, as it is.
            keep_var: give the tensors themselves, not read-only NumPy arrays.

        Returns: a dict.

        >>> list(M.Linear(2, 3).state_dict())
        ['bias', 'weight']
        """
        state = OrderedDict() if rst is None else rst
        for name, tensor, shape in self._named_state(prefix):
            state[name] = tensor if keep_var else _read_only(tensor.numpy().reshape(shape))
        return state

    def load_state_dict(
        self, state_dict: Mapping[str, Any] | Callable[[str, Tensor], np.ndarray | None], strict: bool = True
    ) -> None:
        """Set parameters and buffers to the values of a state dict; all of them, or on an error none.

        Args:
            state_dict: NumPy arrays or tensors by name, or a function of (name, tensor) that gives the array, or None
                to leave it.
            strict: names that are missing or left over are an error; otherwise they are logged.
            to leave it.

        Raises:
            StateDictError: (a KeyError and ValueError) lists everything that is wrong; a wrong shape is always an error.
        """
        load_state(list(self._named_state("")), state_dict, strict, type(self).__name__)

    # -- printing --------------------------------------------------------------------------------------------

    def _module_info_string(self) -> str:
        """What stands between the brackets when the module is printed; layers say their parameters here."""
        return ""

    def __repr__(self) -> str:
        lines = []
        for key, value in self.__dict__.items():
            for name, leaf in _leaves(key, value):
                if isinstance(leaf, Module):
                    lines += f"({name}): {leaf!r}".split("\n")
        info = self._module_info_string()
        if not lines:
            return f"{type(self).__name__}({info})"
        return "\n  ".join([f"{type(self).__name__}(", *([info] if info else []), *lines]) + "\n)"


CALLS.add(Module.__call__.__code__)


def _read_only(array: np.ndarray) -> np.ndarray:
    if array.flags.writeable:
        array = array.view()
        array.flags.writeable = False
    return array


# -- where in a network an exception came from ---------------------------------------------------------------------------


class _Origin:
    """Which module an exception comes from, and how far it has come. It lies on the exception, which others may keep, copy or
    send to another process: so it holds no module.
    """

    __slots__ = ("inner", "last", "message", "note", "path")

    def __init__(self, message: str | None, inner: str):
        self.message = message  # None: the arguments of the exception are not text
        self.inner = inner
        self.path = ""
        self.note = ""
        self.last: ref[Module] | None = None

    def __reduce__(self) -> tuple[type[_Origin], tuple[str | None, str]]:
        return _Origin, (self.message, self.inner)

    def passes(self, module: Module) -> str:
        """Where the exception comes from, seen from `module`, which it leaves now: "in backbone.0.conv2 (Conv2d) of Net"."""
        last = self.last() if self.last is not None else None
        if last is not None:
            step = next((name for name, inside in module.named_modules() if inside is last), "")
            self.path = f"{step}.{self.path}".strip(".")
        self.last = ref(module)
        outer = type(module).__name__
        return f"in {self.path} ({self.inner}) of {outer}" if self.path else f"in {outer}"


def add_module_path(error: Exception, module: Module) -> None:
    """Say in the message of `error`, which leaves `module`, where it is from: `in backbone.0.conv2 (Conv2d) of Net`.

    Called by each module that the exception passes on its way out. The first is remembered on the exception, and each
    module further out writes the way to it anew, so that in the end the way starts from the outermost. It becomes a part of
    a message that is one text, else a note: the argument of a KeyError is a key, those of an OSError are numbers that
    programs look at.
    """
    origin = error.__dict__.get("_tengen_origin")
    if origin is None:
        text = len(error.args) == 1 and isinstance(error.args[0], str) and str(error) == error.args[0]
        origin = error.__dict__["_tengen_origin"] = _Origin(error.args[0] if text else None, type(module).__name__)
    before, origin.note = origin.note, f"  {origin.passes(module)}"
    if origin.message is not None:
        object.__setattr__(error, "args", (f"{origin.message}\n{origin.note}",))  # classes of errors may be frozen
    else:
        notes = [note for note in error.__dict__.get("__notes__", ()) if note != before]
        error.__dict__["__notes__"] = [*notes, origin.note]  # what add_note does, from Python 3.11 on
