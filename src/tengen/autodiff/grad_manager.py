"""GradManager: records the operations on attached tensors and computes gradients by one reverse sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Protocol
from weakref import ref

import numpy as np

from .. import _rt
from ..base.dtype import COMPLEX, has_gradients
from ..base.frames import shorten
from ..base.usage import warn
from ..core import elsewhere
from ..core.calls import narrowed
from ..core.ops.shape import Fill
from ..core.tensor import Tensor

Callback = Callable[[Tensor, Tensor], Any]


class Sender(Protocol):
    """A callback that returns gradients which are still on their way, for instance to other processes and back."""

    def flush(self) -> None:
        """The backward has ended: no more gradients will come."""

    def forget(self) -> None:
        """The backward has failed: gradients that have not gone yet are not wanted."""


class Late(Protocol):
    """What such a callback gives in place of a gradient. sender: the callback."""

    sender: Sender

    def result(self) -> Tensor:
        """The gradient, after the sender's `flush`."""


class _Attached:
    __slots__ = ("callbacks", "tensor")

    def __init__(self, tensor: ref[Tensor]):
        self.tensor = tensor
        self.callbacks: list[Callback] = []


class GradManager:
    """Computes gradients of what is recorded with respect to attached tensors, into their `.grad`.

    Gradients accumulate until the tensor's `grad` is set to None (an optimizer's clear_grad does that). Managers nest:
    one records the backward of those that were entered after it, which gives derivatives of higher order, and of no
    other. `gm | gm2` enters several together: none records the backward of another.

    >>> import tengen, tengen.functional as F
    >>> x = tengen.Tensor([1.0, 2.0, 3.0])
    >>> gm = GradManager().attach([x])
    >>> with gm:
    ...     gm.backward(F.sum(x * x))
    >>> print(x.grad)
    Tensor([2. 4. 6.], device=xpux:0)
    """

    def __init__(self) -> None:
        self._attached: dict[int, _Attached] = {}
        self._tape: _rt.Tape | None = None
        self._watched: list[_Attached] = []
        self._done = False  # backward was called last

    def __or__(self, other: GradManager | GradManagerGroup) -> GradManagerGroup:
        return GradManagerGroup([self]) | other

    def attach(
        self, tensors: Tensor | Iterable[Tensor], callbacks: Callback | Iterable[Callback] | None = None
    ) -> GradManager:
        """Compute gradients with respect to these tensors from the next record on, or at once if recording.

        Tensors are held weakly.

        Args:
            tensors: one tensor or several, of floating dtype.
            callbacks: each is called as callback(tensor, gradient) when the gradient is known and returns the gradient
                to use; they run in the order in which they were attached.

        Returns: this manager.

        Raises:
            TypeError: it is not a tensor, or not of a floating dtype.
        """
        given = _tensors("attach", "tensors", tensors, ", such as module.parameters()")
        added = [] if callbacks is None else [callbacks] if callable(callbacks) else list(callbacks)
        for tensor in given:
            if not has_gradients(tensor.desc.dtype):
                raise TypeError(
                    f"attach: a tensor of dtype {tensor.desc.dtype} has no gradient; only floats and complex numbers have"
                )
            entry = self._attached.get(id(tensor))
            if entry is None or entry.tensor() is not tensor:
                # No weakref callback, which would swallow Ctrl-C: `record` forgets the tensors that are gone.
                entry = self._attached[id(tensor)] = _Attached(ref(tensor))
                if self._tape is not None:
                    self._watch(entry)
            entry.callbacks += added
        return self

    def attached_tensors(self) -> list[Tensor]:
        """The tensors that are attached and still alive.

        Returns: a list of tensors.
        """
        return [t for t in (a.tensor() for a in list(self._attached.values())) if t is not None]

    def detach(self, tensors: Tensor | Iterable[Tensor]) -> None:
        """Stop computing gradients with respect to these tensors, from the next record on.

        Args:
            tensors: one tensor or several.

        Raises:
            KeyError: a tensor is not attached.
        """
        for tensor in [tensors] if isinstance(tensors, Tensor) else list(tensors):
            entry = self._attached.get(id(tensor))
            if entry is None or entry.tensor() is not tensor:
                raise KeyError(f"detach: a tensor of shape {tensor.shape} is not attached")
            del self._attached[id(tensor)]

    def record(self) -> None:
        """Start recording.

        Raises:
            RuntimeError: recording has started already.
        """
        self._record(None)

    def _record(self, beside: _rt.Tape | None) -> _rt.Tape:
        if self._tape is not None:
            raise RuntimeError("this GradManager is recording already; release() it first")
        self._tape = _rt.Tape(beside)
        self._watched, self._done = [], False
        for key, entry in list(self._attached.items()):
            if not self._watch(entry):
                del self._attached[key]
        self._tape.active = True
        elsewhere.recording.append(self)
        return self._tape

    def _watch(self, entry: _Attached) -> bool:
        """Let the tape watch the tensor if it is still alive; returns whether it is."""
        tensor = entry.tensor()
        if tensor is None:
            return False
        assert self._tape is not None
        self._tape.watch(tensor)
        self._watched.append(entry)
        return True

    def follow(self, tensor: Tensor) -> None:
        """Record what is computed from a tensor from now on, as if it were attached, until this record ends.

        Args:
            tensor: the tensor.
        """
        self._watch(_Attached(ref(tensor)))

    def release(self) -> None:
        """Stop recording and forget what was recorded."""
        if self._tape is not None:
            self._tape.active = False
            self._tape.clear()
            self._tape = None
            self._watched = []
            elsewhere.recording.remove(self)
            if elsewhere.sent:
                elsewhere.sent[:] = [token for token in elsewhere.sent if token._is_watched()]

    def backward(self, y: Tensor | Iterable[Tensor] | None = None, dy: Tensor | Iterable[Tensor] | None = None) -> None:
        """Compute the gradients of `y` and add them to the `.grad` of the attached tensors; then stop recording.

        Tensors that y does not depend on keep their grad.

        Args:
            y: a tensor or several; with None or an empty list gradients come from other processes alone, to which
                something was sent.
            dy: the gradient with respect to each y, by default ones.

        Raises:
            TypeError: y is complex and dy is missing.
            RuntimeError: nothing was recorded.
            ValueError: y and dy do not fit.
        """
        if self._tape is None:
            raise RuntimeError("no computation history: " + (_SPENT if self._done else _NEVER))
        ys = [] if y is None else _tensors("backward", "y", y, ": the loss, or several")
        dys = [_ones(t) for t in ys] if dy is None else _tensors("backward", "dy", dy, ": a gradient for each y")
        if len(ys) != len(dys):
            raise ValueError(f"backward: {len(ys)} tensors y but {len(dys)} gradients dy")
        for value, grad in zip(ys, dys, strict=True):
            if value.shape != grad.shape:
                raise ValueError(f"backward: dy of shape {grad.shape} for y of shape {value.shape}; they must be equal")
        tape = self._tape
        if elsewhere.sent and (sent := [token for token in elsewhere.sent if tape.holds(token)]):
            ys, dys = [*ys, *sent], [*dys, *map(_ones, sent)]
        for value in ys:
            if tape.holds(value):
                break
        else:
            # A gradient that another manager computed meanwhile may well be a constant, of a function that is linear.
            if ys and not tape.has_backward:
                warn(_APART if self._watched else _NOBODY)
        watched, late = list(self._watched), _LateOnes()
        try:
            tape.backward(ys, dys, ready=lambda number, grad: late.deliver(watched[number], grad))
            if late.waiting:
                late.end()
        except Exception as error:
            shorten(error)
            raise
        finally:
            if late.senders:
                late.forget()
            self.release()
            self._done = True

    def __enter__(self) -> GradManager:
        self.record()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class _LateOnes:
    """Gives the gradients of one backward to callbacks and tensors; those that a callback has sent away come last."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Tensor, Late, list[Callback]]] = []
        self.senders: dict[int, Sender] = {}

    def deliver(self, entry: _Attached, grad: Tensor | None) -> None:
        """Gradients that are known: through all callbacks to the tensor, if that is still there."""
        tensor = entry.tensor()
        if tensor is None or grad is None:
            return
        if entry.callbacks:
            self._give(tensor, grad, entry.callbacks)
        else:
            _add(tensor, grad)

    def _give(self, tensor: Tensor, grad: Any, callbacks: list[Callback]) -> None:
        for number, callback in enumerate(callbacks, 1):
            grad = callback(tensor, _rounded(grad))
            if hasattr(grad, "sender"):
                self.waiting.append((tensor, grad, callbacks[number:]))
                self.senders[id(grad.sender)] = grad.sender
                return
        if grad is not None:
            _add(tensor, grad)

    def end(self) -> None:
        """Wait for those that were sent."""
        while self.waiting:
            waiting, self.waiting = self.waiting, []
            for sender in self.senders.values():
                sender.flush()
            for tensor, late, callbacks in waiting:
                self._give(tensor, late.result(), callbacks)

    def forget(self) -> None:
        for sender in self.senders.values():
            sender.forget()


class GradManagerGroup:
    """Managers that are entered together, `with gm | gm2:`: each computes gradients of its own.

    Args:
        managers: GradManagers.

    >>> import tengen
    >>> x, w = tengen.Tensor(2.0), tengen.Tensor(3.0)
    >>> gm, gm2 = GradManager().attach(x), GradManager().attach(w)
    >>> with gm | gm2:
    ...     y = x * w
    ...     gm.backward(y)
    ...     gm2.backward(y)
    >>> x.grad.item(), w.grad.item()
    (3.0, 2.0)
    """

    def __init__(self, managers: Iterable[GradManager]) -> None:
        self._managers = list(managers)

    def __or__(self, other: GradManager | GradManagerGroup) -> GradManagerGroup:
        if isinstance(other, GradManager):
            return GradManagerGroup([*self._managers, other])
        if isinstance(other, GradManagerGroup):
            return GradManagerGroup([*self._managers, *other._managers])
        return NotImplemented

    def __enter__(self) -> GradManagerGroup:
        tape: _rt.Tape | None = None
        started: list[GradManager] = []
        try:
            for manager in self._managers:
                tape = manager._record(tape)
                started.append(manager)
        except BaseException:
            for manager in started:
                manager.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for manager in self._managers:
            manager.release()


_NEVER = "call backward inside `with gm:`, or after gm.record()"
_NOBODY = "backward: no tensor is attached, so no gradient is computed; gm.attach(net.parameters()) says by what to differentiate"
_APART = (
    "backward: y comes from nothing that is attached, so no gradient is computed; attach the parameters before the forward, run that "
    "inside `with gm:`, and compute the loss of its result with tensors: detach(), numpy() and item() cut it off"
)
_SPENT = (
    "backward was called before, and it frees what was recorded; for gradients of several losses give their sum, or a list of "
    "them, to one backward, and for another step record anew: one `with gm:` around each forward and its backward"
)


def _tensors(method: str, argument: str, given: object, wanted: str) -> list[Tensor]:
    """One tensor or several as a list. Raises TypeError for anything else."""
    if isinstance(given, Tensor):  # checked first, as isinstance(tensor, Iterable) is slow
        return [given]
    several = isinstance(given, Iterable) and not isinstance(given, (str, np.ndarray))
    found: list[Any] = list(given) if isinstance(given, Iterable) and several else [given]
    for item in found:
        if not isinstance(item, Tensor):
            held = "" if item is given else " among them"
            hint = "; for a Module give its parameters()" if hasattr(item, "parameters") else ""
            raise TypeError(f"{method}: {argument} takes tensors{wanted}; got {type(item).__name__}{held}{hint}")
    return found


def _add(tensor: Tensor, grad: Any) -> None:
    grad = _rounded(grad)
    tensor.grad = grad if tensor.grad is None else _rounded(tensor.grad + grad)


def _rounded(grad: Any) -> Any:
    """A gradient as its dtype holds it, in a trace too: so it is the same whether somebody adds to it there, sends it or only uses it."""
    return narrowed(grad) if isinstance(grad, Tensor) else grad


def _ones(like: Tensor) -> Tensor:
    """The gradient of a sum by its terms. Raises TypeError for complex numbers, for which users must give dy."""
    made: Tensor = _rt.apply(_fill(like.desc), 1.0)
    return made


@lru_cache(256)
def _fill(desc: _rt.Descriptor) -> Fill:
    """The op of `_ones`, cached: making it takes as long as everything else that a backward does in Python."""
    if desc.dtype == COMPLEX:
        raise TypeError("backward: y is complex, so it needs dy; or take its real or imag")
    return Fill(desc.shape, desc.dtype, desc.device)
