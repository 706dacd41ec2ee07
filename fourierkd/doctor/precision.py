"""Precision of the spectra: in flows the model under the config's AMP, out flows a check."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fourierkd.doctor.report import FAIL, OK, SKIP, Check
from fourierkd.doctor.subject import Subject
from fourierkd.doctor.watch import unchanged
from fourierkd.errors import first_line, listed

HALF_DTYPES = (torch.float16, torch.bfloat16)


class _FourierDtypes(TorchDispatchMode):
    """Notes the dtype that enters each Fourier transform."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.seen: list[torch.dtype] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "_fft_" in str(func) and args and isinstance(args[0], Tensor):
            self.seen.append(args[0].dtype)
        return func(*args, **(kwargs or {}))


def check_dtype(subject: Subject) -> Check:
    """What reaches the Fourier transforms is float32 or float64, also under the config's AMP."""
    name, amp = "fft dtype", subject.amp
    under = f"under autocast to {_short(amp)}" if amp else "without autocast"
    subject.full_weights()
    subject.reseed()
    subject.model.train()
    device = subject.device.type
    try:
        with (
            unchanged(subject.model),
            _FourierDtypes() as mode,
            torch.autocast(device, dtype=amp, enabled=amp is not None),
        ):
            losses = subject.model(subject.inputs, subject.samples(), mode="loss")
    except Exception as error:
        if amp is None:
            raise
        value = f"a step {under} fails ({type(error).__name__}: {first_line(error)})"
        return Check(name, FAIL, value, "train without AMP, or with another dtype")
    finally:
        torch.clear_autocast_cache()
    infinite = [
        key
        for key, value in losses.items()
        if key.startswith("distill.") and not math.isfinite(float(value.detach()))
    ]
    seen = list(dict.fromkeys(mode.seen))
    facts = {
        "amp": _short(amp) if amp else None,
        "dtypes": [_short(d) for d in seen],
        "calls": len(mode.seen),
    }
    if infinite:
        return Check(name, FAIL, f"{under} not finite: {listed(infinite)}", "use bfloat16", facts)
    if not seen:
        return Check(name, SKIP, f"no loss takes a Fourier transform; finite {under}", "", facts)
    half = [d for d in seen if d in HALF_DTYPES]
    value = f"{', '.join(_short(d) for d in seen)} at {len(mode.seen)} transforms {under}"
    advice = "lift the maps to float32 before the transform" if half else ""
    return Check(name, FAIL if half else OK, value, advice, facts)


def _short(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.")
