"""What a run runs on."""

import pytest

from fourierkd.engine.environment import find_device
from fourierkd.errors import ConfigError


def test_a_device_is_there_or_is_refused():
    assert find_device("cpu").type == "cpu"
    with pytest.raises(ConfigError, match="no such device, got 'tpu'"):
        find_device("tpu")
