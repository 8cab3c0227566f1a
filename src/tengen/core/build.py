"""Called by the runtime when it has no Plan: turns (op, descriptors) into a runtime Plan, and an op into its backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from math import prod
from threading import Event
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _rt
from ..base import config
from ..base.device import apart, canonical, get_default_device, parse
from ..base.dtype import has_gradients, is_float
from ..base.errors import NoKernelError
from ..base.frames import crossing
from ..base.quantized import storage
from ..base.usage import argument_of, no_tensor
from ..compiler import backend, begin_plan, obtain_plan
from ..compiler.backend import host
from ..compiler.plan import ITEM_BYTES, STATUS, Call, DeviceLaunch, Launch, Placed, Plan
from ..compiler.program import OPERATORS, Constant, Op, Program, Type, Value, record
from ..compiler.view import View
from . import gradient
from .by_cpu import plan_by_cpu
from .convert import place_of
from .device_kernels import functions_on, target_of
from .index_error import index_error
from .memory import out_of_memory
from .ops.base import integer_range, not_fitting
from .ops.shape import Copy

if TYPE_CHECKING:
    from ..compiler.kernels.target import DeviceTarget


def compile_op(op: Op, descs: Sequence[_rt.Descriptor]) -> _rt.Plan:
    """The Plan for `op` on inputs that look like `descs`. Raises what the op's shape rule raises."""
    start = perf_counter()
    types = [type_of(d) for d in descs]
    views = [View(d.shape, d.strides) for d in descs]
    route = route_of(op, descs)
    if route.by_default:
        _followed_default.set()
    program = op.as_program(types, views, route.target)
    plan = plan_for(route, program, views, op)
    log = op.log
    around = [one for watch in _watchers if (one := watch(op, plan, descs))]
    timed = (log is not None and log.timed) or any([one.made for one in around])
    made = to_runtime(op, plan, route, timed, number_limits(op, program), around, descs)
    for one in around:
        if one.made:
            one.made(made)
    if log is not None:
        log.add(views, plan, perf_counter() - start, made, route.target)
    return made


_followed_default = Event()  # there are Plans that are for the default device of the time when they were made


def _forget_default(_: str) -> None:
    """The runtime finds Plans under an op and its inputs, which do not say what the default device is."""
    if _followed_default.is_set():
        _followed_default.clear()
        _rt.plan_cache_clear()


class Around(NamedTuple):
    """Two functions that each run of a Plan calls with read-only arrays: one before it, with the input tensors, and one
    after it, with the outputs.

    made: is called with the runtime's Plan, whose runs then record the seconds of their steps. The first and the last
    step are those of the watchers. arrays: without them both are called with none, and what lies on a GPU stays there.
    """

    before: Callable[[Sequence[Any]], None]
    after: Callable[[Sequence[Any]], None]
    made: Callable[[_rt.Plan], None] | None = None
    arrays: bool = True


Watch = Callable[[Op, Plan, Sequence[_rt.Descriptor]], "Around | None"]

_watchers: list[Watch] = []


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Within this `with` block, ask `watch` once for each Plan what to call around its runs.

    The Plans are made anew, each with two more steps. If nobody watches, this costs nothing.
    """
    _watchers.append(watch)
    _rt.plan_cache_clear()
    try:
        yield
    finally:
        _watchers.remove(watch)
        _rt.plan_cache_clear()


def type_of(desc: _rt.Descriptor) -> Type:
    return Type(desc.dtype, desc.shape)


class Route(NamedTuple):
    """The device that an op runs on, and the one that its results are on."""

    at: str
    to: str
    by_default: bool = False  # nothing says which device: it is the default one

    @property
    def crosses(self) -> bool:
        return apart(self.at, self.to)

    @property
    def target(self) -> DeviceTarget | None:
        """What its kernels are compiled for; None: this machine's CPU."""
        place = parse(self.at)
        return None if place.memory == "cpu" else target_of(place.physical)


def device_of(op: Op, descs: Sequence[_rt.Descriptor]) -> str:
    """The device that the results of `op` are on."""
    return route_of(op, descs).to


def route_of(op: Op, descs: Sequence[_rt.Descriptor]) -> Route:
    """The results are on the device that the op names (copies, creation), otherwise on that of the tensors among the
    inputs."""
    named = getattr(op, "device", None) or None  # a Program is for any device, and its ops name ""
    devices = list(dict.fromkeys([d.device for d in descs if not d.dtype.startswith("weak_")]))
    if named is None and len(devices) > 1 and len({parse(d).physical for d in devices}) > 1:
        raise RuntimeError(
            f"{op.name}: the inputs are on different devices, {' and '.join(map(_told, devices))}; use .to({devices[0]!r}) for what is not there"
        )
    if named is None and not devices:
        default = canonical(get_default_device())
        return Route(default, default, by_default=True)
    if named is None:
        return Route(devices[0], devices[0])
    for other in devices:
        if apart(other, named):
            if isinstance(op, Copy):
                return Route(other, str(named))
            raise RuntimeError(
                f"{op.name}: an input is on {_told(other)}, and the result is to be on {_told(named)}; use .to({str(named)!r}) for the input"
            )
    return Route(str(named), str(named))


def _told(device: Any) -> str:
    """A device for people, who may not know what xpux is."""
    name = parse(device)
    return f"{device} ({name.physical})" if name.kind == "xpu" else str(device)


def plan_for(route: Route, program: Program, views: Sequence[View], op: Op) -> Plan:
    """The Plan of a Program where it runs. What only goes elsewhere as it lies there needs no kernel."""
    if route.crosses and _is_sent_whole(views[0]):
        return Plan(1, (), (), (Placed(0, 0, program.outputs[0].type, tuple(views[0].strides)),), (), ())
    try:
        return obtain_plan(program, views, op.name, route.target)
    except NoKernelError as error:
        return plan_by_cpu(op, program, views, str(error))


def _is_sent_whole(view: View) -> bool:
    """Whether the memory that a value reaches holds little else."""
    low, high = _reach(view.shape, view.strides)
    return high - low <= 2 * prod(view.shape)


def _reach(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """The first element that a value reaches, and one past the last, counted from its element (0, 0, …)."""
    if 0 in shape:
        return 0, 0
    steps = [(n - 1) * s for n, s in zip(shape, strides, strict=True)]
    return sum(s for s in steps if s < 0), sum(s for s in steps if s > 0) + 1


class NumberLimit(NamedTuple):
    """The range allowed for a Python int, input number `input`, that an op of this name puts into `dtype`."""

    input: int
    low: int
    high: int
    name: str
    dtype: str

    def fail(self, number: int) -> None:
        low, high = integer_range(self.dtype) or (self.low, self.high)
        raise OverflowError(
            f"{self.name}: {number} does not fit {self.dtype}, which holds {low} to {high}; convert the tensor to a wider dtype first"
        )


def number_limits(op: Op, program: Program) -> list[NumberLimit]:
    """The ranges allowed for the Python ints among the inputs of a Program. Raises OverflowError if a known one does
    not fit."""
    found = []
    places = {value: i for i, value in enumerate(program.inputs)}  # in a trace their order differs from their indices
    for node in program.nodes:
        for position, value in enumerate(node.inputs):
            known = isinstance(value.op, Constant)
            if value.dtype != "weak_int" or not (known or value.node is None):
                continue
            out = node.outputs[0].type
            limits = node.op.number_range(position, out)
            if limits is None or limits == integer_range("int64"):
                continue
            limit = NumberLimit(places.get(value, -1), *limits, op.blamed(node.op).name, out.dtype)
            if not known:
                found.append(limit)
            elif not limit.low <= value.op.value <= limit.high:  # type: ignore[union-attr]
                limit.fail(value.op.value)  # type: ignore[union-attr]
    return found


def to_runtime(
    op: Op,
    plan: Plan,
    route: Route,
    profiled: bool = False,
    limits: Sequence[NumberLimit] = (),
    around: Sequence[Around] = (),
    descs: Sequence[_rt.Descriptor] = (),
) -> _rt.Plan:
    """The runtime's form of a compiled Plan of `op`, for inputs that look like `descs`. around: what is called in each
    run."""
    sent, received = _crossing(plan) if route.crosses else ((), ())
    allocations = (*plan.allocations, *[size for _, size in received])
    status = plan.inputs + len(allocations)

    def describe(placed: Placed, device: str = route.at) -> tuple[int, int, _rt.Descriptor]:
        return placed.slot, placed.offset, _rt.Descriptor(placed.type.dtype, placed.type.shape, placed.strides, device)

    kernels = [step.kernel for step in plan.steps if isinstance(step, DeviceLaunch)]
    functions = functions_on(parse(route.at).physical, kernels) if kernels else {}
    steps: list[Any] = []
    for step in plan.steps:
        if isinstance(step, Call):
            steps.append(_rt.Host(step.function, tuple(map(describe, step.inputs)), tuple(map(describe, step.outputs))))
            continue
        buffers = step.buffers
        if plan.checks:
            buffers = tuple([(status if slot == STATUS else slot, offset) for slot, offset in buffers])
        skip = -1 if step.skip_if_donated is None else step.skip_if_donated
        if isinstance(step, Launch):
            how = step.tiles, step.work, skip, step.joined, step.side
            steps.append(_rt.Launch(step.address, buffers, step.params, *how))
        else:
            steps.append(_rt.DeviceLaunch(functions[step.kernel], buffers, *step.grid, skip, step.from_memory))
    outputs = [describe(placed, route.to) for placed in ([there for there, _ in received] if sent else plan.outputs)]
    steps += [_rt.Transfer(describe(one), there) for one, there in zip(sent, outputs, strict=False)]
    first = len(around)  # steps before those of the Plan
    if around:
        given = tuple((i, 0, d) for i, d in enumerate(descs) if not d.dtype.startswith("weak_"))
        steps = [
            *(_rt.Host(partial(_show, one.before), given if one.arrays else (), ()) for one in around),
            *steps,
            *(_rt.Host(partial(_show, one.after), outputs if one.arrays else (), ()) for one in reversed(around)),
        ]
    return _rt.Plan(
        plan.inputs,
        allocations,
        steps,
        outputs,
        plan.donations,
        work=plan.work,
        error=_failing(op) if plan.checks else None,
        layouts=tuple([(slot, source, step + first) for slot, source, step in plan.layouts]),
        commit=plan.commit + first if plan.commit >= 0 else plan.commit,
        profiled=profiled,
        limits=[limit[:3] for limit in limits],
        overflow=(lambda which, number: limits[which].fail(number)) if limits else None,
        device=route.at,
    )


def _crossing(plan: Plan) -> tuple[Sequence[Placed], Sequence[tuple[Placed, int]]]:
    """What goes to another device, and for each the place there and the bytes of its allocation."""
    received = []
    for slot, one in enumerate(plan.outputs, plan.inputs + len(plan.allocations)):
        low, high = _reach(one.type.shape, one.strides)
        size = ITEM_BYTES[storage(one.type.dtype)]
        received.append((Placed(slot, -low * size, one.type, one.strides), (high - low) * size))
    return plan.outputs, received


def _show(call: Callable[[Sequence[Any]], None], arrays: Sequence[Any], nothing: Sequence[Any]) -> None:
    call(arrays)


def _failing(op: Op) -> Callable[[int, Sequence[Any]], None]:
    def fail(status: int, inputs: Sequence[Any]) -> None:
        raise index_error(op, inputs)

    return fail


@lru_cache(maxsize=8192)
def _saved(
    op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...], needs: tuple[bool, ...]
) -> tuple[int, ...] | None:
    return gradient.saved(op, inputs, outputs, needs)


def gradient_hook(
    op: Op, inputs: Sequence[Any], outputs: Sequence[Any], needs: Sequence[bool]
) -> tuple[int, ...] | None:
    """Which inputs and outputs the backward of `op` wants kept; None if `op` has no backward."""
    saves = _saved(op, tuple(map(type_of, inputs)), tuple(map(type_of, outputs)), tuple(needs))
    if backend.missed >= COLD and saves is not None:
        _begin_backward(op, inputs, outputs, tuple(needs))
    return saves


COLD = 4
"""A process that has compiled so many kernels will compile those of the backward too."""


def _begin_backward(op: Op, inputs: Sequence[Any], outputs: Sequence[Any], needs: tuple[bool, ...]) -> None:
    """Have the backward of an op compiled while the program goes on, in the hope that gradients lie like the results that they belong to."""
    types = tuple(map(type_of, outputs))
    found = gradient.backward(
        op, tuple(map(type_of, inputs)), types, needs, tuple(has_gradients(t.dtype) for t in types)
    )
    values = [*inputs, *outputs, *outputs]
    descs = [values[place] for place in found.args]
    views = [View(d.shape, d.strides) for d in descs]
    if found.op is None:
        return
    with suppress(Exception):  # it will be raised when the backward runs
        machine = route_of(found.op, descs).target
        begin_plan(found.op.as_program([type_of(d) for d in descs], views, machine), views, machine)


def backward_hook(
    op: Op, inputs: Sequence[Any], outputs: Sequence[Any], needs: Sequence[bool], present: Sequence[bool]
) -> tuple[Any, ...]:
    """The op that computes the gradients of `op`, its arguments, and the input that each of its outputs belongs to."""
    found = gradient.backward(
        op, tuple(map(type_of, inputs)), tuple(map(type_of, outputs)), tuple(needs), tuple(present)
    )
    return found.op, found.args, found.results


def foreign_hook(op: Op, inputs: Sequence[Any]) -> Any:
    """`apply` on inputs that are not tensors: symbolic values are recorded; anything else that NumPy can read becomes a
    tensor."""
    if any(isinstance(x, Value) for x in inputs):
        outputs = record(op, *inputs)
        return outputs[0] if len(outputs) == 1 else outputs
    for x in inputs:
        if not isinstance(x, (_rt.Tensor, bool, int, float, complex, list, tuple)) and not hasattr(x, "__array__"):
            if argument_of(x) and not hasattr(x, "__radd__"):  # otherwise an operator asks the other operand
                raise TypeError(no_tensor(x))
            return NotImplemented
    place = getattr(op, "device", None) or place_of(inputs)
    tensors = [x if isinstance(x, (_rt.Tensor, bool, int, float)) else _make_tensor(x, device=place) for x in inputs]
    return _rt.apply(op, *_within_64_bits(op, tensors))


def _within_64_bits(op: Op, inputs: Sequence[Any]) -> Sequence[Any]:
    """The inputs with ints beyond 64 bits turned into floats, if other inputs are floats. Raises OverflowError if none
    is."""
    large = [x for x in inputs if isinstance(x, int) and not -(1 << 63) <= x < 1 << 63]
    if not large:
        return inputs
    if not any(isinstance(x, float) or (isinstance(x, _rt.Tensor) and is_float(x.desc.dtype)) for x in inputs):
        raise not_fitting(op.name, large[0], "int64")
    return [float(x) if any(x is number for number in large) else x for x in inputs]


def memory_hook(op: Op, descs: Sequence[_rt.Descriptor], size: int, live: int, device: str) -> None:
    """Raise the error that says what an op needed memory for, and what holds the memory."""
    types = [type_of(d) for d in descs]
    program = op.as_program(types)
    raise MemoryError(out_of_memory(op.name, types, [v.type for v in program.outputs], size, live, device))


_make_tensor: Callable[..., _rt.Tensor]


def check_misc() -> None:
    """Check that tengen can make kernels for this machine.

    Raises RuntimeError if it cannot, or if the setting `isa` names an instruction set that the machine does not have.

    >>> check_misc()
    """
    host.host_target()


def install(tensor_class: type[_rt.Tensor]) -> None:
    """Connect the runtime with the compiler and the op table."""
    global _make_tensor
    _make_tensor = tensor_class
    backend.threads = _rt.get_num_threads
    _rt.set_tensor_class(tensor_class)
    config.watch("default_device", _forget_default, now=False)
    _rt.set_hooks(
        compile=compile_op,
        gradient=gradient_hook,
        backward=backward_hook,
        foreign=foreign_hook,
        accumulate=OPERATORS["add"],
        memory=memory_hook,
        traceback=crossing,
    )
