"""Modules of PTX: variables, cubins, text that the double refuses, and what LLVM makes of a kernel."""

from __future__ import annotations

import re
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint64, c_void_p, cast, create_string_buffer, string_at

import llvmlite.binding as llvm
import numpy as np
import pytest

from . import ptx as ptx_module
from .driver import CudaError, cu, made, ptx
from .library import FOLDER, double

rng = np.random.default_rng(0)


def test_variables_of_a_module(device):
    text = ptx(
        """
        mov.u64 %d0, table; ld.global.f32 %f0, [%d0+4]; st.global.f32 [%b0], %f0;
        mov.u64 %d1, steps; cvta.const.u64 %d2, %d1; ld.const.u16 %r1, [steps+2]; ld.global.u32 %r2, [count];
        add.u32 %r1, %r1, %r2; add.u32 %r2, %r2, 1; st.global.u32 [count], %r2;
        cvt.rn.f32.u32 %f1, %r1; st.global.f32 [%b0+4], %f1;
        """,
        outside=".visible .global .align 4 .f32 table[2] = {0f3F800000, 2.5};\n.visible .global .u32 count;\n"
        ".const .align 2 .b8 steps[4] = {1, 2, 0x2A, 0};",
    )
    module = made("cuModuleLoadData", text.encode())
    f, address, size = made("cuModuleGetFunction", module, b"kernel"), c_uint64(), c_size_t()
    cu("cuModuleGetGlobal_v2", byref(address), byref(size), module, b"count")
    assert size.value == 4
    out = device.alloc(8)
    for i in range(3):
        device.launch(f, 1, [out, out], [0])
        assert device.get(out, 2).tolist() == [2.5, 42 + i]
    assert device.get(address.value, 1, "uint32") == 3


@pytest.mark.parametrize(
    "body, why",
    [
        (
            "tex.2d.v4.f32.s32 {%f0, %f1, %f2, %f3}, [%d0];",
            "line 13 `tex.2d.v4.f32.s32 {%f0, %f1, %f2, %f3}, [%d0]`: the double does not know it",
        ),
        ("add.ftz.f32 %f0, %f1, %f2;", "unknown .ftz"),
        ("div.approx.f32 %f0, %f1, %f2;", "unknown .approx"),
        ("cvt.rz.f16.f32 %r0, %f2;", "unknown .rz"),
        ("bar.sync 1, 64;", "only barrier 0 of the whole block"),
        ("add.u32 %r0, %r1, %nothing;", "operand %nothing"),
        ("add.u32 %r77, %r1, %r2;", "register %r77 is not declared"),
        ("shl.u32.wrong %r1, %r1, %r2;", "unknown .wrong"),
        ("add.u32 %r0, %r1, %tid.x;", "%tid.x is a special register, which only mov may read"),
        ("add.u64 %d0, %d1, %r2;", "%r2 has 32 bits, not 64"),
        ("ld.global.u32 %r0, [%r1];", "%r1 has 32 bits, not 64"),
        ("ld.shared.u64 %r0, [%d1];", "%r0 has 32 bits, not 64"),
        ("st.shared.v2.u32 [%d1], {%r0, %d0};", "registers of different sizes"),
        ("cvt.u32.u64 %r0, %f1;", "%f1 has 32 bits, not 64"),
        ("neg.f32 %f0, %u;", "operand %u"),
        (".shared .b32 own; ld.global.u32 %r0, [own];", "own is in shared memory"),
        ("mul.wide.u32 %r0, %r1, %r2;", "%r0 has 32 bits, not 64"),
        ("add.u32 %f0, %r1, %r2;", "%f0 is a register of .f32"),
        (".reg .u32 %u; add.f32 %f0, %f1, %u;", "%u is a register of .u32"),
        ("mov.u32 %r1", "without its semicolon"),
        ("call foo;", "call foo"),
        ("ld.global.u32 %r1, [%d0;", "a bracket that is not closed"),
        ("ld.param.u64 %d0, [params+8];", "past the end of the parameters"),
    ],
)
def test_unknown_text_is_an_error_that_names_it(faulty, body, why):
    text = ptx("\n" + body)
    if "semicolon" in why:
        text = text.replace("ret; }", "}")
    with pytest.raises(CudaError, match="INVALID_PTX"):
        faulty.function(text)
    assert why in double().problems()[0]


@pytest.mark.parametrize(
    "old, new, name",
    [("sm_90", "sm_100", "NO_BINARY_FOR_GPU"), ("version 8.0", "version 9.1", "UNSUPPORTED_PTX_VERSION")],
)
def test_text_for_a_later_gpu_or_driver(faulty, old, new, name):
    with pytest.raises(CudaError, match=name):
        faulty.function(ptx("").replace(old, new))
    assert new.split("_")[-1].split()[-1] in double().problems()[0]


def test_a_log_says_what_is_wrong(faulty):
    log = create_string_buffer(200)
    options, values = (c_int * 2)(5, 6), (c_void_p * 2)(cast(log, c_void_p).value, 200)
    module = c_void_p()
    image = c_char_p(ptx("wgmma.fence;").encode())
    assert double().driver.cuModuleLoadDataEx(byref(module), image, 2, options, values) == 218
    assert b"`wgmma.fence`: the double does not know it" in log.value
    assert double().driver.cuModuleLoadDataEx(byref(module), c_char_p(ptx("").encode()), 2, options, values) == 0


def test_texts_become_a_cubin_that_can_be_kept(device):
    text = ptx("st.global.u32 [%b0], 42;").encode()
    link, cubin, size = c_void_p(), c_void_p(), c_size_t()
    cu("cuLinkCreate_v2", 0, None, None, byref(link))
    cu("cuLinkAddData_v2", link, 1, text, c_size_t(len(text)), b"name", 0, None, None)
    cu("cuLinkComplete", link, byref(cubin), byref(size))
    kept = string_at(cubin.value, size.value)
    cu("cuLinkDestroy", link)
    assert kept.startswith(b"\x7fELF")
    f, a = made("cuModuleGetFunction", made("cuModuleLoadData", kept), b"kernel"), device.alloc(4)
    device.launch(f, 1, [a, a], [0])
    assert device.get(a, 1, "uint32") == 42


def test_machine_code_is_kept_and_damage_does_no_harm(device, tmp_path):
    text = ptx("add.u32 %r0, %r1, 12345;")
    first = ptx_module.compiled(text, tmp_path)
    (path,) = tmp_path.iterdir()
    assert ptx_module.compiled(text, tmp_path) == first
    path.write_bytes(path.read_bytes()[:-1])
    assert ptx_module.compiled(text, tmp_path) == first
    assert FOLDER.exists()


# -- LLVM --------------------------------------------------------------------------------------------------------------------

# The sum of a row of n numbers by a block of 128 threads: shuffles, then shared memory.
ROW_SUM = """
target triple = "nvptx64-nvidia-cuda"
@parts = internal addrspace(3) global [4 x float] undef, align 16
declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
declare void @llvm.nvvm.barrier.cta.sync.aligned.all(i32)
declare i32 @llvm.nvvm.shfl.sync.bfly.i32(i32, i32, i32, i32)
define ptx_kernel void @kernel(ptr byval([2 x ptr]) align 8 %buffers, ptr byval([1 x i64]) align 8 %params) {
entry:
  %x0 = load ptr, ptr %buffers
  %x = addrspacecast ptr %x0 to ptr addrspace(1)
  %yp = getelementptr ptr, ptr %buffers, i64 1
  %y0 = load ptr, ptr %yp
  %y = addrspacecast ptr %y0 to ptr addrspace(1)
  %n = load i64, ptr %params
  %t32 = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %t = zext i32 %t32 to i64
  %row32 = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
  %row = zext i32 %row32 to i64
  %start = mul i64 %row, %n
  br label %loop
loop:
  %i = phi i64 [%t, %entry], [%next, %body]
  %sum = phi float [0.0, %entry], [%more, %body]
  %go = icmp ult i64 %i, %n
  br i1 %go, label %body, label %done
body:
  %at = add i64 %start, %i
  %p = getelementptr float, ptr addrspace(1) %x, i64 %at
  %v = load float, ptr addrspace(1) %p
  %more = fadd float %sum, %v
  %next = add i64 %i, 128
  br label %loop
done:
FOLD
  %lane = and i32 %t32, 31
  %warp = lshr i32 %t32, 5
  %first = icmp eq i32 %lane, 0
  br i1 %first, label %store, label %wait
store:
  %slot = getelementptr float, ptr addrspace(3) @parts, i32 %warp
  store float %s5, ptr addrspace(3) %slot
  br label %wait
wait:
  call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)
  %all = load <4 x float>, ptr addrspace(3) @parts
  %a = extractelement <4 x float> %all, i32 0
  %b = extractelement <4 x float> %all, i32 1
  %c = extractelement <4 x float> %all, i32 2
  %d = extractelement <4 x float> %all, i32 3
  %ab = fadd float %a, %b
  %cd = fadd float %c, %d
  %total = fadd float %ab, %cd
  %out = getelementptr float, ptr addrspace(1) %y, i64 %row
  %one = icmp eq i32 %t32, 7
  br i1 %one, label %write, label %end
write:
  store float %total, ptr addrspace(1) %out
  br label %end
end:
  ret void
}
"""


def butterfly() -> str:
    lines, value = [], "%sum"
    for i, distance in enumerate((16, 8, 4, 2, 1), 1):
        lines += [
            f"%i{i} = bitcast float {value} to i32",
            f"%o{i} = call i32 @llvm.nvvm.shfl.sync.bfly.i32(i32 -1, i32 %i{i}, i32 {distance}, i32 31)",
            f"%f{i} = bitcast i32 %o{i} to float",
            f"%s{i} = fadd float {value}, %f{i}",
        ]
        value = f"%s{i}"
    return "\n".join(lines)


def nvptx(ir: str, cpu: str = "sm_90", features: str = "+ptx80") -> str:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple("nvptx64-nvidia-cuda").create_target_machine(cpu=cpu, features=features, opt=3)
    module = llvm.parse_assembly(ir)
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    builder.getModulePassManager().run(module, builder)
    return machine.emit_assembly(module)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_what_llvm_writes_runs(device, order):
    text = nvptx(ROW_SUM.replace("FOLD", butterfly()))
    x = rng.integers(-8, 8, (5, 1000)).astype("float32")
    buffers = [device.put(x), device.alloc(20)]
    with double().order(order):
        device.launch(device.function(text), 128, buffers, [1000], grid=5)
        assert np.array_equal(device.get(buffers[1], 5), x.sum(1))


def test_what_llvm_writes_without_its_barrier_is_a_race(faulty):
    text = nvptx(ROW_SUM.replace("FOLD", butterfly()))
    removed, count = re.subn(r"\n\s*bar(rier)?\S*sync\S*\s+0;", "\n", text)
    assert count == 1
    faulty.launch(faulty.function(removed), 128, [faulty.put(np.ones(8, "f4")), faulty.alloc(4)], [8])
    with pytest.raises(CudaError, match="LAUNCH_FAILED"):
        faulty.wait()
    assert "race on byte" in double().problems()[0]
