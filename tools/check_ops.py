"""Prove mmcv's operators on small known answers: in flows ``mmcv.ops``, out flows what is wrong.

Run as a plain script by ``build_ops.py`` after an install. Exit code 0: right; 1: an operator is
wrong or missing; 2: mmcv itself cannot be imported, so its operators were not looked at.
"""

from __future__ import annotations

import sys
from typing import Any


def wrong_operators(ops: Any) -> list[str]:
    """One line for each operator that fails its check; empty when all are right."""
    checks = {
        "nms": check_nms,
        "roi_align": check_roi_align,
        "deform_conv2d": check_deform_conv2d,
    }
    wrong = []
    for name, check in checks.items():
        try:
            check(ops)
        except Exception as error:  # a missing symbol and a wrong number are both findings
            wrong.append(f"{name}: {type(error).__name__}: {error}")
    return wrong


def expect(what: str, got: Any, expected: Any) -> None:
    """Raise a ValueError that holds both values when they differ by more than 1e-4."""
    import torch

    got, expected = torch.as_tensor(got).float(), torch.as_tensor(expected).float()
    if got.shape != expected.shape or not torch.allclose(got, expected, atol=1e-4):
        raise ValueError(f"{what} must be {expected.tolist()}, got {got.tolist()}")


def check_nms(ops: Any) -> None:
    """Of two boxes with an IoU of 81/119 the better one is kept, and so is the box far away."""
    import torch

    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [50, 50, 60, 60]])
    _, kept = ops.nms(boxes, torch.tensor([0.8, 0.9, 0.7]), 0.5)
    expect("kept boxes", kept, [1, 2])


def check_roi_align(ops: Any) -> None:
    """A ramp 4y + x, sampled once per bin at pixels (0.5, 0.5) to (1.5, 1.5)."""
    import torch

    ramp = torch.arange(16.0).reshape(1, 1, 4, 4).requires_grad_()
    box = torch.tensor([[0.0, 0.5, 0.5, 2.5, 2.5]])  # aligned: minus half a pixel
    out = ops.roi_align(ramp, box, (2, 2), 1.0, 1, "avg", True)
    expect("output", out.detach().flatten(), [2.5, 3.5, 6.5, 7.5])
    out.sum().backward()
    share = torch.tensor([0.5, 1.0, 0.5, 0.0])  # of each row and column in the two samples
    expect("input gradient", ramp.grad, torch.outer(share, share).reshape(1, 1, 4, 4))


def check_deform_conv2d(ops: Any) -> None:
    """A 1x1 kernel of weight 2 that looks (0.5, 0.25) pixels down and right of a ramp 4y + x."""
    import torch

    ramp = torch.arange(16.0).reshape(1, 1, 4, 4).requires_grad_()
    offset = torch.tensor([0.5, 0.25]).reshape(1, 2, 1, 1).repeat(1, 1, 4, 4).requires_grad_()
    weight = torch.full((1, 1, 1, 1), 2.0, requires_grad=True)
    inner = ops.deform_conv2d(ramp, offset, weight, 1, 0, 1, 1, 1)[0, 0, :3, :3]
    looked_at = ramp.detach()[0, 0, :3, :3] + 4 * 0.5 + 0.25
    expect("output", inner.detach(), 2 * looked_at)
    inner.sum().backward()
    if weight.grad is None or offset.grad is None or ramp.grad is None:
        raise ValueError("an input got no gradient")
    expect("weight gradient", weight.grad.flatten(), looked_at.sum().reshape(1))
    slope = torch.tensor([8.0, 2.0]).reshape(2, 1, 1)  # 2 * d(4y + x)
    expect("offset gradient", offset.grad[0, :, :3, :3], slope.expand(2, 3, 3))
    down, right = torch.tensor([0.5, 1, 1, 0.5]), torch.tensor([0.75, 1, 1, 0.25])
    expect("input gradient", ramp.grad[0, 0], 2 * torch.outer(down, right))


def main() -> int:
    """Check the mmcv of this interpreter."""
    try:
        import mmcv
    except ImportError as error:
        print(f"mmcv cannot be imported: {error}", file=sys.stderr)
        return 2
    try:
        import mmcv.ops

        wrong = wrong_operators(mmcv.ops)
    except ImportError as error:  # no mmcv._ext, or one linked against another torch
        wrong = [f"mmcv.ops: {error}"]
    print("\n".join(wrong) or "mmcv operators are right: nms, roi_align, deform_conv2d", flush=True)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
