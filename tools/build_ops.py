"""Install mmcv with its C++ operators: in flows its source from pip, out flows a checked install.

``make setup`` runs this as a plain script before fourierkd is installed, so it needs only the
standard library, torch, setuptools, and mmcv's own dependencies for the final check. The plain
build compiles 77 C++ files that each parse torch's headers (23 minutes on two cores). Here the
same sources are grouped into seven translation units (two minutes); the wheel is cached outside
of the checkout.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DISTRIBUTION, VERSION = "onedl-mmcv", "2.3.6"
CSRC = Path("mmcv", "ops", "csrc", "pytorch")
# pybind.cpp is the longest unit by far; the four kernels define helpers of the same names
ALONE = (
    "pybind.cpp",
    "cpu/psamask.cpp",
    "cpu/roi_align.cpp",
    "cpu/roi_align_rotated.cpp",
    "cpu/rotated_feature_align.cpp",
)
# the plain build's, less debug information and warnings; $CFLAGS replaces setuptools' own
FLAGS = "-O3 -DNDEBUG -fwrapv -g0 -w"
JOB_BYTES = 2_000_000_000  # the largest unit, pybind.cpp, needs this much memory
CACHE_ENV = "FOURIERKD_WHEEL_CACHE"  # a folder for built wheels
WHEEL_ENV = "FOURIERKD_MMCV_WHEEL"  # a wheel to install as it is


class BuildError(Exception):
    """A step failed; the message names the step and what to do."""


class WrongOperatorsError(BuildError):
    """A wheel was installed whose operators are missing or wrong."""


def say(message: str) -> None:
    """Tell the user; the noise of pip and of the compiler goes to stderr instead."""
    print(f"  mmcv: {message}", flush=True)


# Grouping


def group_sources(root: Path) -> dict[str, list[str]]:
    """Assign every C++ source of the CPU build to one unit: {unit: sources}, relative to CSRC."""
    found = {
        path.relative_to(root / CSRC).as_posix()
        for folder in (root / CSRC, root / CSRC / "cpu")
        for path in folder.glob("*.cpp")
    }
    if missing := sorted(set(ALONE) - found):
        raise BuildError(f"sources the grouping expects are not there: {', '.join(missing)}")
    units = {f"unit_{name[:-4].replace('/', '_')}.cpp": [name] for name in ALONE}
    rest = sorted(found - set(ALONE))
    units["unit_bindings.cpp"] = [name for name in rest if "/" not in name]
    units["unit_cpu.cpp"] = [name for name in rest if "/" in name]
    return units


def write_units(root: Path) -> None:
    """Put the units in the sources' place: mmcv's own setup.py finds them, its flags unchanged."""
    units = group_sources(root)
    for sources in units.values():
        for name in sources:  # stays in its folder, so that its relative includes hold
            (root / CSRC / name).rename(root / CSRC / f"{name}.inc")
    for unit, sources in units.items():
        # torch first: some sources define macros that torch's headers must not see
        lines = ["#include <torch/extension.h>", *(f'#include "{name}.inc"' for name in sources)]
        (root / CSRC / unit).write_text("\n".join(lines) + "\n")


# The wheel cache


def cache_dir() -> Path:
    """The folder of built wheels: $FOURIERKD_WHEEL_CACHE, else in the user's cache folder."""
    own, user = os.environ.get(CACHE_ENV), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own).absolute()
    try:
        return Path(user or Path.home() / ".cache", "fourierkd", "wheels").absolute()
    except RuntimeError as error:  # some containers' users have none
        raise BuildError(f"there is no home folder for the wheel; set {CACHE_ENV}") from error


def cache_key(kind: str) -> str:
    """What a compiled wheel depends on, as a folder name; ``kind`` is from ``device_kind``."""
    import torch

    parts = (
        f"mmcv-{VERSION}",
        f"torch-{torch.__version__}",
        str(sysconfig.get_config_var("SOABI")),
        sysconfig.get_platform(),
        f"cxx11abi{int(torch.compiled_with_cxx11_abi())}",
        "-".join(platform.libc_ver()),  # a home folder may serve machines with an older libc
        kind,
        FLAGS.replace(" ", ""),
    )
    return "_".join(re.sub(r"[^A-Za-z0-9.+-]", "-", part) for part in parts)


def cached_wheel(folder: Path) -> Path | None:
    """The wheel in ``folder`` that is what was stored there; any other counts as none."""
    for wheel in sorted(folder.glob("*.whl")):
        try:
            if digest(wheel) == hash_file(wheel).read_text().strip():
                return wheel
            say(f"{wheel} is not the file that was stored, and not used")
        except OSError as error:
            say(f"{wheel} is not used: its hash cannot be checked ({error})")
    return None


def hash_file(wheel: Path) -> Path:
    """Where the SHA-256 of a stored wheel lies."""
    return wheel.with_name(f"{wheel.name}.sha256")


def digest(path: Path) -> str:
    """The SHA-256 of a file, which is no link, in hexadecimal."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()  # a wheel has 10 MB


def store_wheel(wheel: Path, folder: Path) -> Path:
    """Copy ``wheel`` into the cache, its hash first; the names appear once they are on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = folder / wheel.name
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as temporary:
        copy, checksum = Path(temporary, "wheel"), Path(temporary, "hash")
        shutil.copyfile(wheel, copy)
        checksum.write_text(digest(copy) + "\n")
        for path in (copy, checksum):
            with path.open("rb") as file:
                os.fsync(file.fileno())
        checksum.replace(hash_file(stored))
        return copy.replace(stored)


@contextmanager
def one_builder(folder: Path) -> Iterator[None]:
    """Let one process at a time fill ``folder``; the lock dies with its process."""
    folder.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW  # a link's target is somebody's file
    with os.fdopen(os.open(folder / "lock", flags, 0o666), "r+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


# Building


def pip(*arguments: str, env: dict[str, str] | None = None) -> None:
    """Run the pip of this interpreter."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    run = subprocess.run(command, env={**os.environ, **(env or {})}, stdout=sys.stderr, check=False)
    if run.returncode:
        raise BuildError(f"this command failed: pip {' '.join(arguments)}")


def require_compiler() -> None:
    """Say what is missing before minutes are spent."""
    compiler = (os.environ.get("CXX") or "g++").split()[0]
    if shutil.which(compiler) is None:
        raise BuildError(f"there is no C++ compiler {compiler}; on Debian: apt install g++")
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        raise BuildError(f"there is no {header}; on Debian: apt install python3-dev")


def device_kind() -> str:
    """What to build for: ``cpu``, or ``sm90`` and the like where there are a GPU and nvcc."""
    import torch
    from torch.utils.cpp_extension import CUDA_HOME

    if not torch.cuda.is_available():
        return "cpu"
    if CUDA_HOME is None:
        say(
            "torch sees a GPU but there is no nvcc, so the operators will be for the CPU only; "
            f"install the toolkit of CUDA {torch.version.cuda} or name a wheel in {WHEEL_ENV}"
        )
        return "cpu"
    major, minor = torch.cuda.get_device_capability()
    return f"sm{major}{minor}"


def build_env(kind: str) -> dict[str, str]:
    """The compiler's environment: optimised, and as many jobs as CPUs and memory allow."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    jobs = max(1, min(len(os.sched_getaffinity(0)), memory // JOB_BYTES))
    flags = f"{FLAGS} {os.environ.get('CFLAGS', '')}".strip()
    env = {
        "MAX_JOBS": os.environ.get("MAX_JOBS", str(jobs)),
        "CFLAGS": flags,
        "CXXFLAGS": f"{flags} {os.environ.get('CXXFLAGS', '')}".strip(),
    }
    if kind == "cpu":
        return {**env, "FORCE_CUDA": "0", "CUDA_VISIBLE_DEVICES": ""}
    return {**env, "FORCE_CUDA": "1"}


def unpack_source(folder: Path) -> Path:
    """Download mmcv's source with pip, from wherever pip looks, and return the unpacked root."""
    source_only = ("--no-deps", "--no-build-isolation", "--no-binary", DISTRIBUTION)
    pip("download", *source_only, "-d", str(folder), f"{DISTRIBUTION}=={VERSION}")
    archive = next(folder.glob("*.tar.gz"))
    shutil.unpack_archive(archive, folder)
    return folder / archive.name.removesuffix(".tar.gz")


def build_wheel(folder: Path, *, kind: str, grouped: bool) -> Path:
    """Compile mmcv inside of ``folder`` and return the wheel."""
    root = unpack_source(folder)
    if grouped:
        write_units(root)
    out = folder / "wheel"
    options = ("--no-deps", "--no-build-isolation", "-w", str(out))
    pip("wheel", "-v", *options, str(root), env=build_env(kind))
    return next(out.glob("*.whl"))


def install(wheel: Path) -> None:
    """Install the wheel alone and check its operators in a fresh interpreter."""
    pip("install", "--no-deps", "--force-reinstall", str(wheel))
    check = Path(__file__).with_name("check_ops.py")
    run = subprocess.run([sys.executable, "-I", str(check)], stdout=sys.stderr, check=False)
    if run.returncode == 2:
        raise BuildError("mmcv cannot be imported; install the packages of constraints.txt first")
    if run.returncode:
        raise WrongOperatorsError(f"the operators of {wheel.name} fail their check")


def build_and_install(kind: str, folder: Path) -> None:
    """Build, check, cache; the plain build where there is a GPU or where the grouped one fails."""
    require_compiler()
    for grouped in (True, False) if kind == "cpu" else (False,):
        minutes = 2 if grouped else 25
        say(f"compiling its operators for {kind}, about {minutes} minutes on two cores")
        with tempfile.TemporaryDirectory(prefix="fourierkd-mmcv-") as temporary:
            try:
                wheel = build_wheel(Path(temporary), kind=kind, grouped=grouped)
                install(wheel)
                say(f"wheel kept for the next checkout: {store_wheel(wheel, folder)}")
                return
            except BuildError as error:
                if not grouped:
                    raise
                say(f"the grouped build failed ({error}), so the plain one follows")


def run() -> None:
    """Install mmcv from the wheel the user names, else from the cache, else from its source."""
    if named := os.environ.get(WHEEL_ENV):
        install(Path(named))
        return
    kind = device_kind()
    folder = cache_dir() / cache_key(kind)
    with one_builder(folder):
        wheel = cached_wheel(folder)
        if wheel is not None:
            say(f"wheel from the cache: {wheel}")
            try:
                install(wheel)
                return
            except WrongOperatorsError as error:
                say(f"{error}; it is built again")
        build_and_install(kind, folder)


def main() -> int:
    """Turn failures into one line and exit code 1."""
    try:
        run()
    except (BuildError, OSError) as error:
        print(f"build_ops: error: {error}")  # stdout: the Makefile sends stderr to the log
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
