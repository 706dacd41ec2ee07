"""A connector takes the student's width to the teacher's, and says so when it cannot."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fourierkd.distill.connectors import build_connector
from fourierkd.errors import ConfigError


@pytest.mark.parametrize(
    ("spec", "student", "kind"),
    [
        ("auto", 4, nn.Conv2d),
        ("auto", 6, nn.Identity),
        (None, 6, nn.Identity),
        ({"type": "conv1x1", "bias": False}, 4, nn.Conv2d),
        ({"type": "ConvModule", "norm_cfg": {"type": "BN"}}, 4, nn.Module),
        ("ConvModule", 4, nn.Module),
        ("conv1x1", 6, nn.Conv2d),
    ],
)
def test_the_output_has_the_teachers_channels(spec, student, kind):
    connector = build_connector(spec, student, 6, where="l2")
    assert isinstance(connector, kind)
    assert connector.training
    assert connector(torch.randn(2, student, 5, 3)).shape == (2, 6, 5, 3)


@pytest.mark.parametrize("spec", ["auto", None])
def test_a_loss_of_unequal_widths_has_one_only_where_it_is_asked_for(spec):
    assert isinstance(build_connector(spec, 4, 6, where="at", any_width=True), nn.Identity)
    asked = build_connector("conv1x1", 4, 6, where="at", any_width=True)
    assert asked.out_channels == 6


def test_building_leaves_running_statistics_alone():
    spec = {"type": "ConvModule", "norm_cfg": {"type": "BN"}}
    connector = build_connector(spec, 4, 6, where="l2")
    assert int(connector.bn.num_batches_tracked) == 0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (None, r"l2, level 1: .*equal channels, got \(4, 6\)"),
        ({"type": "conv1x1", "bais": 1}, "unknown key of conv1x1.*'bias'"),
        ({"type": "ConvModul"}, "registered module, got 'ConvModul'; did you mean 'ConvModule'"),
        ({"type": "ConvModule", "out_channels": 5}, "must give the teacher's 6 channels, got 5"),
        ({"type": "ConvModule", "in_channels": 5}, "cannot be built or run"),
        ("linear", "conv1x1 or a registered module, got 'linear'"),
        (5, "a connector is 'auto', None or dict"),
    ],
)
def test_what_cannot_work_is_named(spec, message):
    with pytest.raises(ConfigError, match=message):
        build_connector(spec, 4, 6, where="l2, level 1")
