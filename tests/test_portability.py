"""docs/portability.md, and the Chinese page, names every file that needs a system like Linux, and no other."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What Windows or macOS lack. What is asked for and done without where it is missing (hasattr, AttributeError) stands in ASKED.
MARKS = re.compile(
    r"^\s*(?:import|from) (?:fcntl|resource|pwd|grp|termios|pty|posix|syslog)\b|"
    r"os\.(?:fork|geteuid|getuid|sched_\w+|killpg|setsid|register_at_fork|mkfifo|posix_\w+|waitpid|O_CLOEXEC|O_NOFOLLOW|sysconf|memfd_create)\b|"
    r"signal\.(?:SIGKILL|SIGALRM|SIGCHLD|SIGUSR\d|setitimer|pthread\w*)|/proc/|/dev/shm|AF_UNIX|ctypes\.CDLL\(None\)|"
    r"#include <(?:sys/|unistd|pthread|sched|linux/)",
    re.MULTILINE,
)
ASKED = {"__main__.py"}


def test_the_page_names_every_file():
    files = [*(ROOT / "src" / "tengen").rglob("*.py"), *(p for p in (ROOT / "csrc").rglob("*") if p.is_file())]
    found = set()
    for path in files:
        if MARKS.search(path.read_text(encoding="utf-8")):
            found.add(str(path.relative_to(ROOT / "src" / "tengen" if path.suffix == ".py" else ROOT)))
    for name in ("portability.md", "portability.zh.md"):
        page = (ROOT / "docs" / name).read_text(encoding="utf-8")
        assert set(re.findall(r"^\| `(.*?)` \|", page, re.MULTILINE)) == found - ASKED, name


def test_the_whole_runtime_is_built_for_arm():
    tool = runpy.run_path(str(ROOT / "tools" / "aarch64" / "run.py"), run_name="run")
    assert sorted(tool["runtime_sources"]()) == sorted((ROOT / "csrc").rglob("*.cpp"))
