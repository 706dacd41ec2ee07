"""The operator build: each source compiled once, no broken wheel used, no wrong operator passed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools import build_ops, check_ops
from tools.build_ops import ALONE, CSRC, BuildError, WrongOperatorsError

SOURCES = (*ALONE, "info.cpp", "nms.cpp", "roi_align.cpp", "cpu/nms.cpp", "cpu/voxelization.cpp")


@pytest.fixture
def mmcv_tree(tmp_path: Path) -> Path:
    for name in (*SOURCES, "spconv_utils.h", "cuda/nms_cuda.cpp"):
        path = tmp_path / CSRC / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"// {name}\n")
    return tmp_path


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "built" / "onedl_mmcv-2.3.6-cp311-cp311-linux_x86_64.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mmcv/_ext.so", b"x" * 100_000)
    return path


def test_every_source_is_in_exactly_one_unit(mmcv_tree: Path) -> None:
    units = build_ops.group_sources(mmcv_tree)
    assert sorted(name for names in units.values() for name in names) == sorted(SOURCES)
    assert len(units) == 7
    assert all([name] in units.values() for name in ALONE)


def test_setup_py_finds_the_units_and_nothing_else(mmcv_tree: Path) -> None:
    build_ops.write_units(mmcv_tree)
    csrc = mmcv_tree / CSRC
    found = [*csrc.glob("*.cpp"), *(csrc / "cpu").glob("*.cpp")]  # the globs of mmcv's setup.py
    included = []
    for unit in found:
        first, *rest = unit.read_text().splitlines()
        assert first == "#include <torch/extension.h>"
        included += [csrc / line.split('"')[1] for line in rest]
    assert len(found) == 7
    assert sorted(p.read_text() for p in included) == sorted(f"// {name}\n" for name in SOURCES)
    assert (csrc / "cuda" / "nms_cuda.cpp").exists()


def test_a_release_with_other_sources_is_not_grouped(mmcv_tree: Path) -> None:
    (mmcv_tree / CSRC / "cpu" / "psamask.cpp").unlink()
    with pytest.raises(BuildError, match=r"not there: cpu/psamask\.cpp"):
        build_ops.group_sources(mmcv_tree)


def test_the_cache_key_separates_what_must_not_share_a_wheel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = {build_ops.cache_key("cpu"), build_ops.cache_key("sm90")}
    for target, value in (
        ("torch.__version__", "2.14.0+cu130"),
        ("torch.compiled_with_cxx11_abi", lambda: False),
        ("sysconfig.get_config_var", lambda _: "cpython-312"),
        ("sysconfig.get_platform", lambda: "linux-aarch64"),
        ("platform.libc_ver", lambda: ("glibc", "2.17")),
        ("tools.build_ops.VERSION", "2.3.7"),
        ("tools.build_ops.FLAGS", "-O0"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(target, value)
            keys.add(build_ops.cache_key("cpu"))
    assert len(keys) == 9
    assert all(os.sep not in key for key in keys)


def test_the_cache_is_outside_of_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (build_ops.CACHE_ENV, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert build_ops.cache_dir() == Path.home() / ".cache" / "fourierkd" / "wheels"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert build_ops.cache_dir() == Path("/x/fourierkd/wheels")
    monkeypatch.setenv(build_ops.CACHE_ENV, "/y")
    assert build_ops.cache_dir() == Path("/y")


def test_a_stored_wheel_is_found_and_a_damaged_one_is_not(
    wheel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    assert build_ops.cached_wheel(cache) is None
    stored = build_ops.store_wheel(wheel, cache)
    assert build_ops.cached_wheel(cache) == stored
    assert {path.name for path in cache.iterdir()} == {wheel.name, f"{wheel.name}.sha256"}

    data = bytearray(stored.read_bytes())
    data[len(data) // 2] ^= 1
    stored.write_bytes(data)
    assert build_ops.cached_wheel(cache) is None
    stored.write_bytes(data[:1000])
    assert build_ops.cached_wheel(cache) is None
    assert "is not the file that was stored, and not used" in capsys.readouterr().out


def test_a_wheel_that_nobody_stored_is_not_used(
    wheel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    shutil.copy(wheel, cache)  # put there by hand, or by an older version: without its hash
    assert build_ops.cached_wheel(cache) is None
    assert "its hash cannot be checked" in capsys.readouterr().out
    stored = build_ops.store_wheel(wheel, cache)
    stored.rename(tmp_path / "elsewhere.whl")
    stored.symlink_to(tmp_path / "elsewhere.whl")
    assert build_ops.cached_wheel(cache) is None


def test_a_lock_that_is_a_link_leaves_its_target_alone(tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    (tmp_path / "lock").symlink_to(mine)
    with pytest.raises(OSError, match="symbolic links"), build_ops.one_builder(tmp_path):
        pass
    assert mine.read_text() == "mine"


def test_without_a_home_folder_the_cache_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (build_ops.CACHE_ENV, build_ops.WHEEL_ENV, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", _no_home)
    monkeypatch.setattr(build_ops, "device_kind", lambda: "cpu")
    assert build_ops.main() == 1
    assert f"set {build_ops.CACHE_ENV}" in capsys.readouterr().out


def _no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_a_build_killed_while_storing_leaves_no_wheel(wheel: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    # stops halfway through the copy, as a SIGKILL does: nothing of ours runs afterwards
    code = (
        "import os, pathlib, shutil, sys; from tools import build_ops\n"
        "def half(source, target):\n"
        "    target.write_bytes(source.read_bytes()[:50_000]); os._exit(9)\n"
        "shutil.copyfile = half\n"
        "build_ops.store_wheel(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))\n"
    )
    root = Path(build_ops.__file__).parents[1]
    run = subprocess.run(
        [sys.executable, "-c", code, str(wheel), str(cache)], cwd=root, check=False
    )
    assert run.returncode == 9
    assert not list(cache.glob("*.whl"))
    assert build_ops.cached_wheel(cache) is None
    assert build_ops.cached_wheel(build_ops.store_wheel(wheel, cache).parent) is not None


class Machine:
    """Stands in for pip, the compiler and the check: which builds and wheels are good is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, wheel: Path, *, kind: str = "cpu") -> None:
        self.builds: list[str] = []
        self.installs: list[Path] = []
        self.failing_builds: set[str] = set()
        self.wrong_installs = 0
        self.wheel, self.cache = wheel, wheel.parents[1] / "cache"
        monkeypatch.setenv(build_ops.CACHE_ENV, str(self.cache))
        monkeypatch.delenv(build_ops.WHEEL_ENV, raising=False)
        monkeypatch.setattr(build_ops, "require_compiler", lambda: None)
        monkeypatch.setattr(build_ops, "device_kind", lambda: kind)
        monkeypatch.setattr(build_ops, "build_wheel", self.build)
        monkeypatch.setattr(build_ops, "install", self.install)

    def build(self, folder: Path, *, kind: str, grouped: bool) -> Path:
        name = "grouped" if grouped else "plain"
        self.builds.append(name)
        if name in self.failing_builds:
            raise BuildError(f"{name} does not compile")
        return self.wheel

    def install(self, wheel: Path) -> None:
        self.installs.append(wheel)
        if self.wrong_installs:
            self.wrong_installs -= 1
            raise WrongOperatorsError("nms is wrong")


def test_the_second_checkout_compiles_nothing(monkeypatch: pytest.MonkeyPatch, wheel: Path) -> None:
    machine = Machine(monkeypatch, wheel)
    assert build_ops.main() == 0
    assert build_ops.main() == 0
    assert machine.builds == ["grouped"]
    assert machine.installs[1].parent.parent == machine.cache


def test_the_plain_build_follows_a_failed_grouped_one(
    monkeypatch: pytest.MonkeyPatch, wheel: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(monkeypatch, wheel)
    machine.failing_builds = {"grouped"}
    assert build_ops.main() == 0
    assert machine.builds == ["grouped", "plain"]
    assert "(grouped does not compile), so the plain one follows" in capsys.readouterr().out


def test_wrong_operators_are_built_again_and_never_cached(
    monkeypatch: pytest.MonkeyPatch, wheel: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(monkeypatch, wheel)
    build_ops.store_wheel(wheel, machine.cache / build_ops.cache_key("cpu"))
    machine.wrong_installs = 3  # the cached wheel, the grouped one and the plain one
    assert build_ops.main() == 1
    assert machine.builds == ["grouped", "plain"]
    assert "build_ops: error: nms is wrong" in capsys.readouterr().out

    fresh = machine.cache.with_name("fresh")
    monkeypatch.setenv(build_ops.CACHE_ENV, str(fresh))
    machine.wrong_installs = 2
    assert build_ops.main() == 1
    assert not list(fresh.rglob("*.whl"))


def test_a_gpu_takes_the_plain_build_and_a_named_wheel_goes_first(
    monkeypatch: pytest.MonkeyPatch, wheel: Path
) -> None:
    machine = Machine(monkeypatch, wheel, kind="sm90")
    monkeypatch.setenv(build_ops.WHEEL_ENV, str(wheel))
    assert build_ops.main() == 0
    assert (machine.builds, machine.installs) == ([], [wheel])
    monkeypatch.delenv(build_ops.WHEEL_ENV)
    assert build_ops.main() == 0
    assert machine.builds == ["plain"]


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BuildError, match=r"no-such-compiler; on Debian: apt install g\+\+"):
        build_ops.require_compiler()


def test_jobs_fit_into_memory_and_a_cpu_build_sees_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_JOBS", "CFLAGS", "CXXFLAGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2_000_000}  # 8 GB
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    env = build_ops.build_env("cpu")
    assert (env["MAX_JOBS"], env["CUDA_VISIBLE_DEVICES"], env["FORCE_CUDA"]) == ("4", "", "0")
    assert "-O3" in env["CFLAGS"]  # setuptools would drop the interpreter's own -O3
    assert "-O3" in env["CXXFLAGS"]
    monkeypatch.setenv("MAX_JOBS", "1")
    env = build_ops.build_env("sm90")
    assert (env["MAX_JOBS"], env["FORCE_CUDA"], "CUDA_VISIBLE_DEVICES" in env) == ("1", "1", False)


def test_the_installed_operators_are_right() -> None:
    import mmcv.ops

    assert check_ops.wrong_operators(mmcv.ops) == []


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("nms", "kept boxes"),
        ("roi_align", "output"),
        ("deform_conv2d", "output"),
        ("roi_align", "input gradient"),
        ("deform_conv2d", "gradient"),
    ],
)
def test_a_wrong_operator_is_found(name: str, finding: str) -> None:
    import mmcv.ops
    import torch

    right = {known: getattr(mmcv.ops, known) for known in ("nms", "roi_align", "deform_conv2d")}

    def wrong(*arguments: object) -> object:
        out = right[name](*arguments)
        if name == "nms":
            return out[0], torch.tensor([0, 2])
        if "gradient" in finding:  # right values, gradient twice as large
            return out * 2 - out.detach()
        return out + 0.01

    (line,) = check_ops.wrong_operators(SimpleNamespace(**{**right, name: wrong}))
    assert line.startswith(f"{name}: ValueError: ")
    assert finding in line


def test_a_missing_operator_is_found() -> None:
    lines = check_ops.wrong_operators(SimpleNamespace())
    assert [line.split(":")[0] for line in lines] == ["nms", "roi_align", "deform_conv2d"]


@pytest.mark.soak
def test_the_grouped_build_for_real(tmp_path: Path) -> None:
    built = build_ops.build_wheel(tmp_path, kind="cpu", grouped=True)
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(built) as archive:
        archive.extractall(unpacked)
    run = subprocess.run(
        [sys.executable, check_ops.__file__],
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
