"""What a config's author mistypes is one line; what is a constructor's own mistake stays."""

from __future__ import annotations

import pytest
from mmengine.registry import Registry

from fourierkd.distill.refusals import refusals, unknown_type
from fourierkd.distill.register import register_all
from fourierkd.distill.registry import DATA_SAMPLERS, DATASETS
from fourierkd.errors import ConfigError

THINGS = Registry("thing")
PARTS = Registry("part", parent=THINGS, scope="test")


@THINGS.register_module()
class Base:
    def __init__(self, width: int, depth: int = 1) -> None:
        self.width, self.depth = width, depth


@PARTS.register_module()
class Wide(Base):
    def __init__(self, colour: str = "red", **kwargs) -> None:
        super().__init__(**kwargs)
        if self.width < 1:
            raise ValueError("width must be\n positive")


@PARTS.register_module()
class Faulty:
    def __init__(self, inner: str = "") -> None:
        Base(1, dpeth=2)


@PARTS.register_module()
class Outer:
    def __init__(self, part: dict) -> None:
        self.part = PARTS.build(part)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "Wide", "width": 1, "dpth": 2}, "unknown key of Wide in the config, got 'dpth'"),
        ({"type": "Wide", "width": 1, "dpth": 2}, "did you mean 'depth'"),
        ({"type": "Wide", "width": 1, "color": "blue"}, "did you mean 'colour'"),
        ({"type": "Outer", "part": {"type": "Wide", "wdth": 1}}, "got 'wdth'; did you mean 'wi"),
        ({"type": "Wide"}, "Wide in the config needs 'width'; add it"),
        ({"type": "Wid"}, "unknown type of a part in the config, got 'Wid'; did you mean 'Wide'"),
        ({"type": "Bse"}, "did you mean 'Base'"),
        ({"type": "Zzzzz"}, "got 'Zzzzz'; known: Base, "),
        ({"type": "Wide", "width": -1}, "Wide refuses its values in the config (width must be pos"),
    ],
)
def test_keys_types_and_values_are_named(config, message):
    with pytest.raises(ConfigError) as error, refusals():
        PARTS.build(config)
    assert message in str(error.value)


def test_a_constructors_own_mistake_stays_what_it_is():
    with pytest.raises(TypeError, match="dpeth"), refusals():
        PARTS.build({"type": "Faulty"})


@pytest.mark.parametrize(
    "error", [KeyError("x"), KeyError(), TypeError("'a' + 1"), ValueError("x")]
)
def test_other_errors_pass(error):
    with pytest.raises(type(error)), refusals():
        raise error


def test_a_type_of_another_package_is_named_with_its_scope():
    """In configs of MMDetection and MMSegmentation their own types stand without one."""
    register_all(["mmdet", "mmseg"])
    with pytest.raises(ConfigError) as error, refusals():
        DATASETS.build({"type": "MultiImageMixDataset"})
    for scope in ("mmdet", "mmseg"):
        assert f"'{scope}.MultiImageMixDataset'" in str(error.value)
    with pytest.raises(ConfigError, match="a data sampler .* mean 'mmdet.AspectRatioBatchSampler'"):
        raise unknown_type("AspectRatioBatchSampler", DATA_SAMPLERS)
