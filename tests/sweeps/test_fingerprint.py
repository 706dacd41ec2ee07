import pytest

from fourierkd.errors import ConfigError
from sweeps.fingerprint import config_sources, data_identity, literal, roles, versions


def test_sources_follow_bases_and_named_configs(tmp_path):
    (tmp_path / "a.py").write_text(
        "_base_ = ['./b.py', 'mmseg::x.py']\nmodel = dict(student='c.py')\n"
    )
    (tmp_path / "b.py").write_text("lr = 1  # why\n")
    (tmp_path / "c.py").write_text("depth = 18\n")
    assert [name for name, _ in config_sources(tmp_path / "a.py")] == ["a.py", "b.py", "c.py"]
    assert dict(config_sources(tmp_path / "a.py"))["b.py"] == "lr = 1"


@pytest.mark.parametrize(
    ("text", "message"), [("a = (", "a.py:1 is not a Python config"), (None, "readable file")]
)
def test_unreadable_configs(tmp_path, text, message):
    if text is not None:
        (tmp_path / "a.py").write_text(text)
    with pytest.raises(ConfigError, match=message):
        config_sources(tmp_path / "a.py")


def test_literal_is_taken_from_the_config_before_its_base(tmp_path):
    (tmp_path / "a.py").write_text("_base_ = './b.py'\nx = 1\n")
    (tmp_path / "b.py").write_text("x = 2\ny = dict(kind='shapes', seed=0)\n")
    assert literal(tmp_path / "a.py", "x") == 1
    assert literal(tmp_path / "a.py", "y") == {"kind": "shapes", "seed": 0}
    assert literal(tmp_path / "a.py", "z") is None


def test_roles_are_those_of_a_config_and_its_bases(tmp_path):
    (tmp_path / "a.py").write_text(
        "_base_ = './b.py'\ntaps = dict(head=None, pyramid=dict(student='x', teacher='y'))\n"
    )
    (tmp_path / "b.py").write_text("taps = {'head': 'h', 'feature': f'l{4}', 'pyramid': None}\n")
    assert roles(tmp_path / "b.py", {}) == ["head", "feature"]
    assert roles(tmp_path / "a.py", {}) == ["pyramid", "feature"]
    assert roles(tmp_path / "a.py", {"taps.head": "h", "taps.feature": None}) == ["head", "pyramid"]
    assert roles(tmp_path / "a.py", {"taps": {"logits": "z"}}) == ["pyramid", "feature", "logits"]
    (tmp_path / "c.py").write_text("x = 1\n")
    assert roles(tmp_path / "c.py", {}) == []


def test_prepared_data_are_identified_by_the_config(tmp_path):
    (tmp_path / "a.py").write_text("data_root = 'data'\nprepare_data = dict(kind='shapes')\n")
    assert data_identity(tmp_path / "a.py", {}) == "prepared"
    identity = data_identity(tmp_path / "a.py", {"prepare_data": None, "data_root": str(tmp_path)})
    assert identity["data_root"] == str(tmp_path)


def test_versions_name_torch():
    assert versions()["torch"]
