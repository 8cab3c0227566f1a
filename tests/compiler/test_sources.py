"""Map kernels: which launches share a source, and the order in which they go."""

import pytest

from tengen.compiler.kernels.target import HostTarget
from tengen.compiler.program import Builder, Type, build
from tengen.compiler.schedule.driver import Scheduler
from tengen.compiler.schedule.nests.lower import Emitter
from tengen.compiler.targets.host import host_target
from tengen.compiler.view import View, contiguous
from tengen.core.ops.elemwise import Elemwise
from tengen.core.ops.formula import Softmax


@pytest.mark.parametrize("op", [Elemwise("ADD"), Softmax((1,))], ids=str)
def test_a_new_shape_takes_the_source_of_a_kernel_that_is_known(op):
    """With its key, which is long, and all else that follows from the nest alone."""

    def sources(columns):
        types = [Type("float32", (7, columns))] * (2 if op is Elemwise("ADD") else 1)
        scheduler = Scheduler(build(op, types), [contiguous(t.shape) for t in types], host_target())
        scheduler.lower()
        return scheduler.sources

    (first,), (second,) = sources(100), sources(101)
    assert first is second


def test_kernels_whose_numbers_differ_by_sign_of_zero_are_two():
    def source(number, count):
        builder, type = Builder(), Type("float32", (count,))
        program = builder.finish([builder.input(type) + number])
        scheduler = Scheduler(program, [contiguous(type.shape)], host_target())
        scheduler.lower()
        return scheduler.sources[0]

    assert source(0.0, 5).key != source(-0.0, 6).key


@pytest.mark.parametrize("in_order", [False, True])
def test_a_copy_into_panels_goes_in_the_order_of_the_rows_or_of_the_panels(in_order):
    panels = contiguous((4, 64, 32))
    e = Emitter(lambda value: pytest.fail("a copy locates nothing"), panels.shape)
    e.copy("float32", 0, View(panels.shape, (32, 128, 1)), 1, panels)
    e.order = (panels,) if in_order else ()
    loops = e.finish((), HostTarget("avx512", "x86-64-v4", "", 16)).loops
    assert loops.dims[0] == ((0,) if in_order else (1,))
