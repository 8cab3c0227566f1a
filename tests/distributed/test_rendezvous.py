"""The server and its clients: several clients in threads, and what goes wrong."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

import tengen.distributed as dist
from tengen.distributed import rendezvous


@pytest.fixture
def server():
    with dist.Server() as made:
        yield made


@pytest.fixture
def client(server):
    return dist.Client("localhost", server.py_server_port)


def together(count, call):
    """What `call(number)` gives in so many threads at once."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


@pytest.mark.parametrize(
    "value", [None, True, 3, 1 << 70, 0.5, float("inf"), "ä\n", [1, [2]], {"a": {"b": None}}, "x" * 100000]
)
def test_values(client, value):
    client.user_set("key", value)
    assert client.user_get("key") == client.user_get("key") == client.user_pop("key") == value


@pytest.mark.parametrize("value", [b"x", {1, 2}, object()])
def test_values_that_cannot_be_kept(client, value):
    with pytest.raises(TypeError, match="not JSON serializable"):
        client.user_set("key", value)
    client.user_set("key", 1)
    assert client.user_get("key") == 1


def test_keys(client):
    client.user_set(1, "number")
    client.user_set("1", "text")
    client.user_set(["1", 1], "list")
    assert [client.user_get(k) for k in (1, "1", ["1", 1])] == ["number", "text", "list"]


def test_get_waits_for_set(server, client):
    other = dist.Client("127.0.0.1", server.py_server_port)
    with ThreadPoolExecutor(2) as pool:
        got = [pool.submit(other.user_get, "late"), pool.submit(other.user_pop, "later")]
        time.sleep(0.05)
        assert not any(g.done() for g in got)
        client.user_set("late", 1)
        client.user_set("later", 2)
        assert [g.result(10) for g in got] == [1, 2]
        again = pool.submit(other.user_pop, "later")
        time.sleep(0.05)
        assert not again.done()
        client.user_set("later", 3)
        assert again.result(10) == 3


def test_barriers(server, client):
    arrived = []

    def meet(number):
        for turn in range(20):
            arrived.append(turn)
            client.group_barrier("all", 4)
            assert arrived.count(turn) == 4
        return number

    assert together(4, meet) == [0, 1, 2, 3]
    client.group_barrier("one", 1)


def test_one_value_for_all(client):
    for turn in range(10):
        assert together(3, lambda n, t=turn: client.bcast_val(t if n == 1 else None, "value", 3)) == [turn] * 3
    assert client.bcast_val(None, "value", 1) is None
    assert client.bcast_val([1], "value", 1) == [1]


def test_what_senders_say(client):
    client.set_is_grad("0->1", False)
    assert client.check_is_grad("0->1") is False
    client.set_remote_tracer("0->1", {"dtype": "float32"})
    assert client.check_remote_tracer("0->1") == {"dtype": "float32"}
    assert client.get_mm_server_port() == client.port


def test_two_servers_do_not_mix():
    with dist.Server() as first, dist.Server() as second:
        a, b = (dist.Client("localhost", s.py_server_port) for s in (first, second))
        a.user_set("x", 1)
        b.user_set("x", 2)
        assert (a.user_get("x"), b.user_get("x")) == (1, 2)
        with pytest.raises(OSError, match="in use"):
            dist.Server(first.py_server_port)


def test_the_server_may_come_later():
    (port,) = dist.get_free_ports(1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(dist.Client, "localhost", port)
        time.sleep(0.1)
        with dist.Server(port):
            assert waiting.result(10).connect()


def test_a_server_that_closes_ends_what_waits(server, client):
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(client.user_get, "never"), pool.submit(client.group_barrier, "never", 2)]
        time.sleep(0.05)
        server.close()
        for w in waiting:
            with pytest.raises(ConnectionError, match=r"closed the connection|reset"):
                w.result(10)
    rendezvous_threads = [t for t in threading.enumerate() if t.name == "tengen-server"]
    for t in rendezvous_threads:
        t.join(10)
    assert not any(t.is_alive() for t in rendezvous_threads)


def test_a_server_that_nobody_holds_closes(monkeypatch):
    monkeypatch.setattr(rendezvous, "CONNECT_SECONDS", 0.0)
    port = dist.Server().py_server_port
    gc.collect()
    with pytest.raises(ConnectionError, match="nobody answers"):
        dist.Client("localhost", port)


def test_others_are_turned_away(server, client):
    for said in (b"GET / HTTP/1.1\r\n\r\n", b"cmd=init pmi_version=1\n", b"x" * 100):
        with socket.create_connection(("127.0.0.1", server.py_server_port)) as connection:
            connection.sendall(said)
            connection.settimeout(10)
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""
    assert client.connect()


@pytest.mark.parametrize(
    "call", [["close"], ["_wait", 1], ["__init__"], [None], [], {"a": 1}, ["user_get"], ["user_set", 1, 2, 3], 5]
)
def test_calls_that_there_are_not(server, client, call):
    with pytest.raises(RuntimeError, match=r"answers: (ValueError|TypeError)"):
        client._call(*call) if isinstance(call, list) and call else client._call(call)
    assert client.connect()


def test_a_forked_process_has_its_own_connection(client):
    client.user_set("x", 1)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            client.user_set("y", client.user_get("x") + 1)
            os.write(writing, b"good")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"good"
    assert client.user_get("y") == 2


def test_free_ports():
    ports = dist.get_free_ports(5)
    assert len(set(ports)) == 5 and all(1024 <= port < 65536 for port in ports)
    assert dist.util.get_free_ports(0) == []
