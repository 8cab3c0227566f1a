"""`make fuzz`: looks for failures for some minutes; exit status 1, and the shrunk programs, if there are any."""

from __future__ import annotations

import argparse
import os
import sys
from itertools import count
from threading import Lock, Thread
from time import monotonic

from .pool import Found, Worker, search

MOST_SHRUNK, SECONDS = 60, 60.0
"""So many kinds of failure are shrunk, for so long each; more are printed as they are."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long to look (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="where to begin; other seeds, other programs (default 0)")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes that run programs")
    options = parser.parse_args()
    os.environ.setdefault("TENGEN_NUM_THREADS", "2")
    end, lock = monotonic() + 60 * options.minutes, Lock()
    found: dict[tuple[str, ...], Found] = {}
    counts: dict[tuple[str, ...], int] = {}
    done, failed = [0], [0]

    def report(result: Found | None) -> None:
        with lock:
            done[0] += 1
            if result is not None:
                failed[0] += 1
                key = result.signature
                counts[key] = counts.get(key, 0) + 1
                if key not in found or len(result.program.steps) < len(found[key].program.steps):
                    found[key] = result
                print(
                    f"seed {result.seed}: {result.failure.mode}, {result.failure.kind}: {result.failure.text.splitlines()[0][:200]}",
                    flush=True,
                )
            if done[0] % 100 == 0:
                print(
                    f"{done[0]} programs, {failed[0]} of them failed, {max(0, end - monotonic()) / 60:.1f} minutes left",
                    flush=True,
                )

    def work(job: int) -> None:
        seeds = count(options.seed * 1_000_000 + job, options.jobs)
        search(Worker(), seeds, lambda: monotonic() < end, report, lambda: SECONDS if len(found) < MOST_SHRUNK else 0.0)

    threads = [Thread(target=work, args=(job,)) for job in range(options.jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"\n{done[0]} programs, {failed[0]} failed, {len(found)} kinds of failure")
    for key, result in sorted(found.items(), key=lambda item: -counts[item[0]]):
        print(f"\n# {'=' * 30} met {counts[key]} times\n{result}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
