"""Where the processes of a world meet: a server that keeps values by key, and its clients.

A connection is text: the first line of the client is GREETING. Each further line is a call, a JSON list of the method's name and its arguments,
and is answered by a line: a JSON list of true and the result, or of false and what is wrong. A first line in PMI-1 comes from an MPI process
(`pmi.py`). All that is received is data, never code.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from time import monotonic, sleep
from typing import Any

from . import pmi

GREETING = b"tengen 1\n"
CONNECT_SECONDS = 60.0
"""How long a client tries to reach a server that does not answer, in seconds; the server may start after the client."""


class Server:
    """Answers the clients of a world in threads of this process, until it is closed or collected, or the process ends.

    Args:
        port: 0 takes a free one; `py_server_port` says which (so does `mm_server_port`).
        host: the address to listen on, by default the loopback address, which other machines cannot reach; "0.0.0.0"
            listens on all addresses.

    Raises:
        OSError: the port is in use.

    >>> from tengen.distributed import Client, Server
    >>> server = Server()
    >>> client = Client("localhost", server.py_server_port)
    >>> client.user_set("best", 0.75)
    >>> client.user_get("best")
    0.75
    >>> server.close()
    """

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        listening = socket.create_server((host, port))
        self.py_server_port = self.mm_server_port = int(listening.getsockname()[1])
        service = _Service(listening, Store(self.mm_server_port))
        # Its thread must not hold the server, or the server would never be collected.
        self.close: Callable[[], None] = weakref.finalize(self, service.stop)
        threading.Thread(target=service.run, name="tengen-server", daemon=True).start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Service:
    """What a server does in its threads."""

    def __init__(self, listening: socket.socket, store: Store) -> None:
        self._listening, self._store, self._process = listening, store, os.getpid()
        self._open: set[socket.socket] = set()

    def run(self) -> None:
        with suppress(OSError):  # it was stopped
            while True:
                connection, _ = self._listening.accept()
                self._open.add(connection)
                threading.Thread(target=self._serve, args=(connection,), name="tengen-server", daemon=True).start()

    def stop(self) -> None:
        """Wake all waiting calls and end the threads. In a forked process it only closes the sockets."""
        if os.getpid() == self._process:
            self._store.close()
            for connection in (self._listening, *list(self._open)):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with suppress(OSError), connection, connection.makefile("rwb") as stream:
                self._answer(stream)
        finally:
            self._open.discard(connection)

    def _answer(self, stream: Any) -> None:
        first = stream.readline(len(GREETING))
        if first.startswith(pmi.FIRST_WORD):
            lines = chain([first if first.endswith(b"\n") else first + stream.readline()], stream)
            for answer in self._store.process_manager().answers(lines):
                stream.write(answer)
                stream.flush()
        elif first == GREETING:
            self._answer_client(stream)

    def _answer_client(self, stream: Any) -> None:
        present = None  # the rank whose process holds this connection for as long as it lives
        try:
            for line in stream:
                try:
                    method, *arguments = json.loads(line)
                    result = getattr(self._store, _public(method))(*arguments)
                    present = arguments[0] if method == "enter" else present
                    answer = [True, result]
                except (ValueError, TypeError, AttributeError) as error:
                    answer = [False, f"{type(error).__name__}: {error}"]
                stream.write(json.dumps(answer).encode() + b"\n")
                stream.flush()
        finally:
            if present is not None:
                self._store.lose(present)


METHODS = "board connect enter get_mm_server_port leave meet report user_get user_pop user_set".split()


def _public(method: Any) -> str:
    if method not in METHODS:
        raise ValueError(f"no method is called {method!r}")
    return str(method)


class _Meeting:
    """Calls that wait for each other. value: None until one of them brings a value."""

    def __init__(self) -> None:
        self.here, self.value = 0, None


@dataclass
class _Member:
    """A process of the world. state: "in", "left" or "gone". said: what it does, or did last. counts: of a group's key the number of
    operations that it has taken part in, once it has left.
    """

    host: str
    state: str = "in"
    said: str = "has said nothing"
    counts: dict[str, int] = field(default_factory=dict)


class Store:
    """The state of the server; clients call its public methods. Each waiting call holds a thread."""

    def __init__(self, mm_server_port: int) -> None:
        self._changed = threading.Condition()
        self._values: dict[str, Any] = {}
        self._meetings: dict[str, _Meeting] = defaultdict(_Meeting)
        self._port = mm_server_port
        self._closed = False
        self._size = 0
        self._members: dict[int, _Member] = {}
        self._manager: pmi.ProcessManager | None = None

    def close(self) -> None:
        """End all waiting calls."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _wait(self, there: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: self._closed or there())
        if self._closed:
            raise ConnectionAbortedError("the server is closed")

    def connect(self) -> bool:
        return True

    def get_mm_server_port(self) -> int:
        return self._port

    # -- the processes of the world ----------------------------------------------------------------------------

    def enter(self, rank: int, size: int, host: str) -> None:
        """Enter the world of `size` processes as `rank`, for as long as the connection is open, and wait until all are there."""
        with self._changed:
            if all(m.state != "in" for m in self._members.values()):  # from an earlier world
                self._members, self._manager = {}, None
            if self._members and size != self._size:
                raise ValueError(
                    f"rank {rank} is of a world of {size} processes, where others are of one of {self._size}"
                )
            if rank in self._members:
                raise ValueError(f"there is a process of rank {rank} already")
            self._size = size
            self._members[rank] = _Member(host)
            self._changed.notify_all()
            self._wait(lambda: len(self._members) == size)
            if self._manager is None:
                hosts = [self._members[rank].host for rank in range(size)]
                self._manager = pmi.ProcessManager(hosts, self._changed, self._wait)

    def lose(self, rank: int) -> None:
        """The connection of a process has ended."""
        with self._changed:
            member = self._members[rank]
            if member.state == "in":
                member.state, member.said = "gone", f"is gone; it last said that it {member.said}"
            self._changed.notify_all()

    def report(self, rank: int, said: str) -> None:
        with self._changed:
            if self._members[rank].state == "in":
                self._members[rank].said = said

    def leave(self, rank: int, said: str, counts: dict[str, int]) -> None:
        """Leave the world, and wait until all others have left too."""
        with self._changed:
            self._members[rank].state, self._members[rank].said, self._members[rank].counts = "left", said, counts
            self._changed.notify_all()
            self._wait(lambda: all(m.state != "in" for m in self._members.values()))

    def board(self) -> list[Any]:
        """Rank, state, last report and counts of all processes."""
        with self._changed:
            return [[rank, m.state, m.said, m.counts] for rank, m in self._members.items()]

    def process_manager(self) -> pmi.ProcessManager:
        """That of the MPI processes of the world. Raises ConnectionAbortedError if there is no world."""
        if self._manager is None:
            raise ConnectionAbortedError("no world has come together here")
        return self._manager

    # -- values ------------------------------------------------------------------------------------------------

    def user_set(self, key: Any, value: Any) -> None:
        with self._changed:
            self._values[_name(key)] = value
            self._changed.notify_all()

    def user_get(self, key: Any) -> Any:
        with self._present(key) as name:
            return self._values[name]

    def user_pop(self, key: Any) -> Any:
        with self._present(key) as name:
            return self._values.pop(name)

    @contextmanager
    def _present(self, key: Any) -> Iterator[str]:
        name = _name(key)
        with self._changed:
            self._wait(lambda: name in self._values)
            yield name

    def meet(self, key: Any, size: int, value: Any) -> Any:
        """Wait until `size` processes have called this; returns the value that one of them gives."""
        name = _name(key)
        with self._changed:
            meeting = self._meetings[name]
            meeting.here += 1
            meeting.value = value if value is not None else meeting.value
            if meeting.here >= size:
                del self._meetings[name]
                self._changed.notify_all()
            self._wait(lambda: meeting.here >= size)
            return meeting.value


def _name(key: Any) -> str:
    """A key as text; 1 and "1" are different keys."""
    return json.dumps(key, sort_keys=True)


class Client:
    """A connection to the Server of a world.

    Keys and values are what JSON can express: None, bool, numbers, text, lists, dicts with text as keys. Each thread, and each
    forked process, has a connection of its own.

    Args:
        master_ip, port: where the server is; it may start a little later.

    Raises:
        ConnectionError: there is no answer.

    >>> server = Server()
    >>> client = Client("localhost", server.py_server_port)
    >>> client.user_set("best", 0.75)
    >>> client.user_get("best")
    0.75
    >>> server.close()
    """

    def __init__(self, master_ip: str, port: int) -> None:
        self.master_ip, self.port = master_ip, port
        self.rank = -1
        self._numbers: Counter[str] = Counter()
        self._own = threading.local()
        self._presence: Any = None
        self.connect()

    def connect(self) -> bool:
        """True if the server answers. Raises ConnectionError otherwise."""
        return bool(self._call("connect"))

    def user_set(self, key: Any, val: Any) -> None:
        """Store a value. Raises TypeError for a value that JSON cannot express."""
        self._call("user_set", key, val)

    def user_get(self, key: Any) -> Any:
        """The value of a key, once it is set."""
        return self._call("user_get", key)

    def user_pop(self, key: Any) -> Any:
        """Take the value of a key, once it is set, and remove it."""
        return self._call("user_pop", key)

    def group_barrier(self, key: Any, size: int) -> None:
        """Wait until `size` processes have called this."""
        self._call("meet", ["barrier", key], size, None)

    def bcast_val(self, val: Any, key: Any, size: int) -> Any:
        """The value that one of `size` processes passes; the others pass None, and all wait for each other."""
        return self._call("meet", ["bcast_val", key], size, val)

    def set_is_grad(self, key: Any, is_grad: bool) -> None:
        """Say whether what is sent under a key needs a gradient."""
        self._call("user_set", ["is_grad", key], is_grad)

    def check_is_grad(self, key: Any) -> bool:
        """Whether it does, once that is known."""
        return bool(self._call("user_pop", ["is_grad", key]))

    def set_remote_tracer(self, key: Any, tracer_set: Any) -> None:
        """Store what the trace of a sender reports."""
        self._call("user_set", ["tracer", key], tracer_set)

    def check_remote_tracer(self, key: Any) -> Any:
        """What set_remote_tracer has stored."""
        return self._call("user_pop", ["tracer", key])

    def put(self, queue: str, value: Any) -> None:
        """Append to a queue between two processes."""
        self._numbers[queue] += 1
        self._call("user_set", ["queue", queue, self._numbers[queue]], value)

    def take(self, queue: str) -> Any:
        """Take the next value of a queue, once it is there. One process puts, the other takes."""
        self._numbers[queue] += 1
        return self._call("user_pop", ["queue", queue, self._numbers[queue]])

    def get_mm_server_port(self) -> int:
        """The port for communication that is not between Python programs."""
        return int(self._call("get_mm_server_port"))

    def enter(self, rank: int, size: int) -> None:
        """Be the process of a rank in a world of `size`; waits until all are there. Raises RuntimeError if there is another one."""
        # A connection of its own: when it closes without `leave`, the process is gone.
        self.rank, self._presence = rank, self._open()
        self._exchange(self._presence, "enter", rank, size, socket.gethostname())

    def report(self, said: str) -> None:
        """Report what this process is doing."""
        self._call("report", self.rank, said)

    def leave(self, said: str, counts: dict[str, int]) -> None:
        """Leave the world, and wait until the others have left or are gone. counts: see `Store.leave`."""
        self._exchange(self._presence, "leave", self.rank, said, counts)

    def board(self) -> list[Any]:
        """[rank, state ("in", "left" or "gone"), what it says, counts] of the processes of the world."""
        found: list[Any] = self._call("board")
        return found

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return self._exchange(self._stream(), method, *arguments)
        except BaseException as error:
            if not isinstance(error, (RuntimeError, TypeError, ValueError)):
                self._own.__dict__.clear()  # a reply that is still on its way belongs to no call
            raise

    def _exchange(self, stream: Any, method: str, *arguments: Any) -> Any:
        stream.write(json.dumps([method, *arguments]).encode() + b"\n")
        stream.flush()
        answer = stream.readline()
        if not answer.endswith(b"\n"):
            raise ConnectionError(f"the server at {self.master_ip}:{self.port} has closed the connection")
        done, result = json.loads(answer)
        if not done:
            raise RuntimeError(f"the server at {self.master_ip}:{self.port} answers: {result}")
        return result

    def _stream(self) -> Any:
        if self._own.__dict__.get("process") != os.getpid():
            self._own.stream, self._own.process = self._open(), os.getpid()
        return self._own.stream

    def _open(self) -> Any:
        with _connected(self.master_ip, self.port) as connection:
            stream = connection.makefile("rwb")
        stream.write(GREETING)
        return stream


def _connected(host: str, port: int) -> socket.socket:
    until = monotonic() + CONNECT_SECONDS
    while True:
        try:
            return socket.create_connection((host, port))
        except OSError as error:
            if monotonic() > until:
                raise ConnectionError(
                    f"nobody answers at {host}:{port} ({error}); the process of rank 0 starts a tengen.distributed.Server({port})"
                ) from None
        sleep(0.05)
