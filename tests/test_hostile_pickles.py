"""Pickles that are made to take memory, time or the process: refused before they cost more than a small multiple of their size."""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict, defaultdict, deque

import limited
import numpy as np
import pytest

import tengen
from tengen import Tensor
from tengen.base.errors import SerializationError


def name(module, attribute):
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def text(value):
    return b"\x8c" + bytes([len(value)]) + value.encode()


def number(value):
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def framed(*parts):
    content = b"".join(parts) + b"."
    return b"\x80\x04\x95" + struct.pack("<Q", len(content)) + content


HUGE = name("builtins", "range") + number(1 << 34) + b"\x85R"
MEGABYTE = b"B" + struct.pack("<I", 10**6) + bytes(10**6)
DEEP = 50_000


def called(what, *arguments):
    return framed(name(*what.rsplit(".", 1)), b"(", *arguments, b"tR")


def nested(what):
    """Each in the one before, made from the outermost on."""
    return framed(name(*what.rsplit(".", 1)), b"q\x00)R", b"h\x00)R" * DEEP, b"a" * DEEP)


def nested_dicts(what):
    return framed(name(*what.rsplit(".", 1)), b"q\x00)R", b"K\x00h\x00)R" * DEEP, b"s" * DEEP)


REFUSED = {
    "a claimed bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 31) + b".",
    "claimed bytes": b"\x80\x05\x8e" + struct.pack("<Q", 1 << 31) + b".",
    "claimed text": b"\x80\x04X" + struct.pack("<I", (1 << 32) - 1) + b".",
    "a claimed number": b"\x80\x04\x8b" + struct.pack("<i", (1 << 31) - 1) + b".",
    "a claimed frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b".",
    "bytes of a size": called("builtins.bytes", number(1 << 34)),
    "a bytearray of a size": called("builtins.bytearray", number(1 << 34)),
    "text of nested lists": framed(name("builtins", "str"), b"]K\x01a", b"2\x86" * 60, b"\x85R"),
    "a tensor of a range": called(
        "tengen.safe_pickle.tensor", text("Tensor"), text("int32"), HUGE, text("cpu0")
    ),
    "MegEngine's tensor of a range": framed(
        name("megengine.tensor", "Tensor"), b"(", HUGE, name("numpy", "int32"), text("cpu0"), b"t\x81"
    ),
    "items for a slice": framed(b"]", name("builtins", "slice"), b"K\x00K\x00N\x87R", HUGE, b"s"),
    "items for a bytearray": framed(b"\x96" + struct.pack("<Q", 1) + b"x", b"(K\x00e"),
    "a dtype of many": called("numpy.dtype", text("i4," * 80)),
    "the hash of tuples that hold a tuple twice": framed(b"}K\x01", b"2\x86" * 60, b"K\x01s"),
    "such a set": framed(b"\x8f(K\x01", b"2\x86" * 60, b"\x90"),
    "such a frozenset": framed(b"(K\x01", b"2\x86" * 60, b"\x91"),
    "such a dict": framed(b"(K\x01", b"2\x86" * 60, b"K\x01d"),
    "such a set of old protocols": framed(name("builtins", "set"), b"(]K\x01", b"2\x86" * 60, b"atR"),
    "such an OrderedDict": framed(name("collections", "OrderedDict"), b"(]K\x01", b"2\x86" * 60, b"N\x86atR"),
    "a deep key": framed(b"}K\x01", b"\x85" * DEEP, b"K\x01s"),
    "deep slices": framed(name("builtins", "slice") * DEEP, b"N", b"\x85R" * DEEP),
    "deep deques": nested("collections.deque"),
    "deep defaultdicts": nested_dicts("collections.defaultdict"),
    "a deque in itself": framed(name("collections", "deque"), b")Rq\x00h\x00a"),
    "one text as many scalars": framed(
        *(name("numpy.core.multiarray", "scalar"), b"q\x00", name("numpy", "dtype"), text("U250000"), b"\x85Rq\x01"),
        *(MEGABYTE, b"q\x02", b"h\x00h\x01h\x02\x86R" * 5000),
    ),
    "one bytearray many times": framed(
        name("builtins", "bytearray"), b"q\x00", MEGABYTE, b"q\x01", b"h\x00h\x01\x85R" * 5000
    ),
    "one list as many sets": framed(
        *(name("builtins", "set"), b"q\x00](", *[b"M" + struct.pack("<H", i) for i in range(50_000)], b"eq\x01"),
        b"h\x00h\x01\x85R" * 5000,
    ),
    "one array as many tensors": framed(
        *(name("numpy.core.numeric", "_frombuffer"), b"(", MEGABYTE, name("numpy", "dtype"), text("i1"), b"\x85R"),
        *(number(10**6), b"\x85", text("C"), b"tRq\x01", name("tengen.safe_pickle", "tensor"), b"q\x00"),
        b"h\x00(" + text("Tensor") + text("int8") + b"h\x01" + text("cpu0") + b"tR",
        b"h\x00(" + text("Tensor") + text("float64") + b"h\x01" + text("cpu0") + b"tR",
        (b"h\x00(" + text("Tensor") + text("int8") + b"h\x01" + text("cpu0") + b"tR") * 2000,
    ),
    "numbers for an extent": framed(
        *(name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray"), b"K\x00\x85C\x01b\x87R"),
        *(b"(K\x01", b"\x8a\xff" + b"\x7f" * 255, b"\x85", name("numpy", "dtype"), text("f4"), b"\x85R\x89C\x00tb"),
    ),
} | {
    f"{kind} of a range": called(f"{module}.{kind}", HUGE)
    for module, kinds in (("builtins", "list tuple set frozenset dict bytes str sum"), ("collections", "deque OrderedDict"))
    for kind in kinds.split()
}  # fmt: skip

CHILD = """
import io, pickle, time
from tengen.base.errors import SerializationError
for name, content in pickle.load(sys.stdin.buffer):
    start = time.process_time()
    try:
        tengen.load(io.BytesIO(content))
        print(name, "was loaded")
    except SerializationError:
        pass
    except BaseException as error:
        print(name, "raised", repr(error)[:200])
    if time.process_time() - start > 20:
        print(name, "took", time.process_time() - start)
"""


def test_each_is_refused_at_once():
    assert limited.run(CHILD, mebibytes=128, data=pickle.dumps(list(REFUSED.items()))) == ""


def test_single_bits_raise_nothing_else():
    """Where lengths, names and opcodes change, under the same limit."""
    file = io.BytesIO()
    value = {"t": Tensor([1.0, 2.0], dtype="bfloat16"), "s": {1}, "d": deque([1], 3), "b": bytearray(b"x")}
    tengen.save(value, file, pickle_protocol=5)
    whole = file.getvalue()
    damaged = []
    for position in range(9, len(whole)):
        for bit in range(8):
            changed = bytearray(whole)
            changed[position] ^= 1 << bit
            damaged.append((f"bit {bit} of byte {position}", bytes(changed)))
    assert limited.run(CHILD, mebibytes=128, data=pickle.dumps(damaged)) == ""


@pytest.mark.parametrize("protocol", range(6))
def test_honest_data_is_never_too_much(protocol):
    """What is dense in the file: small numbers in sets, one object in many places, shared arrays, keys of tuples."""
    shared = np.arange(1000.0)
    value = {
        "set": set(range(20_000)),
        "frozenset": frozenset(range(300)),
        "same": [shared] * 1000,
        "keys": {(i, (i, "x")): i for i in range(3000)},
        "expanded": tengen.functional.broadcast_to(Tensor([1.0]), (1000, 100)),
        "bytes": [bytearray(b"abc"), b"", b"\xff" * 1000],
        "queues": deque([deque([i], 2) for i in range(2000)], 5000),
        "dicts": defaultdict(dict, {i: defaultdict(list) for i in range(500)}),
        "ordered": OrderedDict((str(i), i) for i in range(500)),
        "empty": [[], {}, set(), (), "", slice(None), range(0), 1j] * 100,
        "scalars": [np.float32(i) for i in range(500)] + [np.str_("text")],
    }
    file = io.BytesIO()
    tengen.save(value, file, pickle_protocol=protocol)
    file.seek(0)
    found = tengen.load(file)
    for key in value.keys() - {"same", "expanded"}:
        assert found[key] == value[key]
    assert all(array is found["same"][0] for array in found["same"])
    assert found["expanded"].numpy().sum() == 100_000


def test_the_message_says_which_file(tmp_path):
    (tmp_path / "bomb").write_bytes(REFUSED["list of a range"])
    with pytest.raises(SerializationError, match=r"bomb: it calls .*list"):
        tengen.load(tmp_path / "bomb")
