"""Files of recorded functions: a Program and its weights as data, described in docs/dump_format.md.

Reading one runs no code from it and imports no module that it names; whatever is wrong with it is a SerializationError.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from math import prod
from typing import Any, BinaryIO

import numpy as np

from ..base.dtype import ITEMSIZE, NAMES, WEAK
from ..base.errors import SerializationError
from ..base.files import append_whole, read_up_to, write_whole
from ..base.quantized import quantized, storage
from ..compiler.program import Builder, Node, Type, Value
from .frozen import Array, Frozen, freeze, stored_class
from .op_json import op_from_json, op_to_json, writable

MAGIC = b"tengen program\n\0"
VERSION = 1
ALIGNMENT = 64
# magic, version, checksum of the header, its size, checksum of the arrays, (nothing), their size, (nothing)
_PREFIX = struct.Struct("<16sIIQIIQ16s")
LARGEST = 2**48  # the most elements of a value: no machine holds as many, and sizes computed from them fit 64 bits
MOST_DIMS = 64


def save_program(file: str | os.PathLike[str] | BinaryIO, function: Frozen) -> None:
    """Write a recorded function to a path, whole or not at all, or to a binary file object.

    Composites that are made of Python functions or of other Programs are written as what they are made of. Raises
    SerializationError for an op that is not in the op table, or metadata that JSON does not have.
    """
    if isinstance(file, (str, os.PathLike)):
        with write_whole(file) as opened:
            _write(opened, function)
        return
    whole = io.BytesIO()
    _write(whole, function)
    append_whole(file, whole.getbuffer())


def load_program(file: str | os.PathLike[str] | BinaryIO) -> Frozen:
    """The function that `save_program` wrote. From a file object, only its bytes are read.

    Raises SerializationError, naming the file, if it is damaged, cut short, or was written by another program.
    """
    if isinstance(file, (str, os.PathLike)):
        with open(file, "rb") as opened:
            return _read_named(opened, os.fspath(file), alone=True)
    return _read_named(file, str(getattr(file, "name", "the file")), alone=False)


# -- writing ---------------------------------------------------------------------------------------------------


def _write(file: BinaryIO, function: Frozen) -> None:
    function = function.expanded(writable)
    arrays = list(function.constants.values())
    header = _header(function)
    header += b" " * (-(len(header) + _PREFIX.size) % ALIGNMENT)
    checksum = size = 0
    for array in arrays:
        for piece in (_bytes(array), _filler(array)):
            checksum, size = zlib.crc32(piece, checksum), size + len(piece)
    file.write(_PREFIX.pack(MAGIC, VERSION, zlib.crc32(header), len(header), checksum, 0, size, bytes(16)))
    file.write(header)
    for array in arrays:
        file.write(_bytes(array))
        file.write(_filler(array))


def _bytes(array: Array) -> Any:
    return array.astype(_little(array.dtype), copy=False).reshape(-1).view(np.uint8)


def _little(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(f"<{dtype.str[1:]}")


def _filler(array: Array) -> bytes:
    return bytes(-array.nbytes % ALIGNMENT)


def _header(function: Frozen) -> bytes:
    import json  # here and below: programs that only trace need not load it

    program, names, offset = function.program, iter(function.arguments), 0
    numbers: dict[Value, int] = {}
    inputs = []
    for value in program.inputs:
        numbers[value] = len(numbers)
        entry: dict[str, Any] = {"type": value.type}
        if value in function.constants:
            array = function.constants[value]
            entry["offset"] = offset
            entry |= _named(function.names.get(value))
            offset += array.nbytes + len(_filler(array))
        else:
            entry["name"] = next(names)
        inputs.append(entry)
    nodes = []
    try:
        for node in program.nodes:
            nodes.append(op_to_json(node.op) | {"inputs": [numbers[v] for v in node.inputs]})
            nodes[-1]["types"] = [v.type for v in node.outputs]
            nodes[-1] |= _named(function.names.get(node))
            if any(v in function.names for v in node.outputs):
                nodes[-1]["names"] = [function.names.get(v, "") for v in node.outputs]
            for out in node.outputs:
                numbers[out] = len(numbers)
        outputs = [
            {"name": name, "value": numbers[v]} for name, v in zip(function.outputs, program.outputs, strict=True)
        ]
        header = {"inputs": inputs, "nodes": nodes, "outputs": outputs, "metadata": function.metadata}
        text = json.dumps(header, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise SerializationError(f"the function cannot be written: {error}") from None
    if json.loads(text)["metadata"] != function.metadata:
        raise SerializationError(
            "metadata must consist of lists, dicts with strings as keys, strings, numbers and None"
        )
    return text.encode()


def _named(name: str | None) -> dict[str, str]:
    return {} if name is None else {"name": name}


# -- reading ---------------------------------------------------------------------------------------------------


def _read_named(file: BinaryIO, name: str, alone: bool) -> Frozen:
    try:
        header, data = _parts(file, alone)
        return _function(header, data)
    except (OSError, MemoryError):
        raise
    except _Refused as error:
        raise SerializationError(f"{name}: {error}") from None
    except Exception as error:
        # Shape rules may get parameters here that no call of a function gives them, so they may raise anything.
        raise SerializationError(f"{name}: not a sound program ({type(error).__name__}: {error})") from error


class _Refused(ValueError):
    """An error about a file, in the users' terms."""


def _parts(file: BinaryIO, alone: bool) -> tuple[Any, bytes]:
    """The header and the bytes of the arrays, as they were written."""
    import json

    prefix = read_up_to(file, _PREFIX.size)
    if prefix[: len(MAGIC)] != MAGIC[: len(prefix)] or not prefix:
        raise _Refused("not a program written by tengen" if prefix else "the file is empty")
    if len(prefix) < _PREFIX.size:
        raise _Refused("cut short")
    _, version, header_sum, header_size, data_sum, zero, data_size, zeros = _PREFIX.unpack(prefix)
    if version != VERSION:
        raise _Refused(f"written in version {version} of the format; this version of tengen reads version {VERSION}")
    header, data = read_up_to(file, header_size), read_up_to(file, data_size)
    if len(header) != header_size or len(data) != data_size:
        raise _Refused("cut short")
    if zlib.crc32(header) != header_sum or zlib.crc32(data) != data_sum or zero or any(zeros):
        raise _Refused("damaged (the checksum is wrong)")
    if alone and file.read(1):
        raise _Refused("damaged (there is more after its end)")
    return json.loads(header.decode(), parse_constant=_no_constant), data


def _no_constant(text: str) -> None:
    raise _Refused(f"{text} is not a number in JSON")


def _function(header: Any, data: bytes) -> Frozen:
    header = _fields(header, "the header", inputs=list, nodes=list, outputs=list, metadata=dict)
    builder = Builder(keep_composites=True)
    values: list[Value] = []
    names, constants = [], {}
    called: dict[Value | Node, str] = {}
    for entry in header["inputs"]:
        value = builder.input(_type(_fields(entry, "an input", type=list)["type"]))
        values.append(value)
        if "offset" in entry:
            constants[value] = _constant(value.type, entry["offset"], data)
            _note(called, entry, "name", value)
        else:
            names.append(_fields(entry, "an argument", name=str)["name"])
    for number, entry in enumerate(header["nodes"]):
        try:
            made = _outputs(builder, values, entry)
            values += made
            if made and made[0].node is not None:
                _note(called, entry, "name", made[0].node)
                _note(called, entry, "names", *made)
        except Exception as error:
            raise _Refused(f"node {number} is not sound ({type(error).__name__}: {error})") from error
    outputs = [_fields(entry, "an output", name=str) for entry in header["outputs"]]
    program = builder.finish(_picked(values, [entry.get("value") for entry in outputs]))
    return freeze(program, names, [entry["name"] for entry in outputs], constants, header["metadata"], called)


def _note(called: dict[Value | Node, str], entry: Any, key: str, *what: Value | Node) -> None:
    """Read the names in an entry, if it has any; "" means none."""
    if key not in entry:
        return
    names = entry[key] if key == "names" else [entry[key]]
    if not isinstance(names, list) or len(names) != len(what) or not all(isinstance(name, str) for name in names):
        raise _Refused(
            f"{entry[key]!r:.40} are not the names of {len(what)} values"
            if key == "names"
            else f"{entry[key]!r:.40} is not a name"
        )
    for one, name in zip(what, names, strict=True):
        if name:
            called.setdefault(one, name)


def _outputs(builder: Builder, values: list[Value], entry: Any) -> tuple[Value, ...]:
    """The outputs of a node. Their types must be those stated in the file."""
    entry = _fields(entry, "a node", inputs=list, types=list)
    node = Node(op_from_json(entry), tuple(_picked(values, entry["inputs"])))
    told = [_type(t) for t in entry["types"]]
    made = builder.record(node.op, node.inputs)
    if [v.type for v in made] != told:
        raise _Refused(f"{node.op.name} gives {', '.join(str(v.type) for v in made)}, not {', '.join(map(str, told))}")
    return made


def _picked(values: list[Value], numbers: list[Any]) -> list[Value]:
    for number in numbers:
        if type(number) is not int or not 0 <= number < len(values):
            raise _Refused(f"{number!r:.40} is not the number of a value that is known here")
    return [values[number] for number in numbers]


def _constant(type: Type, offset: Any, data: bytes) -> Array:
    if type.dtype in WEAK:
        raise _Refused(f"a constant cannot be a {type.dtype}")
    size = type.size * ITEMSIZE[storage(type.dtype)]
    if not isinstance(offset, int) or offset % ALIGNMENT or not 0 <= offset <= len(data) - size:
        raise _Refused(f"a constant of {type} at {offset!r:.40} is not inside the file")
    stored = np.dtype(stored_class(type.dtype))
    array = np.frombuffer(data, _little(stored), type.size, offset).reshape(type.shape)
    if type.dtype == "bool" and array.view(np.uint8).max(initial=0) > 1:
        raise _Refused("a constant of bool holds other values")
    return array.astype(stored, copy=False)


def _type(data: Any) -> Type:
    if not isinstance(data, list) or len(data) != 2 or not _is_dtype(data[0]) or not isinstance(data[1], list):
        raise _Refused(f"{data!r:.80} is not the type of a value")
    dtype, shape = data
    sound = all(type(s) is int and 0 <= s <= LARGEST for s in shape) and len(shape) <= MOST_DIMS
    if not sound or prod(s or 1 for s in shape) > LARGEST or (dtype in WEAK and shape):
        raise _Refused(f"{shape!r:.80} is not the shape of a value of {dtype}")
    return Type(dtype, tuple(shape))


def _is_dtype(name: Any) -> bool:
    found = quantized(name) if isinstance(name, str) and name[:1] == "q" else None
    return name in (*NAMES, *WEAK) or (found is not None and found.name == name)


def _fields(data: Any, what: str, **kinds: type) -> dict[str, Any]:
    """`data`, which must be an object with these entries of these kinds."""
    if not isinstance(data, dict):
        raise _Refused(f"{what} must be an object, not {data!r:.40}")
    for name, kind in kinds.items():
        if not isinstance(data.get(name), kind):
            raise _Refused(f"{what} must have an entry {name!r} of kind {kind.__name__}")
    return data
