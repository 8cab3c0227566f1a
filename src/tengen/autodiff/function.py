"""Function: an operation whose gradient the user writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from .. import _rt
from ..core.tensor import Tensor


class Function:
    """Derive from this and write `forward(self, *inputs)` and `backward(self, *output_grads)`; then call an instance.

    What `backward` returns (one gradient per input, or None for one without; surplus ones are left out) is the
    gradient, whatever `forward` does. Values that backward needs are kept in attributes of `self`; if an instance is called again, each
    backward sees those that its own call has set.
    Derivatives of higher order are those of what `backward` computes.

    >>> class Double(Function):
    ...     def forward(self, x):
    ...         return x * 2
    ...     def backward(self, dy):
    ...         return dy * 2
    >>> print(Double()(Tensor(3.0)))
    Tensor(6.0, device=xpux:0)
    """

    def forward(self, *inputs: Any) -> Tensor | Sequence[Tensor]:
        """Compute the outputs.

        Args:
            inputs: what the call was given.

        Returns: a tensor, or a tuple of several.

        Raises:
            NotImplementedError: a subclass has no forward.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward(self, *inputs)")

    def backward(self, *output_grads: Any) -> Tensor | Sequence[Tensor | None] | None:
        """Compute the gradients of the inputs from those of the outputs.

        Args:
            output_grads: a gradient for each output; None for one that nothing used.

        Returns: a gradient for each input, or None for one that has none.

        Raises:
            NotImplementedError: a subclass has no backward.
        """
        raise NotImplementedError(f"{type(self).__name__} must define backward(self, *output_grads)")

    def __call__(self, *inputs: Any) -> Any:
        # Other handles, as forward may change them; but of the same place on tapes: an outer manager differentiates what
        # backward makes of the values that forward has kept.
        given = [x._alias() if isinstance(x, Tensor) else x for x in inputs]
        tensors = [x for x in inputs if isinstance(x, Tensor)]
        before = dict(self.__dict__)
        result = _rt.unseen(tensors, self.forward, *given)
        kept = self.__dict__.setdefault("_calls", _Calls()).note(before, self.__dict__)
        outputs = [result] if isinstance(result, Tensor) else list(result)
        if not all(isinstance(y, Tensor) for y in outputs):
            raise TypeError(
                f"{type(self).__name__}.forward must return a tensor or several, got {type(result).__name__}"
            )
        outputs = [y if _is_new(y, given) else y.detach() for y in outputs]
        if len(set(map(id, outputs))) != len(outputs):
            outputs = [y.detach() for y in outputs]

        descs = [x.desc if isinstance(x, Tensor) and x._is_watched() else None for x in inputs]

        def backward(*grads: Tensor | None) -> list[Tensor | None]:
            with kept.seen_by(self.__dict__):
                found = self.backward(*grads)
            given = [found] if found is None or isinstance(found, Tensor) else list(found)
            wrong = next((g for g in given if g is not None and not isinstance(g, Tensor)), None)
            if len(given) < len(inputs) or wrong is not None:
                what = f"a {type(wrong).__name__}" if wrong is not None else f"{len(given)} gradients"
                raise (ValueError if wrong is None else TypeError)(
                    f"{type(self).__name__}.backward returned {what} for {len(inputs)} inputs; return a tensor, or None, for each"
                )
            fitting = [g if desc is None else self._fitting(g, desc) for g, desc in zip(given, descs, strict=False)]
            return [g for g, x in zip(fitting, inputs, strict=True) if isinstance(x, Tensor)]

        _rt.record(tensors, outputs, backward)
        if isinstance(result, Tensor):
            return outputs[0]
        return type(result)(outputs) if isinstance(result, (list, tuple)) else outputs

    def _fitting(self, gradient: Tensor | None, desc: _rt.Descriptor) -> Tensor | None:
        """The gradient of an input of this type, in its dtype. Raises ValueError for one of another shape."""
        if gradient is None:
            return None
        if gradient.shape != desc.shape:
            raise ValueError(
                f"{type(self).__name__}.backward returned a gradient of shape {gradient.shape} for an input of shape {desc.shape}; they must "
                "be equal: sum it over what forward has broadcast, or reshape it"
            )
        return gradient if gradient.desc.dtype == desc.dtype else gradient.astype(desc.dtype)


class _Calls:
    """What the calls of one Function have set: the names of the attributes, and which call was the last one."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.last: object = None

    def note(self, before: dict[str, Any], after: dict[str, Any]) -> _Kept:
        """What a call has left in the attributes."""
        self.names.update(n for n, value in after.items() if n != "_calls" and before.get(n, before) is not value)
        self.last = token = object()
        return _Kept(self, token, dict(after))


class _Kept(NamedTuple):
    """The attributes as one call has left them."""

    calls: _Calls
    token: object
    attributes: dict[str, Any]

    @contextmanager
    def seen_by(self, now: dict[str, Any]) -> Iterator[None]:
        """Meanwhile what calls set is as this one has left it; all else, such as a count of backwards, goes on."""
        if self.calls.last is self.token:
            yield
            return
        later = {n: now[n] for n in self.calls.names if n in now}
        _replace(now, self.calls.names, self.attributes)
        try:
            yield
        finally:
            _replace(now, self.calls.names, later)


def _replace(attributes: dict[str, Any], names: Iterable[str], values: dict[str, Any]) -> None:
    for name in names:
        if name in values:
            attributes[name] = values[name]
        else:
            attributes.pop(name, None)


def _is_new(output: Tensor, inputs: Sequence[Any]) -> bool:
    """Whether the handle that forward returned may become the output itself: so what forward keeps of it has its gradient."""
    return type(output) is Tensor and not output._is_watched() and all(output is not x for x in inputs)
