"""save and load: round trips, whole or not at all, damage, and files that mean harm."""

from __future__ import annotations

import collections
import contextlib
import io
import os
import pathlib
import pickle
import random
import struct

import numpy as np
import pytest

import tengen
import tengen.module as M
import tengen.optimizer as optim
from tengen import Parameter, Tensor
from tengen.base.errors import DeviceError, SerializationError
from tengen.serialization import MAGIC

MEGENGINE_FILE = pathlib.Path(__file__).parent / "data" / "megengine_1.13.pkl"


def round_trip(obj, **options):
    file = io.BytesIO()
    tengen.save(obj, file, **options)
    file.seek(0)
    return tengen.load(file)


def assert_equal(got, want):
    """The same classes, and the same contents."""
    assert type(got) is type(want)
    if isinstance(want, Tensor):
        assert (got.dtype, got.shape, got.device) == (want.dtype, want.shape, want.device)
        np.testing.assert_array_equal(got.numpy(), want.numpy())
    elif isinstance(want, np.ndarray):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)
    elif isinstance(want, dict):
        assert list(got) == list(want)
        for key in want:
            assert_equal(got[key], want[key])
    elif isinstance(want, (list, tuple, collections.deque)):
        assert len(got) == len(want)
        for a, b in zip(got, want, strict=False):
            assert_equal(a, b)
    else:
        assert got == want


# -- round trips -----------------------------------------------------------------------------------------------

VALUES = [
    Tensor([[1.0, 2.0], [3.0, -0.0]]),
    Parameter([1.0]),
    Tensor(2.5),
    Tensor(np.zeros((0, 3), np.float32)),
    Tensor([1, 2], dtype="int32", device="cpu1"),
    Tensor([True, False]),
    np.arange(6.0).reshape(2, 3).T,
    np.array(3, np.int64),
    np.zeros((2, 0)),
    np.array(["a", "bc"]),
    np.arange(3, dtype=">i4"),
    np.float32(1.5),
    np.bool_(True),
    np.float64,
    np.dtype("int8"),
    tengen.base.dtype.bfloat16,
    None,
    True,
    -(2**70),
    1.5,
    1 + 2j,
    "text ✓",
    b"bytes",
    bytearray(b"more"),
    {1, 2},
    frozenset("ab"),
    slice(1, None, 2),
    range(3),
    collections.OrderedDict([("b", 1), ("a", [Tensor([1.0]), (np.ones(2),)])]),
    collections.defaultdict(list, {"x": [1]}),
    collections.deque([1, 2], maxlen=3),
    random.Random(0).getstate(),
    np.random.RandomState(0).get_state(),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_round_trip(value):
    got = round_trip(value)
    if isinstance(value, np.ndarray) and value.dtype.byteorder == ">":
        value = value.astype(value.dtype.newbyteorder("="))
    assert_equal(got, value)


@pytest.mark.parametrize("dtype", tengen.base.dtype.NAMES)
def test_every_dtype(dtype):
    value = Tensor([0, 1, 100], dtype=dtype)
    assert_equal(round_trip(value), value)


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol(protocol):
    value = {"t": Tensor([1.0, 2.0]), "a": np.arange(3), "s": np.float32(2), "b": b"\x00\xff", "set": {1}}
    assert_equal(round_trip(value, pickle_protocol=protocol), value)


def test_arrays_that_were_read_only_or_views():
    array = np.arange(12.0).reshape(3, 4)[::2, ::-1]
    got = round_trip(array)
    np.testing.assert_array_equal(got, array)
    got[...] = 0
    state = M.Linear(2, 2).state_dict()
    assert_equal(round_trip(state), state)


def test_what_was_shared_stays_shared():
    weight = Parameter([1.0])
    got = round_trip([weight, {"again": weight}])
    assert got[0] is got[1]["again"]


def test_values_that_came_from_views():
    x = Tensor(np.arange(12, dtype=np.float32).reshape(3, 4))
    for value in (x[1:, ::2], x.T, x[1]):
        np.testing.assert_array_equal(round_trip(value).numpy(), value.numpy())


def test_a_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.tg"
    net = M.Sequential(M.Linear(2, 3), M.BatchNorm1d(3))
    optimizer = optim.Adam(net.parameters(), lr=0.1)
    net(Tensor(np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)))
    tengen.save({"net": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}, path)
    found = tengen.load(str(path))
    twin = M.Sequential(M.Linear(2, 3), M.BatchNorm1d(3))
    twin.load_state_dict(found["net"])
    assert_equal(twin.state_dict(), net.state_dict())
    optim.Adam(twin.parameters(), lr=0.5).load_state_dict(found["optimizer"])
    assert found["epoch"] == 3


def test_several_in_one_file():
    file = io.BytesIO()
    tengen.save([1], file)
    tengen.save({"x": Tensor([2.0])}, file)
    file.seek(0)
    assert tengen.load(file) == [1]
    assert tengen.load(file)["x"].item() == 2.0


# -- devices ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "devices"),
    [
        (None, ["xpux:0", "cpu1:0"]),
        ("cpu2", ["cpu2:0", "cpu2:0"]),
        ({"xpux": "cpu3"}, ["cpu3:0", "cpu1:0"]),
        ({"cpu1:0": "cpu0"}, ["xpux:0", "cpu0:0"]),
        (lambda device: "cpu1" if device == "xpux:0" else device, ["cpu1:0", "cpu1:0"]),
    ],
)
def test_map_location(tmp_path, location, devices):
    tengen.save([Tensor([1.0]), Parameter([1.0], device="cpu1")], tmp_path / "file")
    found = tengen.load(tmp_path / "file", map_location=location)
    assert [str(tensor.device) for tensor in found] == devices


def test_a_location_that_is_not_there(tmp_path):
    tengen.save(Tensor([1.0]), tmp_path / "file")
    with pytest.raises(DeviceError, match="gpu7"):
        tengen.load(tmp_path / "file", map_location="gpu7")
    with pytest.raises(DeviceError, match=r"map_location='cpu0'"):
        tengen.load(tmp_path / "file", map_location={"xpux": "gpu7"})


@pytest.mark.parametrize(
    ("location", "kind", "said"),
    [
        ("cpu", ValueError, "^'cpu' is not a device, write cpu0;"),
        ("cuda:1", ValueError, "^'cuda:1' is not a device, write gpu1;"),
        ({"xpux": "cuda"}, ValueError, "^'cuda' is not a device, write gpu0;"),
        (lambda device: "nowhere", TypeError, "^load: map_location takes .* for 'xpux:0': 'nowhere' is not a device;"),
        (lambda storage, place: storage, TypeError, "^load: map_location takes .* missing 1 required positional"),
    ],
)
def test_a_wrong_location_is_not_taken_for_a_damaged_file(tmp_path, location, kind, said):
    tengen.save(Tensor([1.0]), tmp_path / "file")
    with pytest.raises(kind, match=said) as caught:
        tengen.load(tmp_path / "file", map_location=location)
    assert not isinstance(caught.value, SerializationError)


# -- written whole or not at all -------------------------------------------------------------------------------


class Unwritable:
    """Something that cannot be saved."""


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Unwritable(), "not a Unwritable"),
        (lambda x: x, "not '.*<lambda>'"),
        (os.system, "not 'system'"),
        (Unwritable, "not 'Unwritable'"),
        (M.Linear(1, 1), r"not a Linear; save its state_dict\(\)"),
        (np.array([Unwritable()]), "dtype object"),
        (np.zeros(1, [("a", "i4")]), "neither saved nor loaded"),
        (pathlib.Path("x"), "not a PosixPath" if os.name == "posix" else "not a"),
    ],
)
def test_what_cannot_be_saved_leaves_the_old_file(tmp_path, value, message):
    path = tmp_path / "file"
    tengen.save("old", path)
    with pytest.raises(SerializationError, match=message):
        tengen.save({"x": [Tensor([1.0]), value]}, path)
    assert tengen.load(path) == "old"
    assert os.listdir(tmp_path) == ["file"]


class FullDisk(io.BytesIO):
    """Takes some bytes, then has no room."""

    room = 100

    def write(self, data):
        data = bytes(data)
        super().write(data[: self.room])
        if len(data) > self.room:
            raise OSError(28, "No space left on device")
        self.room -= len(data)
        return len(data)


def test_a_full_disk_leaves_the_file_object_as_it_was():
    file = FullDisk()
    file.write(b"before")
    with pytest.raises(OSError, match="No space left"):
        tengen.save(np.zeros(1000), file)
    assert file.getvalue() == b"before"


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    tengen.save("old", path)

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        tengen.save(np.zeros(1000), path)
    monkeypatch.undo()
    assert tengen.load(path) == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_writes_that_take_only_a_part():
    class Slow(io.BytesIO):
        def write(self, data):
            return super().write(bytes(data[:7]))

    file = Slow()
    tengen.save({"x": np.arange(10)}, file)
    file.seek(0)
    np.testing.assert_array_equal(tengen.load(file)["x"], np.arange(10))


def test_only_pickle_itself():
    import marshal

    for call in (lambda: tengen.save(1, io.BytesIO(), pickle_module=marshal), lambda: tengen.load("x", None, marshal)):
        with pytest.raises(ValueError, match="pickle_module is pickle"):
            call()


# -- damage ----------------------------------------------------------------------------------------------------


def saved():
    file = io.BytesIO()
    tengen.save({"net": M.Linear(3, 2).state_dict(), "t": Tensor([1.0, 2.0]), "epoch": 7}, file)
    return file.getvalue()


def test_a_file_cut_anywhere_is_one_clear_error(tmp_path):
    whole, path = saved(), tmp_path / "cut.tg"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(SerializationError, match=r"cut\.tg: (damaged or cut short|not a file|the file is empty)"):
            tengen.load(path)


def test_a_changed_byte_anywhere_is_one_clear_error():
    whole = saved()
    for position in range(len(whole)):
        for bit in (0x01, 0x80):
            damaged = bytearray(whole)
            damaged[position] ^= bit
            with pytest.raises(SerializationError):
                tengen.load(io.BytesIO(damaged))


@pytest.mark.parametrize("content", [b"hello, world", b"\x89PNG\r\n\x1a\n", b"\x80", b"\x80\x63", b"{}" * 100])
def test_files_of_other_programs(tmp_path, content):
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(SerializationError, match="other: "):
        tengen.load(tmp_path / "other")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        tengen.load(tmp_path / "nothing")


def test_a_huge_length_does_not_take_memory():
    content = b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"abc"
    with pytest.raises(SerializationError, match="cut short"):
        tengen.load(io.BytesIO(content))


# -- files that mean harm --------------------------------------------------------------------------------------


class Harm:
    """Pickles as a call of any function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def touch(path):
    pathlib.Path(path).touch()


def harmful(path):
    return [
        Harm(touch, path),
        Harm(os.system, f"touch {path}"),
        Harm(eval, f"open({path!r}, 'w')"),
        Harm(exec, f"open({path!r}, 'w')"),
        Harm(getattr, touch, "__globals__"),
        Harm(__import__, "os"),
        Harm(open, path, "w"),
        Harm(np.load, path),
        Harm(pickle.loads, pickle.dumps(Harm(touch, path))),
        {"nested": [Tensor([1.0]), Harm(touch, path)]},
    ]


@pytest.mark.parametrize("own", [False, True], ids=["pickle", "tengen"])
def test_code_is_never_run(tmp_path, own):
    victim = str(tmp_path / "victim")
    for value in harmful(victim):
        content = pickle.dumps(value)
        if own:
            content = MAGIC + content
        with pytest.raises(SerializationError, match=r"never code or classes; save what state_dict\(\) gives"):
            tengen.load(io.BytesIO(content))
        assert not os.path.exists(victim)


def opcodes(*parts):
    return b"\x80\x04" + b"".join(parts) + b"."


def name(module, attribute):
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def text(value):
    return b"\x8c" + bytes([len(value)]) + value.encode()


EMPTY = name("numpy.core.multiarray", "_reconstruct") + name("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"


def array_state(shape, data):
    """The opcodes that fill the array on the stack as float32."""
    return b"(K\x01" + shape + name("numpy", "dtype") + text("f4") + b"\x89\x88\x87R\x89" + data + b"tb"


def test_a_pickle_by_hand():
    np.testing.assert_array_equal(
        tengen.load(io.BytesIO(opcodes(EMPTY, array_state(b"K\x01\x85", b"C\x04\0\0\x80?")))), np.float32([1])
    )


@pytest.mark.parametrize(
    "content",
    [
        # Attributes of what a pickle may name: {"x": 1} as a dict, and as slots.
        opcodes(name("builtins", "dict"), b"}", text("x"), b"K\x01s", b"b"),
        opcodes(name("collections", "OrderedDict"), b"N}", text("update"), b"K\x01s\x86", b"b"),
        opcodes(name("tengen.safe_pickle", "tensor"), b"N}", text("__defaults__"), b"Ns\x86", b"b"),
        opcodes(name("collections", "OrderedDict"), b")R", b"}", text("x"), b"K\x01s", b"b"),
        # Names that lead elsewhere.
        opcodes(name("builtins", "getattr")),
        opcodes(name("numpy", "core.multiarray._reconstruct")),
        opcodes(name("tengen.safe_pickle", "pickle.loads")),
        opcodes(name("numpy", "fromfile")),
        opcodes(name("megengine.tensor", "__builtins__")),
        # Registered extensions and persistent names.
        opcodes(b"\x82\x01"),
        opcodes(b"Pname\n"),
        # Dtypes with objects in them, directly and by their state.
        opcodes(name("numpy", "dtype"), text("O8"), b"\x85R"),
        opcodes(name("numpy", "dtype"), text("i4,O"), b"\x85R"),
        opcodes(name("numpy", "dtype"), text("V8"), b"\x85R"),
        opcodes(name("numpy.core.multiarray", "_reconstruct"), name("builtins", "list"), b"K\x00\x85C\x01b\x87R"),
        # Arrays as views of other things, and filled twice.
        opcodes(name("numpy", "ndarray"), b"K\x01\x85\x85R"),
        opcodes(EMPTY, array_state(b"K\x01\x85", b"C\x04abcd"), array_state(b"K\x01\x85", b"C\x04abcd")),
        # An array with fewer bytes than its shape needs, with negative extents, and from a list.
        opcodes(EMPTY, array_state(b"K\x64\x85", b"C\x04abcd")),
        opcodes(EMPTY, array_state(b"J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86", b"C\x04abcd")),
        opcodes(EMPTY, array_state(b"K\x01\x85", b"]K\x01a")),
    ],
)
def test_crafted_pickles_are_refused(content):
    with pytest.raises(SerializationError):
        tengen.load(io.BytesIO(content))


def test_random_pickles_raise_nothing_else():
    """Any bytes that look like a pickle at first either load or raise the one error."""
    source = random.Random(1)
    whole = pickle.dumps({"a": np.arange(5.0), "b": [np.float32(1), "x", (1, 2.5)], "c": np.dtype("i2")}, 4)
    for _ in range(3000):
        damaged = bytearray(whole)
        for _ in range(source.randint(1, 4)):
            damaged[source.randrange(2, len(damaged))] = source.randrange(256)
        with contextlib.suppress(SerializationError):
            tengen.load(io.BytesIO(damaged))


# -- files of MegEngine ----------------------------------------------------------------------------------------


def test_a_file_of_megengine():
    found = tengen.load(MEGENGINE_FILE)
    w = np.arange(6, dtype=np.float32).reshape(2, 3)
    want = {
        "state_dict": collections.OrderedDict([("fc.weight", w), ("fc.bias", np.array([1, 2], np.float16))]),
        "tensor": Tensor(w + 1),
        "parameter": Parameter([7.0]),
        "ints": Tensor([[1, 2]], dtype="int32", device="cpu1"),
        "epoch": 3,
        "lr": np.float32(0.5),
        "dtype": np.dtype("int8"),
        "class": np.float32,
        "fortran": w,
        "list": [None, True, (1, "x")],
        "mask": np.array([True, False]),
    }
    assert_equal(found, want)
    assert str(tengen.load(MEGENGINE_FILE, map_location={"cpu1": "cpu0"})["ints"].device) == "cpu0:0"


def test_a_cut_file_of_megengine():
    content = MEGENGINE_FILE.read_bytes()
    for length in range(2, len(content), 7):
        with pytest.raises(SerializationError):
            tengen.load(io.BytesIO(content[:length]))


def test_a_state_dict_that_pickle_wrote(tmp_path):
    state = M.Linear(2, 2).state_dict()
    (tmp_path / "file").write_bytes(pickle.dumps(state))
    assert_equal(tengen.load(tmp_path / "file"), state)
