"""Files of recorded functions: what is written comes back, and what is damaged or hostile is one clear error."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from frozen_functions import frozen

from tengen.base.errors import SerializationError
from tengen.compiler.program import OPERATORS, Program, Type
from tengen.core.ops.conv import Conv2d
from tengen.core.ops.elemwise import Elemwise
from tengen.core.ops.formula import Softmax
from tengen.core.ops.linalg import MatMul
from tengen.core.ops.normalization import BatchNormInference
from tengen.core.ops.pool import Pooling
from tengen.core.ops.reduce import Reduce
from tengen.core.ops.shape import Broadcast, Pad, PlaceView, Reduced, Reshape, Slice
from tengen.core.recorded import Recorded
from tengen.core.update import FusedUpdate
from tengen.jit.program_file import MAGIC, VERSION, load_program, save_program

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
PREFIX = struct.Struct("<16sIIQIIQ16s")


def small(metadata=None):
    """y0 = softmax(x0 * w), y1 = the sums of the rows of x0."""
    weight = np.arange(4, dtype=np.float32)
    return frozen(
        lambda x, w: (Softmax((1,))(x * w), Reduced(Reduce("SUM", (1,)), (1,), False)(x)), [X], [weight], metadata
    )


def convolutional():
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(s).astype(np.float32) for s in [(4, 3, 3, 3), (1, 4, 1, 1), *[(4,)] * 4]]
    weights[3] = np.abs(weights[3])

    def network(x, w, b, mean, variance, scale, shift):
        y = Conv2d((1, 1), (1, 1), (1, 1), 1, True)(x, w, b)
        y = BatchNormInference()(y, mean, variance, scale, shift, 1e-5)
        return Pooling("max", (2, 2), (2, 2), (0, 0))(Elemwise("RELU")(y))

    return frozen(network, [Type("float32", (2, 3, 8, 8))], weights)


def written(function) -> bytes:
    file = io.BytesIO()
    save_program(file, function)
    return file.getvalue()


def read(data: bytes):
    return load_program(io.BytesIO(data))


def with_header(change) -> bytes:
    """The file of `small` with its header changed, sizes and checksums right."""
    data = written(small())
    _, _, _, size, data_sum, _, data_size, _ = PREFIX.unpack(data[: PREFIX.size])
    header = json.loads(data[PREFIX.size : PREFIX.size + size])
    arrays = data[PREFIX.size + size :]
    text = change(header)
    text = text if isinstance(text, bytes) else json.dumps(header).encode()
    return PREFIX.pack(MAGIC, VERSION, zlib.crc32(text), len(text), data_sum, 0, data_size, bytes(16)) + text + arrays


@pytest.mark.parametrize("make", [small, convolutional])
def test_what_is_written_comes_back(make):
    function = make()
    loaded = read(written(function))
    assert str(loaded.program) == str(function.program)
    assert (loaded.arguments, loaded.outputs) == (function.arguments, function.outputs)
    assert [loaded.program.inputs.index(v) for v in loaded.constants] == [
        function.program.inputs.index(v) for v in function.constants
    ]
    for got, want in zip(loaded.constants.values(), function.constants.values(), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


def test_the_same_function_gives_the_same_bytes():
    assert written(convolutional()) == written(convolutional())


def test_a_path_and_a_stream_of_several(tmp_path):
    path = tmp_path / "function.tengen"
    save_program(path, small())
    assert str(load_program(path).program) == str(small().program)
    stream = io.BytesIO(path.read_bytes() + written(convolutional()))
    assert [len(load_program(stream).program.nodes) for _ in range(2)] == [
        len(small().program.nodes),
        len(convolutional().program.nodes),
    ]


def header_of(data: bytes) -> dict:
    size = PREFIX.unpack(data[: PREFIX.size])[3]
    return json.loads(data[PREFIX.size : PREFIX.size + size])


def test_the_description_shows_what_is_written():
    text = (Path(__file__).parents[2] / "docs" / "dump_format.md").read_text(encoding="utf-8")
    shown = [json.loads(line) for line in text.splitlines() if line.startswith('    {"op"')]
    function = frozen(lambda x: Elemwise("RELU")(x) * 0.5, [Type("float32", (2, 3))])
    assert header_of(written(function))["nodes"] == shown


def test_arrays_are_aligned():
    data = written(convolutional())
    _, _, _, size, _, _, data_size, _ = PREFIX.unpack(data[: PREFIX.size])
    header = json.loads(data[PREFIX.size : PREFIX.size + size])
    assert (PREFIX.size + size) % 64 == 0
    assert len(data) == PREFIX.size + size + data_size
    assert all(entry["offset"] % 64 == 0 for entry in header["inputs"] if "offset" in entry)


DTYPES = "bool uint8 int8 uint16 int16 int32 int64 float16 bfloat16 float32 float64".split()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (5, 2)])
def test_constants_of_every_dtype(dtype, shape):
    stored = "uint16" if dtype == "bfloat16" else dtype
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(stored)
    function = frozen(lambda w: Elemwise("EQ")(w, w), [Type(dtype, shape)])
    function = function._replace(arguments=(), constants={function.program.inputs[0]: array})
    loaded = read(written(function))
    (value,) = loaded.program.inputs
    assert value.type == Type(dtype, shape)
    np.testing.assert_array_equal(loaded.constants[value], array)
    assert loaded.constants[value].dtype == array.dtype


def test_parameters_of_every_kind():
    part = Slice((1, 0), (2, 4), (1, 1))
    ops = [
        lambda x: Pad((0, 0), (1, 0), float("-inf"))(x),
        lambda x: Pad((0, 0), (1, 0), float("nan"))(x),
        lambda x: Pad((0, 0), (1, 0), -0.0)(x),
        lambda x: PlaceView(part, "add")(x, part(x)),
        lambda x: x * 1e300 + 7 + x * True,
        lambda x: x + x.builder.number(12),
    ]
    function = frozen(lambda x: [op(x) for op in ops], [X])
    assert str(read(written(function)).program) == str(function.program)
    fills = [node.op.fill for node in read(written(function)).program.nodes if isinstance(node.op, Pad)]
    assert [str(f) for f in fills] == ["-inf", "nan", "-0.0"]


def test_composites_of_programs_and_functions_are_written_as_what_they_are_made_of():
    inner = frozen(lambda x: Softmax((1,))(x) + 1.0, [X]).program
    function = frozen(lambda x: Recorded("inner", Program(inner.inputs, inner.nodes, inner.outputs))(x), [X])
    assert [type(n.op).__name__ for n in read(written(function)).program.nodes] == ["Softmax", "Constant", "Elemwise"]
    step = FusedUpdate(lambda x, g: x - g * 0.5, 1, 1, 1)
    function = frozen(lambda x, g: step(x, g), [X, X])
    assert {type(n.op).__name__ for n in read(written(function)).program.nodes} == {"Constant", "Elemwise"}


def test_an_op_outside_of_the_table_cannot_be_written():
    class Strange(type(OPERATORS["add"]).__mro__[1]):
        def infer(self, *types):
            return types

    with pytest.raises(SerializationError, match="Strange cannot be written to a file"):
        written(frozen(lambda x: Strange()(x), [X]))


@pytest.mark.parametrize("metadata", [{"a": [1, {"b": None}], "c": 1.5, "d": "ü"}, {}])
def test_metadata(metadata):
    assert read(written(small(metadata))).metadata == metadata


@pytest.mark.parametrize("metadata", [{"a": X}, {1: 2}, {"a": (1,)}, {"a": float("nan")}], ids=str)
def test_metadata_that_json_does_not_have(metadata):
    with pytest.raises(SerializationError):
        written(small(metadata))


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "function.tengen"
    save_program(path, small())
    before = path.read_bytes()
    with pytest.raises(SerializationError):
        save_program(path, small({1: 2}))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# -- damage ----------------------------------------------------------------------------------------------------


def test_every_cut_is_noticed():
    data = written(small())
    for length in range(len(data)):
        with pytest.raises(SerializationError, match=r"the file: (cut short|the file is empty)"):
            read(data[:length])


def test_every_changed_byte_is_noticed():
    data = written(small())
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(SerializationError, match="the file"):
            read(bytes(damaged))


def test_something_behind_the_end_of_a_path_is_noticed(tmp_path):
    path = tmp_path / "function.tengen"
    path.write_bytes(written(small()) + b"x")
    with pytest.raises(SerializationError, match=r"function\.tengen: damaged"):
        load_program(path)


def test_another_file_and_another_version():
    with pytest.raises(SerializationError, match="not a program written by tengen"):
        read(b"PK\x03\x04" * 40)
    data = bytearray(written(small()))
    data[16] = 9
    with pytest.raises(SerializationError, match="version 9 of the format; this version of tengen reads version 1"):
        read(bytes(data))


def node(header, op):
    return next(n for n in header["nodes"] if n["op"] == op)


HOSTILE = {
    "no object": lambda h: b"[]",
    "no JSON": lambda h: b"{",
    "no text": lambda h: b"\xff\xfe",
    "deep": lambda h: b"[" * 200_000,
    "a number that is none": lambda h: b'{"inputs": NaN}',
    "a number of many digits": lambda h: b'{"inputs": ' + b"9" * 10_000 + b"}",
    "nothing": lambda h: h.clear(),
    "an input without a name": lambda h: h["inputs"][0].pop("name"),
    "inputs of one name": lambda h: (h["inputs"][1].pop("offset"), h["inputs"][1].update(name="x0")),
    "a negative extent": lambda h: h["inputs"][0].update(type=["float32", [-3, 4]]),
    "a broken extent": lambda h: h["inputs"][0].update(type=["float32", [3.0, 4]]),
    "a huge shape": lambda h: h["inputs"][0].update(type=["float32", [2**40, 2**40]]),
    "a huge constant": lambda h: h["inputs"][1].update(type=["float32", [2**40]]),
    "a dtype that is none": lambda h: h["inputs"][0].update(type=["os.system", [3, 4]]),
    "a weak constant": lambda h: h["inputs"][1].update(type=["weak_float", []]),
    "an offset outside": lambda h: h["inputs"][1].update(offset=64),
    "a negative offset": lambda h: h["inputs"][1].update(offset=-64),
    "an offset that is not aligned": lambda h: h["inputs"][1].update(offset=4),
    "an unknown op": lambda h: h["nodes"][0].update(op="system"),
    "an abstract op": lambda h: h["nodes"][0].update(op="Composite", parameters={}),
    "an op that is no text": lambda h: h["nodes"][0].update(op=["Elemwise"]),
    "an unknown mode": lambda h: node(h, "Elemwise")["parameters"].update(mode="NONE"),
    "a parameter too many": lambda h: node(h, "Elemwise")["parameters"].update(extra=1),
    "a parameter of another kind": lambda h: node(h, "Softmax")["parameters"].update(axes="1"),
    "an axis that is not there": lambda h: node(h, "Softmax")["parameters"].update(axes=[[1]]),
    "an inner op that is none": lambda h: node(h, "Reduced")["parameters"].update(op={"op": "x", "parameters": {}}),
    "inner ops without end": lambda h: node(h, "Reduced")["parameters"].update(op=nested(200)),
    "a value that comes later": lambda h: h["nodes"][0].update(inputs=[5, 0]),
    "a value of itself": lambda h: h["nodes"][0].update(inputs=[2, 0]),
    "a negative value": lambda h: h["nodes"][0].update(inputs=[-1, 0]),
    "a value that is no number": lambda h: h["nodes"][0].update(inputs=[True, 0]),
    "an input too few": lambda h: h["nodes"][0].update(inputs=[0]),
    "another result": lambda h: h["nodes"][0].update(types=[["float32", [3, 5]]]),
    "an output that is not there": lambda h: h["outputs"][0].update(value=99),
    "an output without a name": lambda h: h["outputs"][0].pop("name"),
    "metadata that is no object": lambda h: h.update(metadata=[]),
}  # fmt: skip


def nested(depth):
    op = {"op": "Reduce", "parameters": {"mode": "SUM", "axes": [1]}}
    for _ in range(depth):
        op = {"op": "Reduced", "parameters": {"op": op, "axes": [1], "keepdims": True}}
    return op


def test_a_header_written_anew_is_read():
    assert str(read(with_header(lambda h: None)).program) == str(small().program)


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_header_is_one_error(change):
    with pytest.raises(SerializationError, match="the file: "):
        read(with_header(change))


OUTSIDE = {
    "slice": (Slice, {"starts": [9, 0], "extents": [2, 4], "steps": [1, 1]}, [2, 4]),
    "slice backwards": (Slice, {"starts": [0, 0], "extents": [3, 4], "steps": [-1, 1]}, [3, 4]),
    "pad": (Pad, {"before": [-2, 0], "after": [0, 0], "fill": 0.0}, [1, 4]),
    "reshape": (Reshape, {"shape": [4, 4]}, [4, 4]),
    "broadcast": (Broadcast, {"shape": [6, 4]}, [6, 4]),
}


@pytest.mark.parametrize("op, parameters, shape", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_no_op_from_a_file_reads_outside_of_its_input(op, parameters, shape):
    def change(header):
        header["nodes"][0] = {
            "op": op.__name__,
            "parameters": parameters,
            "inputs": [0],
            "types": [["float32", shape]],
        }

    with pytest.raises(SerializationError, match="node 0 is not sound"):
        read(with_header(change))


def test_no_contraction_of_integers_reaches_the_compiler():
    header = header_of(written(frozen(MatMul(), [Type("float32", (3, 4)), Type("float32", (4, 2))])))
    header["inputs"][1]["type"][0] = "int32"
    text = json.dumps(header).encode()
    data = PREFIX.pack(MAGIC, VERSION, zlib.crc32(text), len(text), 0, 0, 0, bytes(16)) + text
    with pytest.raises(SerializationError, match="matmul: a sum of products takes floats, got float32 and int32"):
        read(data)


def test_names_of_weights_nodes_and_outputs_come_back():
    function = small()
    weight, first, last = function.program.inputs[1], function.program.nodes[0], function.program.nodes[-1]
    names = {weight: "scale", first: "a", first.outputs[0]: "b", last: "c"}
    loaded = read(written(function._replace(names=names)))
    program = loaded.program
    assert loaded.names == {
        program.inputs[1]: "scale",
        program.nodes[0]: "a",
        program.nodes[0].outputs[0]: "b",
        program.nodes[-1]: "c",
    }


@pytest.mark.parametrize(
    "where, entry, value",
    [
        ("inputs", 1, {"name": 3}),
        ("nodes", 0, {"name": ["a"]}),
        ("nodes", 0, {"names": "a"}),
        ("nodes", 0, {"names": []}),
    ],
)
def test_names_that_are_none_are_refused(where, entry, value):
    with pytest.raises(SerializationError, match=r"name"):
        read(with_header(lambda header: header[where][entry].update(value)))
