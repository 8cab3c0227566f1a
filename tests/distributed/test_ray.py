"""What distributed.ray says before Ray has anything to do; `make ray` runs the tests in with_ray/, with actors."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tengen.distributed as dist


@pytest.mark.parametrize(("options", "error", "says"), [
    ({"train": 3}, TypeError, "takes a function, got int"),
    ({"workers": 0}, ValueError, "workers must be at least 1, got 0"), ({"workers": 2.0}, TypeError, r"workers must be an int, got 2\.0"),
    ({"max_restarts": -1}, ValueError, "max_restarts must be at least 0"),
    ({"max_restarts": True}, TypeError, "max_restarts must be an int, got True"),
    ({"resources": {"CPU": "4"}}, TypeError, r"resources must be numbers by name, such as \{\"CPU\": 4\}, got \{'CPU': '4'\}"),
    ({"resources": {"CPU": -1}}, ValueError, r"resources\['CPU'\] is not an amount: -1"), ({"resources": {}}, ValueError, "are none"),
    ({"resources": {"CPU": float("nan")}}, ValueError, "is not an amount: nan"), ({"resources": {"CPU": 0}}, ValueError, "are none"),
])  # fmt: skip
def test_no_such_run(options, error, says):
    with pytest.raises(error, match=f"^distributed.ray.run.*{says}"):
        dist.ray.run(**{"train": lambda: None, **options})


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"distributed\.ray\.run: Ray is not installed; pip install 'tengen\[ray\]'"):
        dist.ray.run(lambda: None)


def test_ray_is_imported_when_it_is_used():
    program = "import sys, tengen.distributed as d; print(d.ray.__name__, 'ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["tengen.distributed.ray", "False"], done.stderr


def test_processes_of_ray_join_no_other_world():
    """Ray itself may have been started by srun, whose variables its processes have then."""
    program = "import os, sys, tengen.distributed as d; print(d.is_distributed(), 'mpi4py' in sys.modules)"
    env = {"PATH": "", "RAY_RAYLET_PID": "7", "PMI_SIZE": "2", "PMI_RANK": "0"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, env=env)
    assert done.stdout.split() == ["False", "False"], done.stderr
