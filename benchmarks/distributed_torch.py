"""The training steps of distributed.py in PyTorch: DistributedDataParallel over gloo, two processes with one thread each."""

from __future__ import annotations

import os
import sys
import time
from statistics import median

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from networks_torch import TransformerLayer, resnet18
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def work(rank: int, steps: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    for name in ("resnet18", "transformer"):
        net = resnet18() if name == "resnet18" else nn.Sequential(*[TransformerLayer(512, 8) for _ in range(8)])
        x = torch.randn((8, 3, 224, 224) if name == "resnet18" else (4, 128, 512))
        together = DistributedDataParallel(net, gradient_as_bucket_view=True)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
        times = []
        for _ in range(steps + 2):
            dist.barrier()
            start = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            (together(x).pow(2).sum() * 1e-6).backward()
            optimizer.step()
            times.append(time.perf_counter() - start)
        if rank == 0:
            print(
                f"PyTorch {torch.__version__} {name}: a step {min(times[2:]) * 1e3:.0f} ms (median {median(times[2:]) * 1e3:.0f})",
                flush=True,
            )


if __name__ == "__main__":
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29571")
    mp.spawn(work, args=(int(sys.argv[1]),), nprocs=2)
