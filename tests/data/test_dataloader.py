"""DataLoader: what it gives, in which order, and what happens when a worker fails."""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from samples import Count, Dies, Ends, Images, Locked, Slow, Squares, Twice

import tengen
from tengen.data import DataLoader, Infinite, RandomSampler, SequentialSampler, StreamSampler
from tengen.data.dataset import ArrayDataset

WORKERS = [{}, {"num_workers": 1}, {"num_workers": 3}, {"num_workers": 2, "workers": "process"}]


def workers_left() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("tengen-data")]


def wait_until(done) -> None:
    stop = time.monotonic() + 20
    while not done() and time.monotonic() < stop:
        gc.collect()
        time.sleep(0.01)
    assert done()


@pytest.mark.parametrize("workers", WORKERS)
def test_batches_come_in_the_order_of_the_sampler(workers):
    dataset = Images(10)
    loader = DataLoader(dataset, RandomSampler(dataset, 4, seed=0), **workers)
    assert len(loader) == 3
    batches = list(loader)
    assert [y.tolist() for _, y in batches] == [[2, 8, 4, 9], [1, 6, 7, 3], [0, 5]]
    for x, y in batches:
        assert x.shape == (len(y), 3, 64, 64)
        assert x.dtype == np.float32
        assert (x == y[:, None, None, None]).all()
        x += 1  # the batch is the caller's


def test_defaults_are_single_samples_in_order():
    assert [[x.tolist() for x in batch] for batch in DataLoader(Squares(3))] == [[[0], [0]], [[1], [1]], [[2], [4]]]


@pytest.mark.parametrize("workers", WORKERS)
def test_transform_collator_and_preload(workers):
    dataset = Squares(3)
    loader = DataLoader(dataset, SequentialSampler(dataset, 2), Twice(), preload=True, **workers)
    (x, squares), last = list(loader)
    assert isinstance(x, tengen.Tensor)
    assert x.numpy().tolist() == [0, 2]
    assert (squares.dtype, squares.numpy().tolist()) == (np.int32, [0, 1])
    assert last[0].numpy().tolist() == [4]


def test_arrays_are_gathered_at_once_only_where_that_is_the_same():
    class Own(ArrayDataset):
        def __getitem__(self, index):
            return tuple(-a for a in super().__getitem__(index))

    arrays = np.arange(12).reshape(4, 3), np.arange(4)
    for kind, sign in ((ArrayDataset, 1), (Own, -1)):
        dataset = kind(*arrays)
        x, y = next(iter(DataLoader(dataset, SequentialSampler(dataset, 2, indices=[2, -1]))))
        assert (sign * x).tolist() == [[6, 7, 8], [9, 10, 11]]
        assert (sign * y).tolist() == [2, 3]
    with pytest.raises(IndexError):
        list(DataLoader(dataset, SequentialSampler(dataset, 1, indices=[9])))


@pytest.mark.parametrize("workers", WORKERS)
def test_an_error_names_the_sample(workers):
    dataset = Squares(10, bad=4)
    loader = iter(DataLoader(dataset, SequentialSampler(dataset, 3), **workers))
    assert next(loader)[1].tolist() == [0, 1, 4]
    if not workers:
        with pytest.raises(KeyError, match="no such image") as caught:
            next(loader)
        if sys.version_info >= (3, 11):
            assert caught.value.__notes__ == ["DataLoader: sample 4"]
        return
    with pytest.raises(
        RuntimeError, match=r"(?s)Caught KeyError in DataLoader worker .*sample 4.*__getitem__.*no such"
    ):
        next(loader)


@pytest.mark.parametrize("workers", WORKERS)
def test_a_sample_that_raises_stop_iteration_does_not_end_the_epoch(workers):
    loader = iter(DataLoader(Ends(6), SequentialSampler(Ends(6), 2), **workers))
    assert next(loader).tolist() == [0, 1]
    with pytest.raises(RuntimeError, match="StopIteration"):
        next(loader)


@pytest.mark.parametrize("workers", WORKERS)
def test_streams(workers):
    def batches(count, **options):
        return [b.tolist() for b in DataLoader(Count(count), StreamSampler(3), **workers, **options)]

    assert batches(7) == [[0, 1, 2], [3, 4, 5], [6]]
    assert batches(0) == []
    readers = max(1, workers.get("num_workers", 0))
    assert batches(4, parallel_stream=True) == [*[[0, 1, 2]] * readers, *[[3]] * readers]


def test_infinite():
    dataset = Squares(4)
    loader = DataLoader(dataset, Infinite(SequentialSampler(dataset, 3)), num_workers=2)
    assert [b[1].tolist() for b in islice(loader, 4)] == [[0, 1, 4], [9], [0, 1, 4], [9]]
    wait_until(lambda: not workers_left())


def test_workers_are_not_far_ahead_and_end_with_the_iterator():
    seen = []

    class Seen(Squares):
        def __getitem__(self, index):
            seen.append(index)
            return index

    batches = iter(DataLoader(Seen(1000), num_workers=2))
    next(batches)
    wait_until(lambda: len(seen) == 5)  # the one that was taken, and two more for each worker
    time.sleep(0.05)
    assert len(seen) == 5
    del batches
    wait_until(lambda: not workers_left())


@pytest.mark.parametrize("workers", ["thread", "process"])
def test_a_slow_worker_is_an_error_after_the_timeout(workers):
    loader = iter(DataLoader(Slow(4), num_workers=1, timeout=5 if workers == "process" else 0.2, workers=workers))
    next(loader), next(loader)
    with pytest.raises(RuntimeError, match="timed out after"):
        next(loader)


def test_a_killed_worker_is_an_error():
    loader = iter(DataLoader(Dies(4), num_workers=2, workers="process"))
    next(loader), next(loader)
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="killed by signal 9"):
        next(loader)
    assert time.monotonic() - start < 10  # not a hang


@pytest.mark.parametrize("size", [1, 1_000_000])  # more than Python can write before the worker reads
def test_a_program_that_does_not_guard_its_main_code(tmp_path, size):
    path = tmp_path / "program.py"
    path.write_text(f"""
import numpy as np
from tengen.data import DataLoader, SequentialSampler

data = [np.zeros({size}, np.uint8)] * 2
print(len(list(DataLoader(data, SequentialSampler(data, 2), num_workers=1, workers="process"))))
""")
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1
    assert "must guard its main code by `if __name__ == '__main__':`" in done.stderr.splitlines()[-1]


def test_a_dataset_with_a_lock():
    data = Locked(4)
    assert [batch.tolist() for batch in DataLoader(data, num_workers=1, workers="process")] == [[0], [1], [2], [3]]
    assert data.taken.value == 4


def test_processes_end_with_the_iterator():
    batches = iter(DataLoader(Images(100), SequentialSampler(range(100), 8), num_workers=1, workers="process"))
    x, y = next(batches)
    assert "tengen-data" in Path("/proc/self/maps").read_text()
    (pid,) = [c.pid for c in multiprocessing.active_children() if c.name.startswith("tengen-data")]
    batches.close()
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    assert x[0, 0, 0, 0] == 0  # the batch outlives the worker
    del x, y
    wait_until(lambda: "tengen-data" not in Path("/proc/self/maps").read_text())


def test_interrupting_leaves_no_process():
    program = """
import sys, os, signal
sys.path.insert(0, sys.argv[1])
from samples import Images
from tengen.data import DataLoader, SequentialSampler
if __name__ == "__main__":
    loader = iter(DataLoader(Images(10**6), SequentialSampler(range(10**6), 4), num_workers=2, workers="process"))
    next(loader)
    import multiprocessing
    print(*[c.pid for c in multiprocessing.active_children()], flush=True)
    for _ in loader:
        pass
"""
    here = str(Path(__file__).parents[1] / "helpers")
    child = subprocess.Popen(
        [sys.executable, "-c", program, here],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    pids = child.stdout.readline().split()
    assert len(pids) == 2
    os.killpg(child.pid, 2)
    _, errors = child.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors
    assert "tengen-data" not in errors  # workers say nothing
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"num_workers": -1}, ValueError),
        ({"num_workers": 1.5}, TypeError),
        ({"timeout": -1}, ValueError),
        ({"workers": "fiber"}, ValueError),
        ({"sampler": StreamSampler(2)}, TypeError),
        ({"transform": lambda x: x}, TypeError),
        ({"collator": len}, TypeError),
        ({"dataset": 3}, TypeError),
        ({"dataset": Count(3), "sampler": SequentialSampler(range(3))}, TypeError),
    ],
)
def test_bad_arguments(options, error):
    with pytest.raises(error):
        DataLoader(**{"dataset": Squares(4), **options})


def test_a_stream_has_no_length():
    with pytest.raises(TypeError):
        len(DataLoader(Count(3)))
