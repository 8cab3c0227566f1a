"""PMI-1, the text protocol by which MPICH and its derivatives ask the program that started the processes for their ranks, a store of
values, and a barrier. With it, processes started by any program become one MPI world and then talk to each other through MPI.

MPICH manual, "PMI-1 wire protocol": each request is a line `cmd=name key=value …`, and so is each answer.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

FIRST_WORD = b"cmd="


class ProcessManager:
    """Answers the processes of one world. hosts: the machine of each rank.

    wait_for(condition): waits until it holds; raises ConnectionError when the server closes. changed: what it waits on, held by who calls it.
    """

    def __init__(
        self, hosts: Sequence[str], changed: threading.Condition, wait_for: Callable[[Callable[[], bool]], None]
    ):
        self.size, self._changed, self._wait_for = len(hosts), changed, wait_for
        # MPICH names its shared memory after this. It is never the same twice, or a world would attach to what a killed one left behind.
        self._name = f"tengen_{secrets.token_hex(8)}"
        self._store = {"PMI_process_mapping": mapping(hosts)}
        self._here = self._barriers = 0

    def answers(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        """Answers to the requests of one process."""
        for line in lines:
            words = dict(word.split("=", 1) for word in line.decode().split() if "=" in word)
            found = self._answer(words.get("cmd", ""), words)
            if found is None:
                return
            yield "".join(f"cmd={text}\n" for text in found).encode()

    def _answer(self, command: str, words: dict[str, str]) -> list[str] | None:
        simple = {
            "init": "response_to_init pmi_version=1 pmi_subversion=1 rc=0",
            "get_maxes": "maxes rc=0 kvsname_max=256 keylen_max=64 vallen_max=4096",
            "get_appnum": "appnum rc=0 appnum=0",
            "get_my_kvsname": f"my_kvsname rc=0 kvsname={self._name}",
            "get_universe_size": f"universe_size rc=0 size={self.size}",
            "finalize": "finalize_ack rc=0",
        }
        if command in simple:
            return [simple[command]]
        if command == "initack":
            return ["initack rc=0", f"set size={self.size}", f"set rank={int(words['pmiid'])}", "set debug=0"]
        if command == "put":
            with self._changed:
                self._store[words["key"]] = words["value"]
            return ["put_result rc=0 msg=success"]
        if command == "get":
            with self._changed:
                value = self._store.get(words["key"])
            return [
                "get_result rc=-1 msg=key_not_found value=unknown"
                if value is None
                else f"get_result rc=0 msg=success value={value}"
            ]
        if command == "barrier_in":
            self._barrier()
            return ["barrier_out rc=0"]
        return None  # abort, or an unknown command

    def _barrier(self) -> None:
        with self._changed:
            mine = self._barriers
            self._here += 1
            if self._here == self.size:
                self._here, self._barriers = 0, mine + 1
                self._changed.notify_all()
            self._wait_for(lambda: self._barriers > mine)


def mapping(hosts: Sequence[Any]) -> str:
    """Which ranks share a machine, and so its memory: (first node, number of nodes, ranks on each), …

    >>> mapping(["a", "a", "b", "b", "b"])
    '(vector,(0,1,2),(1,1,3))'
    """
    nodes = {host: number for number, host in enumerate(dict.fromkeys(hosts))}
    blocks = [f"({nodes[host]},1,{len(list(ranks))})" for host, ranks in groupby(hosts)]
    return f"(vector,{','.join(blocks)})"
