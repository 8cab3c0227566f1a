"""Several processes where there are GPUs, each in a process of its own: forks, workers of a DataLoader, launched functions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from double.library import library
from programs_on_gpu import printed

TESTS = Path(__file__).resolve().parent.parent


def run(code, folder=None, **environment):
    """What the code prints, or the last line of its error. It finds `tengen` and the double, whose GPUs are the default device."""
    return printed("import tengen\n" + code, folder, **environment)


FORKED = """
import os
{before}
child = os.fork()
if not child:
    try: print((tengen.tensor([1.0], device="gpu0") + 1).tolist(), flush=True)
    except RuntimeError as error: print(error, flush=True)
    print(tengen.tensor([2.0], device="cpu0").tolist(), flush=True) if {also} else None
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.mark.parametrize("before", ["tengen.tensor([1.0])", "tengen.tensor([1.0], device='gpu1')"])
def test_a_forked_child_is_told_to_be_spawned(before):
    told = run(FORKED.format(before=before, also=False))
    assert told.startswith("gpu0 cannot be used in this process: it was forked from one that had used a GPU already")
    assert "'spawn'" in told and "tengen.set_default_device('cpu0')" in told
    assert run(FORKED.format(before=before, also=True)) == "[2.0]"


@pytest.mark.parametrize(
    "before",
    [
        "tengen.tensor([1.0], device='cpu0')",
        "assert tengen.get_device_count('gpu') == tengen.get_device_count('xpu') == 2",
        "assert tengen.is_cuda_available() and tengen.device.what_is_xpu() == 'gpu'",
        "assert tengen.device.get_cuda_version() == 13000",
        "tengen.set_default_device('gpu1')",
    ],
)
def test_a_child_of_one_that_only_asked_uses_gpus(before):
    assert run(FORKED.format(before=before, also=False)) == "[2.0]"


WORKERS = """
import numpy as np
from tengen.data import DataLoader
from tengen.data.dataset import Dataset

class Made(Dataset):
    def __len__(self): return 4
    def __getitem__(self, i):
        x = tengen.tensor([float(i)]) * 2
        assert x.device.physical == "cpu0", x.device.physical
        return x.numpy()

if __name__ == "__main__":
    y = tengen.tensor([1.0])
    print(y.device.physical, np.concatenate(list(DataLoader(Made(), num_workers=2, workers="process"))).ravel().tolist())
"""


@pytest.mark.parametrize("default", ["xpux", "gpu1"])
def test_workers_of_a_data_loader_leave_gpus_alone(tmp_path, default):
    assert run(WORKERS, tmp_path, MGE_DEFAULT_DEVICE=default) == f"gpu{int(default == 'gpu1')} [0.0, 2.0, 4.0, 6.0]"


LAUNCHED = """
import numpy as np
import tengen.distributed as dist, tengen.module as M
from tengen.autodiff import GradManager
{before}
@dist.launcher({options})
def work():
    x = tengen.tensor(np.full((1, 4), dist.get_rank() + 1, np.float32))
    total = dist.functional.all_reduce_sum(x)
    net = M.Linear(4, 3)
    dist.bcast_list_(net.parameters())
    with GradManager().attach(net.parameters(), callbacks=[dist.make_allreduce_cb("mean")]) as gm:
        gm.backward(net(x).sum())
    return total.device.physical, total.tolist()[0][0], net.weight.grad.device.physical, net.weight.grad.tolist()[0][0]
print(work())
"""


def test_each_launched_process_has_a_gpu():
    pytest.importorskip("mpi4py")
    assert run(LAUNCHED.format(options="", before="")) == "[('gpu0', 3.0, 'gpu0', 1.5), ('gpu1', 3.0, 'gpu1', 1.5)]"


def test_the_default_device_of_the_environment_may_be_that_of_launched_processes():
    pytest.importorskip("mpi4py")
    found = run(LAUNCHED.format(options="n_gpus=2", before=""), MGE_DEFAULT_DEVICE="gpux")
    assert found == "[('gpu0', 3.0, 'gpu0', 1.5), ('gpu1', 3.0, 'gpu1', 1.5)]"


def test_launched_processes_on_the_cpu():
    pytest.importorskip("mpi4py")
    for options, before in (
        ("n_gpus=3, device_type='cpu'", "tengen.tensor([1.0])"),
        ("n_gpus=3", "tengen.config.xpu = 'cpu'"),
    ):
        found = run(LAUNCHED.format(options=options, before=before))
        assert found == str([(f"cpu{rank}", 6.0, f"cpu{rank}", 2.0) for rank in range(3)])


def test_what_launcher_says():
    many = run(LAUNCHED.format(options="n_gpus=3", before=""))
    assert many.endswith(
        "launcher: each of n_gpus=3 processes needs a GPU of its own, and there are 2; compute on CPUs with device_type='cpu'"
    )
    used = run(LAUNCHED.format(options="n_gpus=2", before="tengen.tensor([1.0])"))
    assert "launcher: this process has used a GPU, so the processes that it forks could not" in used


def test_what_processes_started_otherwise_say(tmp_path):
    pytest.importorskip("mpi4py")
    code = "import tengen.distributed as dist\nprint(tengen.tensor([1.0]).device.physical)"
    path = tmp_path / "program.py"
    path.write_text("import tengen\n" + code)
    done = subprocess.run(
        [str(Path(sys.executable).with_name("tengen-run")), "--nproc", "3", str(path)],
        env=os.environ | {"TENGEN_CUDA_LIBRARY": library()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (
        done.returncode
        and "xpu2:0 was asked for, but tengen finds no such GPU (it can use 2 here); with TENGEN_XPU=cpu" in done.stderr
    )
