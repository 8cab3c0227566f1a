"""Functions that make networks, from the file `hubconf.py` of a folder or of a repository."""

from __future__ import annotations

import builtins
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

from ..logger import get_logger
from .folder import hub_folder

HUBCONF = "hubconf.py"
_REPOSITORY = re.compile(r"(?P<owner>[\w.-]+)/(?P<name>[\w.-]+)(:(?P<branch>[\w./-]+))?")
_HOST = re.compile(r"[A-Za-z0-9]([\w-]*[A-Za-z0-9])?(\.[\w-]+)*(:\d+)?")


class RepositoryError(RuntimeError):
    """A repository cannot be reached, or does not have what was asked for.

    >>> issubclass(RepositoryError, RuntimeError)
    True
    """


def load(
    repo_info: str,
    entry: str,
    *args: Any,
    git_host: str = "github.com",
    use_cache: bool = True,
    commit: str | None = None,
    protocol: str = "HTTPS",
    **kwargs: Any,
) -> Any:
    """What the function `entry` of a repository gives for the other arguments: a network, as a rule.

    Args:
        repo_info: a folder with a file hubconf.py; or "owner/name" or "owner/name:branch" of a repository, which git
            gets from the host.
        entry: the name of a function in hubconf.py.
        args, kwargs: what the function gets.
        git_host: a host, or the beginning of a URL such as "file:///srv/git".
        use_cache: use what was got before; otherwise it is got anew.
        commit: a commit of the repository, in place of the branch's last one.
        protocol: "HTTPS" or "SSH", of a host without one.

    Returns: what the function gives.

    Raises:
        RepositoryError: the repository or the function does not exist, or a module that it needs is missing.
        ValueError: an argument is malformed.

    >>> import tengen.hub, pathlib
    >>> _ = pathlib.Path("hubconf.py").write_text("def answer(plus):\\n    return 42 + plus\\n")
    >>> tengen.hub.load(".", "answer", 1)
    43
    """
    return _entry(import_module(repo_info, git_host, use_cache, commit, protocol), entry)(*args, **kwargs)


def help(
    repo_info: str,
    entry: str,
    git_host: str = "github.com",
    use_cache: bool = True,
    commit: str | None = None,
    protocol: str = "HTTPS",
) -> str:
    """The docstring of a function of a repository.

    Args:
        repo_info, git_host, use_cache, commit, protocol: see `load`.
        entry: the name of a function in hubconf.py.

    Returns: text.

    >>> import tengen.hub, pathlib
    >>> _ = pathlib.Path("hubconf.py").write_text("def answer(plus):\\n    'A number.'\\n    return 42 + plus\\n")
    >>> tengen.hub.help(".", "answer")
    'A number.'
    """
    return _entry(import_module(repo_info, git_host, use_cache, commit, protocol), entry).__doc__ or ""


def list(
    repo_info: str,
    git_host: str = "github.com",
    use_cache: bool = True,
    commit: str | None = None,
    protocol: str = "HTTPS",
) -> builtins.list[str]:
    """The names of a repository's functions.

    Args:
        repo_info, git_host, use_cache, commit, protocol: see `load`.

    Returns: a list of names.

    >>> import tengen.hub, pathlib
    >>> _ = pathlib.Path("hubconf.py").write_text("def answer(plus):\\n    return 42 + plus\\n")
    >>> tengen.hub.list(".")
    ['answer']
    """
    return _entries(import_module(repo_info, git_host, use_cache, commit, protocol))


def import_module(
    repo_info: str,
    git_host: str = "github.com",
    use_cache: bool = True,
    commit: str | None = None,
    protocol: str = "HTTPS",
) -> ModuleType:
    """The module hubconf.py of a repository, run.

    Args:
        repo_info, git_host, use_cache, commit, protocol: see `load`.

    Returns: a module.

    >>> import tengen.hub, pathlib
    >>> _ = pathlib.Path("hubconf.py").write_text("def answer(plus):\\n    return 42 + plus\\n")
    >>> tengen.hub.import_module(".").answer(0)
    42
    """
    local = os.path.expanduser(repo_info)
    if os.path.isdir(local):
        return _run(os.path.abspath(local))
    return _run(_fetched(_url(repo_info, git_host, protocol), repo_info, use_cache, commit))


def _entries(module: ModuleType) -> builtins.list[str]:
    return [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]


def _entry(module: ModuleType, name: str) -> Callable[..., Any]:
    if name not in _entries(module):
        raise RepositoryError(f"{module.__file__} has no function {name!r}; it has {', '.join(_entries(module))}")
    function: Callable[..., Any] = getattr(module, name)
    return function


_beside: builtins.list[str] = []  # names of modules that hubconf.py of the last folder has imported from there


def _run(folder: str) -> ModuleType:
    """Import hubconf.py of a folder, which may import what stands beside it; another folder may have modules of the same names."""
    path = os.path.join(folder, HUBCONF)
    if not os.path.exists(path):
        raise RepositoryError(f"{folder} has no file {HUBCONF}")
    name = f"tengen_hub_{hashlib.sha256(path.encode()).hexdigest()[:12]}"
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    for other in _beside:
        sys.modules.pop(other, None)
    before = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
        _beside[:] = [new for new in sys.modules.keys() - before if _lies_in(sys.modules[new], folder)]
    missing = [needed for needed in getattr(module, "dependencies", ()) if find_spec(needed) is None]
    if missing:
        raise RepositoryError(f"{path} needs modules that are not installed: {', '.join(missing)}")
    return module


def _lies_in(module: ModuleType, folder: str) -> bool:
    return (getattr(module, "__file__", None) or "").startswith(folder + os.sep)


# -- git ---------------------------------------------------------------------------------------------------------


def _url(repo_info: str, git_host: str, protocol: str) -> str:
    found = _REPOSITORY.fullmatch(repo_info)
    if found is None:
        raise ValueError(
            f"repo_info must be a folder, 'owner/name' or 'owner/name:branch', got {repo_info!r}, and there is no such folder"
        )
    path = f"{found['owner']}/{found['name']}.git"
    if "://" in git_host:
        return f"{git_host.rstrip('/')}/{path}"
    if not _HOST.fullmatch(git_host):
        raise ValueError(f"git_host: {git_host!r} is malformed.")
    if protocol not in ("HTTPS", "SSH"):
        raise ValueError(f"protocol should be HTTPS or SSH, got {protocol!r}")
    return f"https://{git_host}/{path}" if protocol == "HTTPS" else f"ssh://git@{git_host}/{path}"


def _fetched(url: str, repo_info: str, use_cache: bool, commit: str | None) -> str:
    """The folder of a repository, which is cloned unless it is there."""
    if commit is not None and not re.fullmatch(r"[0-9a-f]{7,64}", commit):
        raise ValueError(f"commit is the hexadecimal name of a commit, got {commit!r}")
    branch = repo_info.partition(":")[2]
    key = hashlib.sha256(f"{url}\n{branch}\n{commit}".encode()).hexdigest()[:12]
    folder = hub_folder("repositories", f"{re.sub(r'[^A-Za-z0-9_.-]', '_', repo_info)}_{key}")
    if use_cache and os.path.isdir(folder):
        return folder
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    get_logger(__name__).info("getting %s ...", url)
    unfinished = tempfile.mkdtemp(prefix=".unfinished-", dir=os.path.dirname(folder))
    try:
        _clone(url, branch, commit, unfinished)
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _clone(url: str, branch: str, commit: str | None, folder: str) -> None:
    if commit is None:
        _git("clone", "--quiet", "--depth", "1", *(("--branch", branch) if branch else ()), "--", url, folder)
    else:
        _git("clone", "--quiet", "--no-checkout", "--", url, folder)
        _git("-C", folder, "checkout", "--quiet", "--detach", commit)


def _git(*arguments: str) -> None:
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}  # do not ask for a password
    try:
        done = subprocess.run(
            ["git", *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    except FileNotFoundError:
        raise RepositoryError("git, which gets repositories, is not installed") from None
    if done.returncode:
        raise RepositoryError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
