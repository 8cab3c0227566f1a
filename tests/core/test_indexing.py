"""`x[...]`, `x[...] = v` and broadcasting against NumPy, on indices that Hypothesis makes up."""

from __future__ import annotations

import itertools
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tengen
import tengen.functional as F
from tengen import Parameter, Tensor, _rt
from tengen.autodiff import GradManager
from tengen.core import indexing
from tengen.core.indexing import positions
from tengen.jit import trace

SETTINGS = settings(max_examples=150, deadline=None)


@st.composite
def indexed(draw, advanced):
    """A shape and an index that NumPy takes."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4))
    items, dim = [], 0
    while dim < len(shape):
        kinds = ["int", "slice", "new", "stop"] + (["array", "mask"] if advanced else [])
        kind = draw(st.sampled_from(kinds))
        n = shape[dim]
        if kind == "stop":
            break
        if kind == "new":
            items.append(None)
            continue
        if kind == "int":
            items.append(draw(st.integers(-n, n - 1)))
        elif kind == "slice":
            items.append(draw(st.slices(n)))
        elif kind == "array":
            items.append(
                draw(
                    hnp.arrays(
                        np.int32, draw(st.sampled_from([(), (1,), (3,), (2, 3)])), elements=st.integers(-n, n - 1)
                    )
                )
            )
        else:
            mask = draw(hnp.arrays(np.bool_, (n,)))
            mask[: 3 if n >= 3 else n] = True
            mask[3:] = False
            items.append(mask if n >= 3 else mask[:n])
        dim += 1
    if draw(st.booleans()):
        items.insert(draw(st.integers(0, len(items))), Ellipsis)
    return shape, tuple(items)


def ramp(shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def numpy_takes(x, index):
    try:
        return x[index]
    except IndexError:
        return None


@SETTINGS
@given(indexed(advanced=False))
def test_basic_reading(case):
    shape, index = case
    x = ramp(shape)
    want = numpy_takes(x, index)
    if want is None:  # Ellipsis moved an integer to a dimension where it is out of range
        with pytest.raises(IndexError):
            Tensor(x)[index]
        return
    np.testing.assert_array_equal(Tensor(x)[index].numpy(), want)


@SETTINGS
@given(indexed(advanced=True))
def test_advanced_reading(case):
    shape, index = case
    x = ramp(shape)
    want = numpy_takes(x, index)
    if want is None:  # the arrays do not broadcast, or Ellipsis moved one out of range
        with pytest.raises((IndexError, ValueError)):
            Tensor(x)[index]
        return
    got = Tensor(x)[index]
    assert got.shape == want.shape
    np.testing.assert_array_equal(got.numpy(), want)


@SETTINGS
@given(indexed(advanced=True), st.booleans())
def test_assignment(case, scalar):
    shape, index = case
    x = ramp(shape)
    seen = numpy_takes(x, index)
    if seen is None:
        return
    value = (
        7.0 if scalar else np.full(seen.shape, 3.0, np.float32)
    )  # equal values: the order of repeated positions does not matter
    t = Tensor(x)
    other = t.detach()
    t[index] = value
    x[index] = value
    np.testing.assert_array_equal(t.numpy(), x)
    np.testing.assert_array_equal(other.numpy(), ramp(shape))


@SETTINGS
@given(indexed(advanced=True))
def test_gradient_of_reading(case):
    shape, index = case
    x = ramp(shape)
    seen = numpy_takes(x, index)
    if seen is None or seen.size == 0:
        return
    t = Tensor(x)
    weights = np.arange(1, seen.size + 1, dtype=np.float32).reshape(seen.shape)
    gm = GradManager().attach([t])
    with gm:
        gm.backward(t[index], Tensor(weights))
    want = np.zeros(shape, np.float32)
    np.add.at(want, index, weights)
    np.testing.assert_allclose(t.grad.numpy(), want)


@SETTINGS
@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4))
def test_broadcasting(case):
    (left, right), want = case
    a, b = ramp(left), ramp(right) + 1
    got = Tensor(a) * Tensor(b)
    assert got.shape == want
    np.testing.assert_array_equal(got.numpy(), a * b)


def test_masks_of_several_dims():
    x = ramp((3, 4, 2))
    mask = x[..., 0] % 3 == 0
    t = Tensor(x)
    np.testing.assert_array_equal(t[Tensor(mask)].numpy(), x[mask])
    np.testing.assert_array_equal(t[t > 5].numpy(), x[x > 5])
    t[t > 5] = -1.0
    x[x > 5] = -1.0
    np.testing.assert_array_equal(t.numpy(), x)
    t[Tensor(mask)] = np.array([1.0, 2.0])
    x[mask] = [1, 2]
    np.testing.assert_array_equal(t.numpy(), x)


@pytest.mark.parametrize(
    "index,error",
    [(3, "out of range"), ((0, 0, 0), "too many"), ("a", "not an index"), (1.5, "not an index"), ((..., ...), "Ellipsis"),
     (np.zeros(4, bool), "mask"),
     (np.array([5]), "out of range"), (slice(None, None, 0), "zero|0")],
)  # fmt: skip
def test_bad_indices(index, error):
    with pytest.raises((IndexError, ValueError), match=error):
        Tensor(ramp((3, 2)))[index]


def test_bad_assignment_leaves_the_tensor_alone():
    t = Tensor(ramp((3, 2)))
    with pytest.raises(ValueError, match="does not fit"):
        t[0] = np.zeros(3)
    with pytest.raises(IndexError):
        t[np.array([0, 7])] = 1.0
    np.testing.assert_array_equal(t.numpy(), ramp((3, 2)))


def test_views_keep_their_value():
    """A slice is a view, and assignment never changes what another tensor can see."""
    t = Tensor(ramp((4, 3)))
    row, column = t[1], t[:, 2]
    t[:] = 0.0
    np.testing.assert_array_equal(row.numpy(), ramp((4, 3))[1])
    np.testing.assert_array_equal(column.numpy(), ramp((4, 3))[:, 2])


@pytest.mark.parametrize(
    "index", [(..., slice(0, 0), np.array(1)), (slice(0, 0), np.array([5])), (slice(0, 0), [0, -3])]
)
def test_indices_out_of_range_are_refused_where_nothing_is_read(index):
    x = ramp((1, 2, 1))
    assert numpy_takes(x, index) is None
    with pytest.raises(IndexError, match="out of range"):
        Tensor(x)[index]
    with pytest.raises(IndexError, match="out of range"):
        Tensor(x)[index] = 0.0


@pytest.mark.parametrize("kind", [Tensor, Parameter])
@pytest.mark.parametrize("shape", [(4,), (3,), (1,), (5, 4), (1, 2, 3), (0,)])
@pytest.mark.parametrize("make", [np.ones, lambda shape: Tensor(np.ones(shape), "int32")])
def test_ellipsis_takes_over_a_value_of_another_shape(kind, shape, make):
    x = kind(np.zeros((2, 3)))
    x[...] = make(shape)
    assert (type(x), x.shape) == (kind, shape)
    assert x.numpy().tolist() == np.ones(shape).tolist()
    assert str(x.desc.dtype) == ("float32" if make is np.ones else "int32")


def test_ellipsis_writes_numbers_and_values_of_the_same_shape_into_the_elements():
    x = Tensor(np.zeros((2, 3)))
    x[...] = Tensor(np.ones((2, 3), np.int32))
    assert (x.desc.dtype, x.tolist()) == ("float32", [[1.0] * 3] * 2)
    for number in (2, 2.0, Tensor(2.0), np.float64(2)):
        x[...] = 0.0
        x[...] = number
        assert x.tolist() == [[2.0] * 3] * 2
    x[..., :] = [1.0, 2.0, 3.0]
    assert x.tolist() == [[1.0, 2.0, 3.0]] * 2
    with pytest.raises(ValueError, match="index assignment"):
        x[:] = np.ones(4)


def test_what_ellipsis_takes_over_has_its_gradient():
    x, w = Tensor(np.zeros((2, 3))), Tensor([1.0, 2.0])
    gm = GradManager().attach(w)
    with gm:
        x[...] = w * 3.0
        gm.backward((x * x).sum())
    assert w.grad.tolist() == [18.0, 36.0]


def test_each_place_is_seen_without_a_plan_of_its_own():
    x, array = Tensor(np.arange(60.0).reshape(4, 5, 3)), np.arange(60.0, dtype=np.float32).reshape(4, 5, 3)
    items = [
        0,
        -1,
        slice(None),
        slice(1, 3),
        slice(None, None, -1),
        slice(3, 0, -2),
        slice(2, 2),
        None,
        slice(-2, None),
    ]
    for layout in (lambda v: v, lambda v: v.transpose(2, 0, 1), lambda v: v[::-1, :, ::2]):
        seen, truth = layout(x), layout(array)
        before = _rt.plan_cache_info()["misses"]
        for index in itertools.product(items, items, [..., 1, slice(None, None, -1)]):
            np.testing.assert_array_equal(seen[index].numpy(), truth[index])
        assert _rt.plan_cache_info()["misses"] == before


def test_parts_of_what_a_trace_has_just_given():
    twice = trace(lambda x: F.exp(x.T) * 2.0, without_host=True)
    for _ in range(2):
        assert twice(Tensor([[0.0, 1.0], [2.0, 3.0]]))[0, 1].numpy() == np.float32(2.0 * np.exp(2.0))


def test_what_is_seen_stays_when_the_tensor_changes():
    x = Tensor(np.arange(6.0))
    seen = x[1:4][::-1]
    x *= 10.0
    x[2] = 7.0
    assert seen.tolist() == [3.0, 2.0, 1.0] and x.tolist() == [0.0, 10.0, 7.0, 30.0, 40.0, 50.0]
    seen[0] = 5.0
    assert x[3].item() == 30.0


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("shape", [(), (2, 3), (0, 2)])
def test_masks_of_no_dims(shape, mask):
    array = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
    for index in (mask, np.bool_(mask), Tensor(mask)):
        plain = bool(mask)
        x = Tensor(array)
        np.testing.assert_array_equal(x[index].numpy(), array[plain])
        for value in (7.0, Tensor(7.0), Tensor([7.0])):
            want, x = array.copy(), Tensor(array)
            want[plain] = 7.0
            x[index] = value
            np.testing.assert_array_equal(x.numpy(), want)
    if len(shape) == 2:
        np.testing.assert_array_equal(Tensor(array)[..., Tensor(mask), 0].numpy(), array[..., mask, 0])


@pytest.mark.parametrize(
    "index", [([0, 1], [0, 1, 2]), (np.array([True, False, True]), [0, 1, 2]), (slice(None), [[0, 1]], [0, 1, 2])]
)
def test_indices_that_do_not_broadcast(index):
    x = Tensor(np.zeros((3, 4, 5)))
    with pytest.raises(IndexError):
        x.numpy()[index]
    with pytest.raises(IndexError, match=r"indexing: shapes .* do not broadcast"):
        x[index]
    with pytest.raises(IndexError, match=r"indexing: shapes .* do not broadcast"):
        x[index] = 1


DTYPES = "bool uint8 int8 uint16 int16 int32 int64 float16 float32 float64 complex64".split()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_masks_pick_and_write_elements_of_every_dtype(dtype, share):
    """Also where neither the tensor nor the mask lies side by side, and where the mask is one of some dims."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((4, 6, 5)) * 9).astype(dtype)
    mask = rng.random((5, 6)) < share
    t = Tensor(x, dtype=dtype)
    for index in (np.s_[:], np.s_[:, ::-1]):
        seen, found, picked = x[index], t[index], mask.T
        np.testing.assert_array_equal(found[:, Tensor(mask).transpose(1, 0)].numpy(), seen[:, picked])
        np.testing.assert_array_equal(found[:, picked].numpy(), seen[:, picked])
        np.testing.assert_array_equal(found[1][Tensor(picked)].numpy(), seen[1][picked])
        written, expected = Tensor(seen, dtype=dtype), seen.copy()
        values = (np.arange(4 * picked.sum()) % 2).reshape(4, -1).astype(dtype)
        written[:, Tensor(picked)] = Tensor(values, dtype=dtype)
        expected[:, picked] = values
        np.testing.assert_array_equal(written.numpy(), expected)


def test_the_gradient_of_what_a_mask_picks():
    rng = np.random.default_rng(0)
    x, mask = rng.standard_normal((3, 4, 5)).astype(np.float32), rng.random((4, 5)) < 0.5
    w = rng.standard_normal((3, mask.sum())).astype(np.float32)
    t = Tensor(x)
    gm = GradManager().attach([t])
    with gm:
        gm.backward((t[:, Tensor(mask)] * Tensor(w)).sum())
    expected = np.zeros_like(x)
    expected[:, mask] = w
    np.testing.assert_array_equal(t.grad.numpy(), expected)


def test_few_positions_of_a_large_mask_do_not_keep_its_memory():
    mask = np.zeros(1 << 20, bool)
    mask[::100_000] = True
    set_mask = Tensor(mask)
    before = tengen.get_allocated_memory()
    places = positions(set_mask, set_mask.desc.device)
    assert places.shape == (11,)
    assert tengen.get_allocated_memory() - before < 1 << 12


@pytest.mark.parametrize("without_host", [False, True])
def test_masks_from_outside_in_traced_functions(without_host):
    """They are seen as they are, as arrays and as tensors; one of another value makes another recording, or is an error where there is one only."""
    array, mask = np.array([True, False, True]), Tensor([False, True, True])
    runs = []

    @trace(without_host=without_host)
    def function(x):
        runs.append(1)
        return x[array] * 2, F.cond_take(mask, x)[0] + x[mask]

    for number in range(4):
        x = np.array([1, 2, 3], np.float32) * (number + 1)
        first, second = function(Tensor(x))
        np.testing.assert_array_equal(first.numpy(), x[array] * 2)
        np.testing.assert_array_equal(second.numpy(), x[mask.numpy()] * 2)
    assert len(runs) == (1 if without_host else 4)


def test_an_index_is_read_again_for_another_shape_and_is_not_taken_for_a_similar_one():
    arrays = [np.arange(n * 7 * 4).reshape(n, 7, 4) for n in (6, 3)]
    similar = [
        np.s_[2:5],
        np.s_[2, 5, None],
        np.s_[2:5:],
        np.s_[2:5:1],
        np.s_[-2],
        np.s_[..., 1],
        np.s_[1, ...],
        np.s_[None, 1],
        np.s_[True],
        np.s_[1],
    ]
    for _ in range(2):
        for array in arrays:
            for index in similar:
                x = Tensor(array)
                np.testing.assert_array_equal(x[index].numpy(), array[index])
                x[index] = 5
                want = array.copy()
                want[index] = 5
                np.testing.assert_array_equal(x.numpy(), want)
    for _ in range(2):
        with pytest.raises(IndexError, match="index 5 is out of range"):
            Tensor(arrays[1])[5]


def test_more_indices_than_are_kept(monkeypatch):
    monkeypatch.setattr(indexing, "_MOST_READ", 3)
    monkeypatch.setattr(indexing, "_READ", {})
    x = Tensor(np.arange(10))
    assert [x[i].item() for _ in range(2) for i in range(10)] == [*range(10), *range(10)]
    assert len(indexing._READ) <= 3


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "uint64", ">i8"])
def test_labels_that_int32_does_not_hold(dtype):
    """They stay what they are, and are out of range of every dimension."""
    x = Tensor(np.arange(6, dtype=np.float32).reshape(2, 3))
    assert F.indexing_one_hot(x, np.array([2, 0], dtype), 1).tolist() == [2.0, 3.0]
    if dtype != "int32":
        top = 2**40 if "8" in dtype or "64" in dtype else 2**32 - 1
        for index in (np.array([top, 0], dtype), [top, 0]):
            with pytest.raises(IndexError, match=str(top)):
                F.indexing_one_hot(x, index, 1)


def test_tensors_that_index_are_read_anew_and_not_kept():
    """An index is looked up by the shapes and dtypes of its tensors; what they hold counts in each call."""
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    x, empty = Tensor(base), Tensor(np.zeros((4, 0), np.float32))
    for numbers in ([0, 3], [-1, 2], [1, 1]):
        rows = np.array(numbers)
        for index in (
            rows,
            (slice(None), rows),
            (rows, rows[:1]),
            base % (2 + rows[0]) == 0,
            (base[:, 0] > rows[0], rows[:1]),
        ):
            ours = (
                tuple(Tensor(i) if isinstance(i, np.ndarray) else i for i in index)
                if type(index) is tuple
                else Tensor(index)
            )
            np.testing.assert_array_equal(x[ours].numpy(), base[index])
            written, want = Tensor(base), base.copy()
            written[ours] = want[index] = 7
            np.testing.assert_array_equal(written.numpy(), want)
        assert empty[Tensor(rows)].shape == (2, 0)
        with pytest.raises(IndexError, match="index 4 is out of range"):
            empty[Tensor(rows + 4 - rows.max())]
    index = Tensor(np.array([1]))
    kept = weakref.ref(index)
    x[index], x[:, index], x[Tensor(base > 3)]
    del index
    assert kept() is None
