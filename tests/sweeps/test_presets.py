"""The shared search: its published arm is a point of its own space, its weights are as given."""

from __future__ import annotations

import pytest

from sweeps.presets import LOSS, fourier_search
from sweeps.space import describe, match


@pytest.mark.parametrize(("weight", "weights"), [(41.0, (1.0, 100.0)), (7.0, (0.1, 50.0))])
def test_the_published_settings_are_a_point_of_the_space(weight, weights):
    search = fourier_search(
        published_weight=weight, start_weight=3.0, weights=weights, prune_after=9
    )
    parameters, why = match(search["space"], search["arms"]["published"])
    assert parameters is not None, why
    assert parameters == {
        "loss_weight": weight,
        "mask": "all_pass",
        "sphere_radius": 1.0,
        "noise": True,
        "detach_similarity": False,
    }
    assert match(search["space"], search["arms"]["student_alone"])[0] is None
    start, why = match(search["space"], search["start_points"]["by_hand"])
    assert start is not None, why
    assert start["loss_weight"] == 3.0
    assert start["mask.low_pass.cutoff"] == 0.55
    assert search["pruner"]["n_warmup_steps"] == 9
    weight_node = describe(search["space"])[f"{LOSS}.loss_weight"]
    assert str(weights[0]) in str(weight_node)
    assert str(weights[1]) in str(weight_node)
