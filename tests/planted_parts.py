"""Parts of tools/gpu_check that end as a part should not, for tests of what is said then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time


def good(options, say):
    print("something that is no line")
    say(case="a figure", value=1.0, **options.judged(1.0, least=0.5))


def slow(options, say):
    say(case="a figure", value=0.25, **options.judged(0.25, least=0.5))


def crash(options, say):
    say(case="before")
    os.kill(os.getpid(), signal.SIGSEGV)


def fail(options, say):
    say(case="before")
    raise RuntimeError("the reason")


def hang(options, say):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    say(case="before", child=child.pid)
    time.sleep(1000)
