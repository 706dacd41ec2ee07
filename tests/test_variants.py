"""`make test-variants`: what it sets reaches the libraries that add up in another order by it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import torch

MAKEFILE = Path(__file__).parents[1] / "Makefile"

# A matrix product, a transform and a convolution, reported by the libraries themselves.
CHILD = """
import torch

print("PyTorch", torch.backends.cpu.get_cpu_capability())
x = torch.ones(1, 8, 64, 64)
x[0, 0] @ x[0, 1], torch.fft.rfft2(x), torch.conv2d(x, torch.ones(8, 8, 3, 3))
"""


def oldest() -> dict[str, str]:
    """The variables of the Makefile's variant that sets them all."""
    (line,) = re.findall(r"^OLDEST\s*:= (\S+)$", MAKEFILE.read_text(), re.MULTILINE)
    return dict(item.split("=") for item in line.split(","))


def test_tests_run_with_the_threads_asked_for(few_threads):
    assert torch.get_num_threads() == int(os.environ.get("OMP_NUM_THREADS", "1"))


def test_every_library_does_as_the_oldest_processor():
    variables = oldest()
    assert variables.pop("OMP_NUM_THREADS") == "3"  # asserted above, in the variant itself
    assert variables == {
        "MKL_CBWR": "COMPATIBLE",
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
    }
    verbose = {"MKL_VERBOSE": "1", "ONEDNN_VERBOSE": "1"}
    lines = subprocess.run(
        [sys.executable, "-c", CHILD],
        env={**os.environ, **variables, **verbose},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert "PyTorch DEFAULT" in lines
    for call in ("SGEMM(", "FFT("):
        (line,) = [line for line in lines if line.startswith(f"MKL_VERBOSE {call}")]
        assert "CNR:COMPATIBLE" in line
    (line,) = [line for line in lines if ",exec,cpu,convolution," in line]
    assert "jit:sse41" in line
