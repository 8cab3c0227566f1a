"""hub: weights from a server on this machine, and functions of folders and repositories made for the test."""

from __future__ import annotations

import hashlib
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import tengen
import tengen.module as M
from tengen import config, hub
from tengen.base.errors import SerializationError


@pytest.fixture(autouse=True)
def folder(tmp_path):
    with config.override(hub_dir=str(tmp_path / "hub")):
        yield tmp_path / "hub"


class Server:
    """Files of a folder at a URL; `asked`: the paths that were asked for."""

    def __init__(self, folder: Path):
        self.folder, self.asked = folder, []
        server = self

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *args):
                server.asked.append(self.path)

            def send_header(self, name, value):
                longer = name == "Content-Length" and self.path.startswith("/cut")
                super().send_header(name, str(int(value) + 5) if longer else value)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def file(self, state, name="net_{}.pkl"):
        """The URL of a file that holds this; {} in the name stands for the beginning of its sum."""
        path = self.folder / "new"
        tengen.save(state, str(path))
        found = name.format(hashlib.sha256(path.read_bytes()).hexdigest()[:8])
        path.rename(self.folder / found)
        return self.url + found


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served").mkdir()
    server = Server(tmp_path / "served")
    yield server
    server.http.shutdown()
    server.http.server_close()


def state():
    return {"weight": np.full((3, 2), 7, np.float32), "bias": np.zeros(3, np.float32)}


def test_weights_are_downloaded_once(server, folder, tmp_path):
    url = server.file(state())
    for _ in range(2):
        found = hub.load_serialized_obj_from_url(url)
        assert found["weight"].tolist() == state()["weight"].tolist()
    assert len(server.asked) == 1
    (kept,) = (folder / "serialized").iterdir()
    assert kept.name.endswith(url.rpartition("/")[2])
    hub.load_serialized_obj_from_url(url, model_dir=str(tmp_path / "own"))
    assert len(server.asked) == 2


def test_a_sum_in_the_name_is_checked(server, folder):
    with pytest.raises(SerializationError, match="its name says deadbeef"):
        hub.load_serialized_obj_from_url(server.file(state(), "net_deadbeef.pkl"))
    assert not list((folder / "serialized").iterdir())  # so the next try downloads it again
    hub.load_serialized_obj_from_url(server.file(state(), "net.pkl"))
    hub.load_serialized_obj_from_url(server.file(state(), "net_v1.pkl"))


def test_what_cannot_be_had(server, folder):
    for url, error in (
        (server.url + "none_12345678.pkl", FileNotFoundError),
        ("http://127.0.0.1:1/a.pkl", ConnectionError),
        (server.url, ValueError),
        (server.file(state(), "cut.pkl"), ConnectionError),
    ):
        with pytest.raises(error):
            hub.load_serialized_obj_from_url(url)
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_pretrained(server):
    @hub.pretrained(server.file(state()))
    def linear(features=2):
        """A layer."""
        return M.Linear(features, 3)

    assert linear(pretrained=True).weight.tolist() == state()["weight"].tolist()
    assert linear(True).weight.tolist() == state()["weight"].tolist()
    assert linear().weight.tolist() != state()["weight"].tolist()
    assert linear(features=4).weight.shape == (3, 4)
    assert (linear.__name__, linear.__doc__) == ("linear", "A layer.")
    with pytest.raises(ValueError, match="weight"):
        linear(pretrained=True, features=4)


HUBCONF = '''
import tengen.module as M
from parts import {name} as size

dependencies = ["numpy"]


def linear(features, bias=True):
    """A linear layer."""
    return M.Linear(features, size, bias)


def _hidden():
    pass
'''


def write(folder, name):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hubconf.py").write_text(HUBCONF.format(name=name))
    (folder / "parts.py").write_text("two, three = 2, 3\n")


def test_a_folder(tmp_path):
    write(tmp_path / "models", "three")
    place = str(tmp_path / "models")
    assert hub.load(place, "linear", 4, bias=False).weight.shape == (3, 4)
    assert hub.help(place, "linear") == "A linear layer."
    assert hub.list(place) == ["linear"]
    for name in ("none", "_hidden", "dependencies"):
        with pytest.raises(hub.RepositoryError, match="it has linear"):
            hub.load(place, name)
    with pytest.raises(hub.RepositoryError, match=r"no file hubconf\.py"):
        hub.list(str(tmp_path))
    with (tmp_path / "models" / "hubconf.py").open("a") as file:
        file.write("dependencies = ['numpy', 'no_such_module']\n")
    with pytest.raises(hub.RepositoryError, match="no_such_module"):
        hub.list(place)


def test_folders_may_have_modules_of_the_same_name(tmp_path):
    for name, size in (("one", "2"), ("other", "5")):
        write(tmp_path / name, "two")
        (tmp_path / name / "parts.py").write_text(f"two = {size}\n")
        assert hub.load(str(tmp_path / name), "linear", 4).weight.shape == (int(size), 4)


@pytest.fixture
def repository(tmp_path):
    """owner/models with a first commit, and one more on each of two branches."""
    place = tmp_path / "git" / "owner" / "models.git"
    write(place, "two")

    def git(*arguments):
        made = subprocess.run(
            ["git", "-C", str(place), "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return made.stdout.strip()

    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-q", "-m", "two")
    first = git("rev-parse", "HEAD")
    git("checkout", "-q", "-b", "larger")
    write(place, "three")
    git("commit", "-q", "-a", "-m", "three")
    git("checkout", "-q", "main")
    return {"git_host": (tmp_path / "git").as_uri(), "first": first, "git": git, "place": place}


def test_a_repository(repository):
    def size(repo, **options):
        return hub.load(repo, "linear", 4, git_host=repository["git_host"], **options).weight.shape[0]

    assert size("owner/models") == 2
    assert size("owner/models:larger") == 3
    write(repository["place"], "three")
    repository["git"]("commit", "-q", "-a", "-m", "three")
    assert size("owner/models") == 2  # kept
    assert size("owner/models", use_cache=False) == 3
    assert size("owner/models", commit=repository["first"]) == 2


@pytest.mark.parametrize(
    ("repo", "options", "error", "message"),
    [
        ("none", {}, ValueError, "owner/name"),
        ("a/b/c", {}, ValueError, "owner/name"),
        ("a/b", {"git_host": "-x"}, ValueError, "malformed"),
        ("a/b", {"protocol": "FTP"}, ValueError, "HTTPS or SSH"),
        ("a/b", {"commit": "--help"}, ValueError, "hexadecimal"),
        ("a/b", {"git_host": "file:///no/such/folder"}, hub.RepositoryError, "git clone"),
    ],
)
def test_repositories_that_are_refused(repo, options, error, message):
    with pytest.raises(error, match=message):
        hub.list(repo, **options)
