"""What stands under the names that a traced function reads: it may be another tensor at each call."""

from __future__ import annotations

from functools import partial

import pytest

from tengen import Tensor
from tengen.jit import TraceError, trace

w = v = Tensor([0.0])


def by_helper(x: Tensor) -> Tensor:
    return x * 10.0 + w


# With host, an argument that is also a variable is refused, where it was not in the first call.
WRAPS = {"plain": lambda f: f, "without host": trace(without_host=True)}
ALL = pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS.keys())


@pytest.fixture(autouse=True)
def variables():
    global w, v
    w, v = Tensor([1.0]), Tensor([2.0])


@ALL
def test_an_argument_that_is_also_a_variable(wrap):
    f = wrap(lambda x: x * 10.0 + w)
    assert [float(f(x)) for x in (w, v, w, Tensor([0.0]), w)] == [11.0, 21.0, 11.0, 1.0, 11.0]


@ALL
@pytest.mark.parametrize(
    "inner", [by_helper, lambda x: by_helper(x), partial(by_helper)], ids=["same", "inside", "partial"]
)
def test_variables_change_places(wrap, inner):
    global w, v
    f = wrap(inner)
    assert float(f(v)) == 21.0
    w, v = v, w
    assert [float(f(v)), float(f(w))] == [12.0, 22.0]
    w, v = v, w
    assert float(f(v)) == 21.0


@ALL
def test_variables_of_the_function_around(wrap):
    a, b = Tensor([1.0]), Tensor([2.0])

    @wrap
    def f(x):
        def inside():
            return x * 10.0 + a

        return inside()

    assert float(f(b)) == 21.0
    a, b = b, a
    assert [float(f(b)), float(f(a))] == [12.0, 22.0]
    del b
    a = Tensor([5.0])
    assert float(f(a)) == 55.0


def test_with_host_it_is_said():
    global w, v
    f = trace(by_helper)
    assert float(f(v)) == 21.0
    w, v = v, w
    assert float(f(v)) == 12.0
    with pytest.raises(TraceError, match="on other inputs"):
        f(w)


def test_a_name_of_an_attribute_is_no_variable():
    """It would be recorded again at each call of a loop whose variable has the same name."""
    calls = []

    class Batch:
        w = 3.0

    @trace(without_host=True)
    def f(x):
        calls.append(1)
        return x * Batch.w

    global w
    for number in range(4):
        w = Tensor([float(number)])
        assert float(f(w)) == 3.0 * number
    assert len(calls) == 1
