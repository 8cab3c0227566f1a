"""`trace`: a function over tensors, backward and optimizer step included, as one compiled Program."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial, update_wrapper
from inspect import isasyncgenfunction, iscoroutinefunction, isfunction, isgeneratorfunction
from sys import modules
from time import perf_counter
from typing import Any, BinaryIO, ClassVar, overload

from .. import _rt
from ..base.frames import shorten
from ..core import Tensor
from ..core.ops.shape import Fill
from .arguments import flatten, rebuild
from .called import Kept
from .config import DTRConfig, SublinearMemoryConfig
from .dump import dump
from .dump_options import check_options
from .errors import TraceError
from .explain import Explanation, profiles, reports
from .memory import limit_of
from .recorded_call import RecordedCall
from .recorder import Recorder, Segment
from .standalone import Standalone
from .traced import StaleTrace

MOST_KINDS = 256
"""Sets of argument types whose recordings are kept. If there are more, the oldest are dropped."""
MOST_UNSETTLED = 3
"""How many calls in a row a function without host may leave new tensors behind in a way that differs from the call
before."""
MOST_VARIANTS = 32
"""How many recordings are kept for one set of argument types, if a function without host depends on what else it finds."""


class Kind:
    """Calls with one set of argument types."""

    def __init__(self, args: Any, kwargs: Any, tensors: Sequence[Tensor]):
        # Arguments that are compared by identity must stay alive; tensors need not.
        places = {id(x): Placeholder(x.desc) for x in tensors}
        self.args, self.kwargs = rebuild((args, kwargs), lambda x: places[id(x)])
        self.precision = _rt.substitutes()
        self.types = [f"{x.desc.dtype}{list(x.shape)}" for x in tensors]
        self.first: RecordedCall | None = None
        self.standalone: list[Standalone] = []
        self.unsettled: list[RecordedCall] = []  # the last recordings, of calls that left new tensors behind
        self.calls, self.seconds = 0, 0.0
        self.profile: list[dict[str, Any]] = []  # of the last call

    @property
    def recordings(self) -> list[list[Segment]]:
        """What each kept recording runs, in the order in which they were made."""
        made = [s.segments for s in reversed(self.standalone)]
        return made or ([self.first.recorder.segments] if self.first else [])


class Placeholder:
    """Stands for a tensor among arguments."""

    def __init__(self, desc: _rt.Descriptor):
        self.desc = desc


class trace:
    """Run a function over tensors as one compiled Program.

    The first call with arguments of some types records what the function does to tensors, compiles that as a whole, and
    runs it; later calls run the same Plan. All effects are those of the function: tensors that it updates (parameters,
    running statistics, what optimizers keep), gradients, and the state of random number generators. The type of a
    tensor is its shape and dtype; all else is told apart by its value, but for floats and NumPy arrays where the
    function runs along.

    Args:
        args, options: the function and the settings below; without the function this is a decorator.
        function: what to trace; tensors may stand in tuples, lists and dicts among its arguments and in its result.
        without_host: later calls do not run the Python function at all. What it computes with Python stays as it was in
            the first call, but for settings of optimizers, such as the learning rate, and random numbers. Tensors from
            outside are read and written at each call. A call is recorded again where one of them is no longer there,
            has another shape or, if Python has read it, another value; where a variable of the function's module or of
            a function around it stands for another tensor; and where a call leaves new tensors behind, such as state
            that is made when it is first used (TraceError says so if calls go on to do that). What attributes and lists
            hold is not looked at again, and a tensor that is an argument counts as that argument if it is also found in
            one of them. By default the function runs at each call, without computing: its operations must be those of
            the first, or TraceError says where they differ.
        capture_as_const: tensors that the function takes from outside become a part of `dump`; without host they keep
            the values of the first call, but for those that the function itself writes.
        record_only: calls only record, for `dump`; their results have no values.
        sublinear_memory_config, dtr_config: a limit on memory, which is kept by computing values of the forward again
            when the backward needs them; a warning says if it cannot be. Results do not change.
        profiling: each step of each call is timed, for `get_profile`.
        symbolic, imperative, opt_level, graph_opt_config, symbolic_shape: taken for the sake of programs that give
            them; every trace is compiled as a whole and specialised on shapes.

    >>> @trace(without_host=True)
    ... def double(x):
    ...     return x + x
    >>> double(tengen.tensor([1.0, 2.0])).numpy().tolist()
    [2.0, 4.0]
    """

    enabled: ClassVar[bool] = True
    """Set to False to run all traced functions as if they were not traced."""

    def __new__(cls, *args: Any, **options: Any) -> Any:
        if not args:
            return partial(cls, **options)
        return super().__new__(cls)

    @overload
    def __init__(self, function: Callable[..., Any], *options: Any, **named: Any) -> None: ...

    @overload
    def __init__(self, **options: Any) -> None: ...  # gives a decorator, see __new__

    def __init__(  # type: ignore[misc]
        self,
        function: Callable[..., Any],
        symbolic: bool = False,
        capture_as_const: bool = False,
        record_only: bool = False,
        sublinear_memory_config: SublinearMemoryConfig | None = None,
        dtr_config: DTRConfig | None = None,
        profiling: bool = False,
        opt_level: int = 2,
        graph_opt_config: Any = None,
        symbolic_shape: bool = True,
        without_host: bool = False,
        imperative: bool = False,
    ):
        if not callable(function):
            raise TypeError(f"trace takes a function, got {type(function).__name__}")
        if isgeneratorfunction(function) or isasyncgenfunction(function) or iscoroutinefunction(function):
            raise TypeError(
                f"trace: {function.__name__} is a generator or a coroutine, whose lines run after the call of it is over; trace the function "
                "that it calls for each step"
            )
        self.function = function
        self.symbolic, self.without_host, self.profiling = symbolic, without_host, profiling
        self.capture_as_const, self.record_only = capture_as_const, record_only
        self._options = {
            "symbolic": symbolic, "capture_as_const": capture_as_const, "record_only": record_only, "profiling": profiling,
            "sublinear_memory_config": sublinear_memory_config, "dtr_config": dtr_config, "without_host": without_host,
        }  # fmt: skip
        self._limit = partial(limit_of, sublinear_memory_config, dtr_config)
        self._limit(0)  # raises now if the settings are wrong
        self._title = getattr(function, "__name__", type(function).__name__)
        self._kinds: dict[Any, Kind] = {}
        self._last: Kind | None = None
        update_wrapper(self, function, updated=())
        if isfunction(function):  # the attributes of a callable object are its own
            for name, value in vars(function).items():
                self.__dict__.setdefault(name, value)

    def __reduce__(self) -> str | tuple[Any, ...]:
        # What was recorded stays here, because it is about the tensors that this trace has met. A function that its
        # trace has replaced is found under its name.
        path: str = getattr(self, "__qualname__", "")
        found: Any = modules.get(self.__module__)
        for name in path.split("."):
            found = getattr(found, name, None)
        return path if found is self else (_traced_anew, (self.function, self._options))

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not trace.enabled or _rt.recording() is not None:  # inside another traced function, this one is a part of it
            return self.function(*args, **kwargs)
        leaves: dict[int, Tensor] = {}
        try:
            key = flatten((args, kwargs), leaves, data=not self.without_host)
        except TypeError as error:
            raise TraceError(
                f"{self._title}: {error}; with without_host=True give tensors, which later calls can replace"
            ) from None
        if (precision := _rt.substitutes()) is not None:  # mixed precision runs other operations
            key = key, id(precision)
        kind, tensors = self._kinds.get(key), list(leaves.values())
        if kind is None:
            if len(self._kinds) >= MOST_KINDS:
                del self._kinds[next(iter(self._kinds))]
            kind = self._kinds[key] = Kind(args, kwargs, tensors)
        start = perf_counter()
        try:
            result = self._run(kind, tensors, partial(self.function, *args, **kwargs))
        except Exception as error:
            shorten(error)
            raise
        kind.calls, kind.seconds = kind.calls + 1, perf_counter() - start
        if self.profiling:
            kind.profile = [plan for segments in kind.recordings for plan in profiles(segments)]
        self._last = kind
        return result

    def _run(self, kind: Kind, tensors: Sequence[Tensor], call: Callable[[], Any]) -> Any:
        if self.record_only or (kind.first is None and not self.without_host):
            kind.first = RecordedCall(self._recorder(), tensors, call, not self.record_only)
            return kind.first.take_result()
        if not self.without_host:
            assert kind.first is not None
            return kind.first.recorder.run(tensors, call)
        for standalone in kind.standalone:
            if standalone.fits(tensors):
                try:
                    return standalone(tensors)
                except StaleTrace:
                    kind.standalone.remove(standalone)
                    break
        made = kind.first = RecordedCall(self._recorder(), tensors, call)
        if self._settled(kind, made):
            del kind.standalone[MOST_VARIANTS - 1 :]
            kind.standalone.insert(0, Standalone(made.recorder, made.arguments, made.effects, made.names, made.named))
        return made.take_result()

    def _settled(self, kind: Kind, made: RecordedCall) -> bool:
        """Whether later calls do what this one did.

        A call that has made tensors and left them somewhere, such as state that is made on first use, may be followed
        by a call that does something else. So that one is recorded too. Raises TraceError if such calls keep differing.
        """
        if not made.effects.made:
            kind.unsettled.clear()
            return True
        if kind.unsettled and kind.unsettled[-1].leads_to(made):
            kind.unsettled.clear()
            return True
        kind.unsettled = [*kind.unsettled[1 - MOST_UNSETTLED :], made]
        if len(kind.unsettled) < MOST_UNSETTLED:
            return False
        shapes = " and ".join(str(tuple(t.shape)) for t in (r() for r in made.effects.made) if t is not None)
        raise TraceError(
            f"{self._title} leaves a new tensor behind at each call (of shape {shapes}; in an attribute, a list, an object that it returns …), "
            "which with without_host=True later calls could not do: return it, write into a tensor that is there already (x[...] = y), or trace "
            "with without_host=False"
        )

    def _recorder(self) -> Recorder:
        keep = self.capture_as_const and self.without_host and not self.record_only
        without_host = self.without_host or self.record_only
        return Recorder(self._title, without_host, self.capture_as_const, self._limit, self.profiling, keep)

    def explain(self) -> Explanation:
        """The Plans that there are, why each was made, its kernels, launches, memory and time; prints as text.

        Returns: an Explanation.

        >>> @trace
        ... def square(x):
        ...     return x * x
        >>> square(tengen.tensor([1.0, 2.0])).tolist()
        [1.0, 4.0]
        >>> square.explain().calls[0][3][0].launches
        1
        """
        found = []
        for number, kind in enumerate(self._kinds.values()):
            first = "the first call" if not number else "arguments of other types than before"
            again = "a tensor or a gradient from outside was not what it had been"
            made = enumerate(kind.recordings)
            plans = [p for age, segments in made for p in reports(segments, again if age else first)]
            found.append((f"({', '.join(kind.types)})", kind.calls, kind.seconds, plans))
        return Explanation(self._title, found)

    def get_profile(self) -> dict[str, Any]:
        """What the last call spent its time on: the Plans that it ran, in order, and the steps of each, as data that JSON can hold.

        A step has its name, its seconds, how many tiles it has, its work (about bytes moved plus operations), and
        whether it was joined to the step before: launches that ran together count for the first of them.

        Returns: a dict.

        Raises:
            TraceError: the function was not traced with profiling=True, or not called yet.

        >>> @trace(profiling=True)
        ... def square(x):
        ...     return x * x
        >>> square(tengen.tensor([1.0, 2.0])).tolist()
        [1.0, 4.0]
        >>> [step["name"] for step in square.get_profile()["plans"][0]["steps"]]
        ['mul']
        """
        if not self.profiling or self._last is None:
            missing = "has not been called" if self.profiling else "must be traced with profiling=True"
            raise TraceError(f"{self._title} {missing}, so there is no profile of it")
        return {"title": self._title, "seconds": self._last.seconds, "plans": self._last.profile}

    def dump(
        self,
        file: str | os.PathLike[str] | BinaryIO,
        *,
        arg_names: Sequence[str] | None = None,
        output_names: Sequence[str] | None = None,
        user_info: Any = None,
        dump_format: str | None = None,
        dynamic_batch: bool = False,
        keep_var_name: int = 1,
        keep_opr_name: bool = False,
        keep_param_name: bool = False,
        **options: Any,
    ) -> None:
        """Write the function as one file.

        It holds what the last call did, with the values that a call would now find in the tensors that it takes from
        outside.

        Args:
            file: a path, or a binary file object.
            arg_names, output_names: of the tensors among arguments and in the result, in order; by default arg_0 … and
                output_0 ….
            user_info: what to keep with it, of the kinds that JSON has.
            dump_format: "tengen" (`jit.load` reads it, docs/dump_format.md describes it) or "ONNX"; by default what the
                name says: "ONNX" for a file that ends in .onnx.
            dynamic_batch: ONNX only: the model takes any batch size (the first dim of all arguments). The function is
                recorded once more for that, with another batch size.
            keep_var_name: keep the names of weights and of what operations give, which are their places in the modules
                that ran ("features.0.weight"): above 0. Those of arguments and outputs are always kept.
            keep_opr_name: keep the names of operations too.
            keep_param_name: keep those of weights, whatever keep_var_name is. `utils.network` shows and finds parts by
                these names, which only files of tengen's own format have.
            options: `enable_metadata=False` leaves user_info out. MegEngine's other options are accepted and have no effect,
                for layouts are chosen where the file is loaded; those that would change results warn.

        Raises:
            ValueError: there is no such option or format, or the file cannot hold what an option asks for.
            TraceError: there is no recording, or none with capture_as_const=True, or if the function changes tensors
                that it has not computed.
            ExportError: ONNX cannot express an operation.

        >>> import io
        >>> @trace(without_host=True, capture_as_const=True)
        ... def double(x):
        ...     return x + x
        >>> y = double(tengen.tensor([1.0, 2.0]))
        >>> file = io.BytesIO()
        >>> double.dump(file, arg_names=["x"])
        >>> position = file.seek(0)
        >>> tengen.jit.load(file)(x=tengen.tensor([3.0, 4.0])).tolist()
        [6.0, 8.0]
        """
        check_options(self.dump, options)
        if not options.get("enable_metadata", True):
            user_info = None
        recorded = self._last.first if self._last is not None else None
        other = self._at_another_batch() if dynamic_batch and recorded is not None else None
        try:
            dump(
                self._title,
                recorded,
                other,
                file,
                arg_names,
                output_names,
                user_info,
                dump_format,
                Kept(keep_var_name, keep_opr_name, keep_param_name),
            )
        except Exception as error:
            shorten(error)
            raise

    def _at_another_batch(self) -> RecordedCall:
        """Record the last kind of call, without running it, with tensors of another batch size."""
        assert self._last is not None and self._last.first is not None
        made: dict[int, Tensor] = {}

        def zeros(place: Placeholder) -> Tensor:
            desc = place.desc
            shape = (desc.shape[0] + 1, *desc.shape[1:]) if desc.shape else ()
            if id(place) not in made:
                made[id(place)] = _rt.apply(Fill(shape, desc.dtype, desc.device), 0)
            return made[id(place)]

        args, kwargs = rebuild((self._last.args, self._last.kwargs), zeros, Placeholder)
        recorder = Recorder(self._title, without_host=True, capture=True)
        precision = _rt.set_substitutes(self._last.precision)
        try:
            recorded = RecordedCall(
                recorder, list(made.values()), partial(self.function, *args, **kwargs), execute=False
            )
        finally:
            _rt.set_substitutes(precision)
        first = self._last.first.recorder
        kept = {id(first.externals[slot]): value for slot, value in first.captured.items()}
        recorder.captured = {slot: kept[id(x)] for slot, x in recorder.externals.items() if id(x) in kept}
        return recorded


def _traced_anew(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    """What a copy, or a pickle, of a traced function is."""
    return trace(function, **options)
