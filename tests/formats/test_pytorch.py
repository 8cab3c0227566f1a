"""Files that PyTorch 2.13 wrote (record_pytorch.py), in both of its formats; and such that are damaged or mean harm."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from types import SimpleNamespace

import limited
import numpy as np
import pytest

import tengen
from tengen import Parameter, Tensor
from tengen.base.errors import DeviceError, SerializationError

FOLDER = Path(__file__).parent / "pytorch"
FILES = [name + format for name in ("dtypes", "views", "containers", "checkpoint") for format in ("", "_legacy")]
LOADED_AS = {"float8_e4m3fn": "float32", "float8_e5m2": "float32"}


def check(got, want):
    """`got` is what the recorder described as `want`."""
    if isinstance(want, dict) and set(want) == {"kind", "dtype", "shape", "values"}:
        array = got.numpy() if isinstance(got, Tensor) else got
        if isinstance(got, Tensor):
            assert type(got) is (Parameter if want["kind"] == "Parameter" else Tensor)
            assert got.dtype.name == LOADED_AS.get(want["dtype"], want["dtype"])
        else:
            assert array.dtype.name == want["dtype"]
            assert want["dtype"] in ("uint32", "uint64", "complex64", "complex128")
        assert list(array.shape) == want["shape"]
        if array.dtype.kind == "c":
            array = np.ascontiguousarray(array).view(array.real.dtype)
        assert array.ravel().tolist() == want["values"]
    elif isinstance(want, dict):
        got = vars(got) if isinstance(got, SimpleNamespace) else got
        assert [str(key) for key in got] == list(want)
        for key, item in zip(got.values(), want.values(), strict=True):
            check(key, item)
    elif isinstance(want, list):
        assert len(got) == len(want)
        for a, b in zip(got, want, strict=True):
            check(a, b)
    else:
        assert got == want


def recorded(name):
    return json.loads((FOLDER / f"{name.partition('_')[0]}.json").read_text())


@pytest.mark.parametrize("name", [*FILES, "views_4"])
def test_files(name):
    check(tengen.load(FOLDER / f"{name}.pt"), recorded(name))


class Stream(io.RawIOBase):
    """A file that can only be read on."""

    def __init__(self, content):
        self._file = io.BytesIO(content)

    def readable(self):
        return True

    def read(self, size=-1):
        return self._file.read(size)


@pytest.mark.parametrize("name", ["views", "views_legacy"])
def test_a_stream(name):
    check(tengen.load(Stream((FOLDER / f"{name}.pt").read_bytes())), recorded(name))


def test_one_after_the_other():
    content = (FOLDER / "views_legacy.pt").read_bytes()
    file = io.BytesIO(b"before" + content + content)
    file.seek(6)
    for _ in range(2):
        check(tengen.load(file), recorded("views"))


@pytest.mark.parametrize("name", ["views", "views_legacy"])
def test_the_same_view_is_the_same_tensor(name):
    found = tengen.load(FOLDER / f"{name}.pt")
    assert found["whole"] is found["again"]
    assert found["whole"] is not found["rows"]


def test_locations():
    found = tengen.load(FOLDER / "views.pt", map_location="cpu1")
    assert {str(tensor.device) for tensor in found.values()} == {"cpu1:0"}
    assert str(tengen.load(FOLDER / "views.pt")["rows"].device) == "cpu0:0"


def test_a_file_of_a_gpu():
    content = archive(tensor(device="cuda:7"), {"0": bytes(16)})
    with pytest.raises(DeviceError, match=r"gpu7.*map_location='cpu0'"):
        tengen.load(io.BytesIO(content))
    assert str(tengen.load(io.BytesIO(content), map_location={"gpu7": "cpu1"}).device) == "cpu1:0"


def test_the_other_byte_order():
    content = archive(tensor(size=(3,)), {"0": np.arange(4, dtype=">f4").tobytes()}, byteorder="big")
    assert tengen.load(io.BytesIO(content)).tolist() == [0, 1, 2]
    numbers = np.array([1 + 2j, 3 - 4j], ">c8")
    content = archive(tensor("ComplexFloat", (2,), numel=2), {"0": numbers.tobytes()}, byteorder="big")
    assert tengen.load(io.BytesIO(content)).tolist() == numbers.tolist()


# -- files by hand ---------------------------------------------------------------------------------------------


def number(value):
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def numbers(values):
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(kind="Float", size=(2, 2), strides=None, offset=0, numel=4, key="0", device="cpu"):
    """The opcodes that make a tensor."""
    strides = np.cumprod([1, *size[:0:-1]])[::-1].tolist() if strides is None else strides
    storage = [
        b"(",
        text("storage"),
        f"ctorch\n{kind}Storage\n".encode(),
        text(key),
        text(device),
        number(numel),
        b"tQ",
    ]
    rest = [number(offset), numbers(size), numbers(strides), b"\x89ccollections\nOrderedDict\n)R"]
    return b"".join([b"ctorch._utils\n_rebuild_tensor_v2\n(", *storage, *rest, b"tR"])


def archive(code, storages, byteorder="little", compression=zipfile.ZIP_STORED, more=()):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        made.writestr("a/data.pkl", b"\x80\x02" + code + b".")
        made.writestr("a/byteorder", byteorder)
        for key, data in storages.items():
            made.writestr(f"a/data/{key}", data)
        for name in more:
            made.writestr(name, b"")
    return file.getvalue()


def legacy(code, *storages, keys=("0",)):
    head = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join([*head, b"\x80\x02", code, b".", pickle.dumps(list(keys), 2), *storages])


def changed_sum():
    content = bytearray(archive(tensor(), {"0": b"0123456789abcdef"}))
    content[content.index(b"0123456789abcdef")] ^= 1
    return bytes(content)


def overlapping():
    """Many members that are one and the same megabyte."""
    code = b"](" + b"".join(tensor(key=str(i), size=(1 << 18,), numel=1 << 18) for i in range(100)) + b"e"
    content = archive(code, {"0": bytes(1 << 20)})
    end = content.rindex(b"PK\x05\x06")
    start = content.index(b"PK\x01\x02")
    entries = content[start:end]
    last = entries[entries.rindex(b"PK\x01\x02") :]
    many = b"".join(
        last[:28] + struct.pack("<H", 7 + len(str(i))) + last[30:46] + f"a/data/{i}".encode() for i in range(1, 100)
    )
    count = struct.pack("<H", 102)
    return (
        content[:end]
        + many
        + content[end : end + 8]
        + count * 2
        + struct.pack("<I", len(entries + many))
        + content[end + 16 :]
    )


DATA = {"0": bytes(16)}
REFUSED = {
    "beyond the storage": (archive(tensor(offset=1), DATA), "leaves its storage"),
    "beyond it by a stride": (archive(tensor(strides=(2, 2)), DATA), "leaves its storage"),
    "a storage that is smaller than it says": (archive(tensor(numel=5, offset=1), DATA), "too few"),
    "a negative stride": (archive(tensor(strides=(-1, 1)), DATA), "sizes"),
    "a negative offset": (archive(tensor(offset=-1), DATA), "sizes"),
    "strides of another rank": (archive(tensor(strides=(1,)), DATA), "strides"),
    "too many dims": (archive(tensor(size=(1,) * 65, strides=(1,) * 65), DATA), "strides"),
    "a broadcast of terabytes": (archive(tensor(size=(1 << 40,), strides=(0,)), DATA), "far more"),
    "an array of terabytes": (archive(tensor("ComplexFloat", (1 << 40,), (0,)), DATA), "far more"),
    "an empty one of a huge size": (archive(tensor(size=(0, 1 << 61), strides=(1, 1)), DATA), "a.pt"),
    "many broadcasts": (
        archive(b"](" + b"".join(tensor(size=(1 << 17,), strides=(0,), offset=i % 4, numel=i + 4) for i in range(500)) + b"e", DATA),
        "far more",
    ),
    "no storage": (archive(tensor(), {}), "no data/0"),
    "a name that leads out": (archive(tensor(key="../../x"), DATA), "no data/"),
    "a compressed storage": (archive(tensor(), {"0": bytes(10**6)}, compression=zipfile.ZIP_DEFLATED), "compressed"),
    "a wrong sum": (changed_sum(), "CRC"),
    "overlapping members": (overlapping(), "far more|Overlapped|File name"),
    "code": (archive(b"cos\nsystem\n" + text("no") + b"\x85R", {}), r"os\.system"),
    "a module": (archive(b"(" + text("module") + b"NNNtQ", {}), "state_dict"),
    "no PyTorch": (archive(b"N", {}).replace(b"a/data.pkl", b"a/data.np_"), "not one of torch.save"),
    "a program": (archive(b"N", {}, more=["a/constants.pkl"]), "TorchScript"),
    "a namespace of what is no text": (archive(b"cargparse\nNamespace\n)\x81}K\x01K\x01sb", {}), "not text"),
    "a namespace of arguments": (archive(b"cargparse\nNamespace\nK\x01\x85R", {}), "it calls"),
    "another function of PyTorch's": (archive(b"ctorch._utils\n_rebuild_sparse_tensor\n)R", {}), "_rebuild_sparse_tensor"),
    "a function as a type": (
        archive(b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._tensor\n_rebuild_from_type_v2\nctorch\nTensor\n)}tR", {}),
        "_rebuild_from_type_v2",
    ),
    "a legacy storage of a claimed size": (legacy(tensor(), struct.pack("<q", 1 << 40)), "cut short"),
    "a legacy broadcast": (legacy(tensor(size=(1 << 40,), strides=(0,)), struct.pack("<q", 4) + bytes(16)), "far more"),
    "a legacy storage that no tensor uses": (legacy(tensor(), keys=("1",)), "no tensor uses the storage"),
    "a legacy storage that is missing": (legacy(tensor(), keys=()), "missing"),
    "a legacy order that is none": (legacy(tensor(), keys=("0", "0")), "no order"),
}  # fmt: skip


@pytest.mark.parametrize("content, message", REFUSED.values(), ids=list(REFUSED))
def test_what_is_refused(content, message, tmp_path):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(SerializationError, match=rf"a\.pt: .*({message})|{message}"):
        tengen.load(tmp_path / "a.pt")


def test_deep_namespaces_do_not_end_the_process():
    code = b"cargparse\nNamespace\nq\x00)\x81" + b"}X\x01\x00\x00\x00xh\x00)\x81" * 10_000 + b"sb" * 10_000
    found = tengen.load(io.BytesIO(archive(code, {})))
    assert vars(found.x.x.x)
    del found


def test_files_by_hand_are_read_if_nothing_is_wrong_with_them():
    numbers = np.arange(4, dtype=np.float32)
    content = archive(tensor(), {"0": numbers.tobytes()})
    assert tengen.load(io.BytesIO(content)).tolist() == [[0, 1], [2, 3]]
    content = legacy(tensor(), struct.pack("<q", 4) + numbers.tobytes())
    assert tengen.load(io.BytesIO(content)).tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    "name, message", [("module", r"torch\.nn\.modules\.linear\.Linear"), ("script", "TorchScript")]
)
def test_modules_are_code(name, message):
    with pytest.raises(SerializationError, match=message):
        tengen.load(FOLDER / f"{name}.pt")


CHILD = """
import io, pickle
from tengen.base.errors import DeviceError, SerializationError
for name, content, may in pickle.load(sys.stdin.buffer):
    try:
        tengen.load(io.BytesIO(content))
        print(end="" if may else name + " was loaded; ")
    except (SerializationError, DeviceError):
        pass
"""


def test_damaged_and_hostile_files_take_little():
    """Each cut, and each changed byte, is one clear error or goes unnoticed; all in a process that may take little memory."""
    cases = [(name, content, False) for name, (content, _) in REFUSED.items()]
    for name in ("views", "containers_legacy"):
        whole = (FOLDER / f"{name}.pt").read_bytes()
        cases += [(f"{name} cut at {length}", whole[:length], False) for length in range(4, len(whole) - 1, 71)]
        for place in range(0, len(whole), 11):
            changed = bytearray(whole)
            changed[place] ^= 1 << place % 8
            cases.append((f"{name} changed at {place}", bytes(changed), True))
    assert limited.run(CHILD, mebibytes=128, data=pickle.dumps(cases)) == ""
