"""Starts processes with the variables that `srun --mpi=none` sets (srun(1), "Output environment variables"): like_srun.py NODES TASKS command …

The nodes are addresses of this machine, 127.0.0.1 and so on; HOST says which, for programs that want to believe it. Like srun, it waits for all,
and its status is the highest of theirs.
"""

from __future__ import annotations

import os
import subprocess
import sys


def main() -> int:
    nodes, tasks, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    per_node = tasks // nodes
    processes = []
    for task in range(tasks):
        node = task // per_node
        own = {
            "SLURM_JOB_ID": os.getpid(), "SLURM_STEP_ID": 3, "SLURM_NTASKS": tasks, "SLURM_STEP_NUM_TASKS": tasks, "SLURM_PROCID": task,
            "SLURM_NODEID": node, "SLURM_LOCALID": task - node * per_node, "SLURM_STEP_NUM_NODES": nodes,
            "SLURM_STEP_NODELIST": f"127.0.0.[1-{nodes}]" if nodes > 1 else "127.0.0.1",
            "SLURM_STEP_TASKS_PER_NODE": f"{per_node}(x{nodes})" if nodes > 1 else per_node, "SLURM_CPUS_ON_NODE": os.cpu_count(),
            "HOST": f"127.0.0.{node + 1}" if nodes > 1 else "",
        }  # fmt: skip
        processes.append(subprocess.Popen(command, env={**os.environ, **{k: str(v) for k, v in own.items()}}))
    return max(code if code >= 0 else 128 - code for code in [process.wait() for process in processes])


if __name__ == "__main__":
    sys.exit(main())
