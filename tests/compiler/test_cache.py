"""The table of compiled kernels in memory and on disk, and the choice of the instruction set."""

from __future__ import annotations

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from tengen.base import config
from tengen.compiler import cache
from tengen.compiler.kernels import functions
from tengen.compiler.kernels.target import HostTarget, Target
from tengen.compiler.targets import EMITTERS, host
from tengen.compiler.targets.host import available, host_target

KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


@dataclass
class Constant:
    """A kernel that writes a number into its first buffer."""

    number: int
    emitted: list[Target] = field(default_factory=list)

    @property
    def key(self) -> str:
        return f"test constant {self.number}"

    def write(self, target: Target) -> str:
        self.emitted.append(target)
        return (
            "define void @kernel(ptr %buffers, ptr %params, i64 %begin, i64 %end) {\n"
            f"  %out = load ptr, ptr %buffers\n  store i64 {self.number}, ptr %out\n  ret void\n}}\n"
        )


@pytest.fixture(autouse=True)
def emitter(monkeypatch):
    monkeypatch.setitem(EMITTERS[HostTarget], Constant, Constant.write)


def call(address: int) -> int:
    out = np.zeros(1, np.int64)
    pointers = np.array([out.ctypes.data])
    KERNEL(address)(pointers.ctypes.data, None, 0, 1)
    return int(out[0])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder; nothing is known in memory."""
    path = tmp_path / "kernels"
    with config.override(cache_dir=str(path)):
        monkeypatch.setattr(cache, "_addresses", {})
        yield path


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a new process began."""
    monkeypatch.setattr(cache, "_addresses", {})


def test_memory_then_disk_then_compiler(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Constant(11)
    first = cache.compile_kernels([source, source], host_target())
    assert first[0] == first[1] and len(source.emitted) == 1
    assert cache.compile_kernels([Constant(11)], host_target()) == first[:1]
    forget(monkeypatch)
    (again,) = cache.compile_kernels([source], host_target())
    assert call(again) == 11 and len(source.emitted) == 1


def test_folder_is_private(folder: Path) -> None:
    cache.compile_kernels([Constant(12)], host_target())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [p.stat().st_mode & 0o077 for p in folder.iterdir()] == [0]


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:40] + b"?" + b[41:], lambda b: b"\0" * len(b)]
)
def test_a_damaged_entry_is_built_again(folder: Path, monkeypatch: pytest.MonkeyPatch, damage: object) -> None:
    source = Constant(13)
    cache.compile_kernels([source], host_target())
    (entry,) = folder.iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    forget(monkeypatch)
    (address,) = cache.compile_kernels([source], host_target())
    assert call(address) == 13 and len(source.emitted) == 2
    assert entry.read_bytes() == whole


def test_an_entry_in_the_place_of_another_is_built_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.compile_kernels([Constant(21), Constant(22)], host_target())
    one, other = folder.iterdir()
    whole = one.read_bytes(), other.read_bytes()
    one.write_bytes(whole[1])
    other.write_bytes(whole[0])
    forget(monkeypatch)
    assert [call(a) for a in cache.compile_kernels([Constant(21), Constant(22)], host_target())] == [21, 22]
    assert (one.read_bytes(), other.read_bytes()) == whole


def test_what_a_killed_process_left_is_removed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(mode=0o700)
    (folder / "tengen-0123456789abcdef.tmp").write_bytes(b"half")
    monkeypatch.setattr(cache, "_written", 0)
    cache.compile_kernels([Constant(23)], host_target())
    assert [len(p.name) for p in folder.iterdir()] == [64]


def test_another_key_target_or_compiler_is_another_entry(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.compile_kernels([Constant(14), Constant(15)], host_target())
    assert len(list(folder.iterdir())) == 2
    narrow = available()[-1]
    with config.override(isa=narrow):
        cache.compile_kernels([Constant(14)], host_target())
    assert len(list(folder.iterdir())) == 3
    forget(monkeypatch)
    monkeypatch.setattr(cache, "_compiler_digest", lambda: "another version")
    cache.compile_kernels([Constant(14)], host_target())
    assert len(list(folder.iterdir())) == 4


def test_entries_know_of_functions_that_stand_with_their_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert functions.sources() == []
    monkeypatch.setitem(functions.FUNCTIONS, "triple", functions.Function(1, lambda x: x * 3.0))
    assert functions.sources() == [os.path.realpath(__file__)]
    path = tmp_path / "rows.py"
    monkeypatch.setattr(functions, "sources", lambda: [path])
    digests = []
    for text in ("x + 1", "x + 2", "x + 1"):
        path.write_text(text)
        cache._compiler_digest.cache_clear()
        digests.append(cache._compiler_digest())
    cache._compiler_digest.cache_clear()
    assert digests[0] == digests[2] != digests[1]


def test_a_folder_that_others_may_write_to_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(mode=0o700)
    folder.chmod(0o770)
    source = Constant(16)
    with pytest.warns(RuntimeWarning, match="others may write"):
        (address,) = cache.compile_kernels([source], host_target())
    assert call(address) == 16 and list(folder.iterdir()) == []


def test_a_folder_of_another_user_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 12345678)
    with pytest.warns(RuntimeWarning, match="another user"):
        (address,) = cache.compile_kernels([Constant(17)], host_target())
    assert call(address) == 17 and list(folder.iterdir()) == []


def test_no_folder_is_no_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with config.override(cache_dir=str(blocked / "kernels")):
        (address,) = cache.compile_kernels([Constant(18)], host_target())
    assert call(address) == 18


def test_a_full_disk_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    (address,) = cache.compile_kernels([Constant(19)], host_target())
    assert call(address) == 19 and list(folder.iterdir()) == []


def test_the_oldest_entries_go_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.compile_kernels([Constant(20 + i) for i in range(8)], host_target())
    entries = sorted(folder.iterdir())
    for age, entry in enumerate(entries):
        os.utime(entry, (1000 + age, 1000 + age))
    monkeypatch.setattr(cache, "MAX_BYTES", 4 * entries[0].stat().st_size)
    cache._shrink(folder)
    assert sorted(folder.iterdir()) == entries[5:]


def test_the_folder_is_cleared_of_entries_alone(folder: Path) -> None:
    cache.compile_kernels([Constant(40 + i) for i in range(3)], host_target())
    size = sum(entry.stat().st_size for entry in folder.iterdir())
    letter = folder / "letter.txt"
    letter.write_text("x" * 10_000_000)
    os.utime(letter, (1, 1))
    cache.set_limit(size)
    assert cache.usage() == (str(folder), 3, size, size) and letter.exists()
    assert cache.clear() == (str(folder), 3, size, size) and cache.usage() == (str(folder), 0, 0, size)
    assert sorted(file.name for file in folder.iterdir()) == ["letter.txt", "limit"]


def test_a_limit_is_kept_at_once_and_by_processes_to_come(folder: Path) -> None:
    cache.compile_kernels([Constant(50 + i) for i in range(8)], host_target())
    one = min(file.stat().st_size for file in folder.iterdir())
    cache.set_limit(4 * one + 1)
    assert 0 < cache.usage().entries <= 4 and cache.usage().limit == 4 * one + 1
    cache.compile_kernels([Constant(60 + i) for i in range(4)], host_target())
    cache._shrink(str(folder))
    assert cache.usage().bytes <= 3 * one + 1
    (folder / "limit").write_text("much")
    assert cache.usage().limit == cache.MAX_BYTES


def test_without_a_folder_there_is_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with config.override(cache_dir=str(blocked / "kernels")):
        assert cache.clear() == cache.usage() == (None, 0, 0, cache.MAX_BYTES)
        with pytest.raises(OSError, match="no folder"):
            cache.set_limit(5)


def test_threads_share_one_kernel(folder: Path) -> None:
    source = Constant(30)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: cache.compile_kernels([source], host_target()), range(32)))
    assert all(addresses == found[0] for addresses in found) and len(source.emitted) == 1


def test_dump() -> None:
    files = cache.dump(Constant(31), host_target())
    assert "store i64 31" in files["ll"] and "kernel:" in files["s"]


# -- instruction sets ----------------------------------------------------------------------------------------------


def test_every_available_instruction_set_can_be_asked_for() -> None:
    lanes_of = {
        **dict.fromkeys(("amx", "avx512bf16", "avx512vnni", "avx512"), 16),
        **{"avxvnni": 8, "avx2": 8, "x86-64": 4, "neon": 4},
    }
    assert list(lanes_of) == list(host._LEVELS)
    for isa, lanes in lanes_of.items():
        with config.override(isa=isa):
            if isa in available():
                assert (host_target().name, host_target().lanes) == (isa, lanes)
            else:
                with pytest.raises(RuntimeError, match=f"no {isa}"):
                    host_target()
    assert host_target().name == available()[0]


@pytest.mark.parametrize("said, size", [("1024K\n", 1 << 20), ("2048", 2048), ("?", 0), (None, 0)])
def test_the_level_2_cache_is_what_linux_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said, size) -> None:
    for index, level in enumerate(("1", "2")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "level").write_text(level + "\n")
        (tmp_path / f"index{index}" / "size").write_text("48K\n" if level == "1" else said or "")
    monkeypatch.setattr(host, "_CACHES", tmp_path / ("nowhere" if said is None else ""))
    assert host._level2() == size


def test_narrow_targets_use_no_wide_registers() -> None:
    text = (
        "define void @kernel(ptr %buffers, ptr %params, i64 %begin, i64 %end) {\n  %x = load <16 x float>, ptr %params, align 4\n"
        "  %y = fadd <16 x float> %x, %x\n  store <16 x float> %y, ptr %params, align 4\n  ret void\n}\n"
    )
    registers = {
        **dict.fromkeys(("amx", "avx512bf16", "avx512vnni", "avx512"), "zmm"),
        **{"avxvnni": "ymm", "avx2": "ymm", "x86-64": "xmm"},
    }
    for isa in set(available()) & set(registers):
        with config.override(isa=isa):
            code = host.assembly(text, host_target())
        assert next(r for r in ("zmm", "ymm", "xmm") if r in code) == registers[isa]
