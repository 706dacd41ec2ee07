"""The pairs of configs/shapes, and which methods go with which."""

from __future__ import annotations

from fourierkd.methods import STUDENT_ALONE, method_names, read_method

# <pair>_fourier.py; the pair with GFL heads is that with RetinaNets but for its heads
ROLES = {"pspnet": {"feature", "logits"}, "retinanet": {"pyramid", "head"}, "gfl": {"head"}}
GFL_ALONE = ("ld",)
PAIRS_AND_METHODS = [
    (pair, method)
    for pair, roles in ROLES.items()
    for method in method_names()
    if method != STUDENT_ALONE
    if roles & set(read_method(method).losses)
    if pair == "gfl" or method not in GFL_ALONE
]
