"""Out of memory: the error says what was wanted, for what, and what holds the memory; and all goes on afterwards."""

from __future__ import annotations

import limited

CODE = """
a = F.ones((1024, 1024))
kept = [a + i for i in range(8)]
wide = F.broadcast_to(a.reshape(1, 1024, 1024), (512, 1024, 1024))
data = np.zeros((300, 1 << 20), np.float32)
limit(2000)

def tried(function, *arguments):
    try:
        function(*arguments)
        print("nothing was raised")
    except MemoryError as error:
        print(error)

def step(x):
    return F.broadcast_to(x.reshape(1, 1024, 1024), (512, 1024, 1024)) * 2, x + 1

tried(lambda: wide + 1.5)
tried(F.zeros, (1 << 29,))
tried(F.concat, [a] * 300)
tried(tengen.tensor, data)
tried(tengen.jit.trace(step), a)
manager = tengen.autodiff.GradManager().attach(a)
with manager:
    loss = F.exp(a).sum()
    tried(lambda: wide * loss)
    manager.backward(loss)
print((a + 1).numpy().sum(), a.grad.numpy().shape, tengen.jit.trace(lambda x: x * 2)(a).numpy().sum())
"""


def test_the_error_names_op_shape_bytes_and_what_is_live():
    lines = limited.run(CODE).splitlines()
    wanted = "out of memory: it needs 2.0 GiB (2147549184 bytes) to make float32 "
    held = "Tensors hold 36.6 MiB, the largest of them 9 × float32 (1024, 1024) (36.0 MiB)"
    assert lines[0].startswith(f"add: {wanted}(512, 1024, 1024) of float32 (512, 1024, 1024). {held}")
    assert lines[1].startswith(f"Fill: {wanted}(536870912,). {held}")
    assert lines[2].startswith("concat: out of memory: it needs 1.2 GiB") and "and 297 more" in lines[2]
    assert lines[3].startswith("out of memory: a tensor of float32 and shape (300, 1048576) needs 1258356736 bytes")
    assert lines[4].startswith(f"step: {wanted}(512, 1024, 1024), float32 (1024, 1024) of float32 (1024, 1024)")
    assert lines[5].startswith(f"mul: {wanted}(512, 1024, 1024)")
    assert lines[6] == "2.097152e+06 (1024, 1024) 2.097152e+06"
    assert len(lines) == 7 and all("del" in line for line in lines[:3])
