"""A training step of distributed.py in PyTorch: DistributedDataParallel over gloo, two processes with one thread each.

python benchmarks/distributed_torch.py resnet18 9      prints the seconds of each step
"""

from __future__ import annotations

import os
import socket
import sys
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from networks_torch import TransformerLayer, resnet18
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def work(rank: int, name: str, steps: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    net = resnet18() if name == "resnet18" else nn.Sequential(*[TransformerLayer(512, 8) for _ in range(8)])
    x = torch.randn((8, 3, 224, 224) if name == "resnet18" else (4, 128, 512))
    together = DistributedDataParallel(net, gradient_as_bucket_view=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    for _ in range(steps):
        dist.barrier()
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        (together(x).pow(2).sum() * 1e-6).backward()
        optimizer.step()
        if rank == 0:
            print(time.perf_counter() - start, flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    mp.spawn(work, args=(sys.argv[1], int(sys.argv[2])), nprocs=2)
