"""Methods by name on any pair: what a file gives at which role, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fourierkd.config.load import load_config
from fourierkd.errors import ConfigError
from fourierkd.methods import (
    FOLDER,
    STUDENT_ALONE,
    check_taps,
    method_label,
    method_names,
    read_method,
)
from sweeps.space import suggest

CONFIGS = FOLDER.parent
SEG, DET = CONFIGS / "shapes/pspnet_student.py", CONFIGS / "shapes/retinanet_student.py"
ROLES = {"seg": ("feature", "logits"), "det": ("pyramid", "head")}
NAMES = [name for name in method_names() if name != STUDENT_ALONE]

OWN = '''
"""My method: two losses."""

source = "me"
losses = dict(
    pyramid=dict(a=dict(loss=dict(type="FeatureL2", loss_weight=2.0))),
    feature=dict(a=dict(loss=dict(type="FeatureL2", loss_weight=3.0), warmup_iters=5)),
    logits=dict(b=dict(loss=dict(type="FeatureL2"), connector=None)),
)


def space(suggest):
    return dict(
        pyramid={"a.loss_weight": suggest.float(1.0, 9.0)},
        feature={"a.loss_weight": suggest.float(2.0, 9.0), "a.warmup_iters": suggest.int(0, 9)},
        logits={"b": suggest.choice(off=None, on=dict(tap="logits", loss=dict(type="FeatureL2")))},
    )
'''


@pytest.fixture
def own(tmp_path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    return path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("task", ROLES)
def test_every_method_goes_with_every_pair_that_has_one_of_its_roles(name, task):
    method = read_method(name)
    assert method.title.endswith(".")
    assert len(method.source) > 10
    if not set(method.losses) & set(ROLES[task]):
        with pytest.raises(ConfigError, match=f"{name} compares .*the pair's taps name none"):
            method.at(ROLES[task])
        return
    losses = method.at(ROLES[task])
    assert set(losses) <= {loss for role in method.losses.values() for loss in role}
    assert all(entry["tap"] in ROLES[task] for entry in losses.values())
    tuned = method.options(ROLES[task], suggest)
    for loss in losses:  # nothing is left at a default that a search does not know of
        assert any(option.startswith(f"model.losses.{loss}") for option in tuned) or loss == "iou"
    options = {"method": name, **{option: own for option, (_, own) in tuned.items()}}
    config = {"seg": SEG, "det": DET}[task]
    by_options = load_config(config, options).model.losses.to_dict()
    by_name = load_config(config, {"method": name}).model.losses.to_dict()
    for entry in (*by_name.values(), *by_options.values()):
        entry.setdefault("connector", "auto")
    assert by_options == by_name  # a method's own values are those of its file


def test_methods_are_added_up(own):
    both = read_method("pkd+iou")
    assert both.name == method_label("pkd+iou") == "pkd_iou"
    assert set(both.at(ROLES["det"])) == {"pkd", "iou"}
    assert set(both.at(["pyramid"])) == {"pkd"}  # heads of two families have nothing to compare
    tuned = both.options(ROLES["det"], suggest)
    assert list(tuned) == ["model.losses.pkd.loss.loss_weight", "model.losses.iou.loss.loss_weight"]
    assert tuned["model.losses.iou.loss.loss_weight"][1] == 1.5
    losses = load_config(DET, {"method": "feature_l2+iou"}).model.losses
    assert list(losses) == ["feature_l2", "iou"]
    assert losses.iou.student_head == "bbox_head"
    assert method_label(f"pkd+{own}") == "pkd_mine"
    assert set(read_method(f"pkd+{own}").at(ROLES["seg"])) == {"pkd", "a", "b"}
    with pytest.raises(ConfigError, match=r"losses of different names, got 'iou twice in"):
        read_method("published+iou")
    with pytest.raises(ConfigError, match="unknown method, got 'iuo'; did you mean 'iou'"):
        load_config(DET, {"method": "pkd+iuo"})


def test_a_loss_stands_at_the_first_of_its_roles_that_the_pair_has(own):
    method = read_method(str(own))
    assert (method.name, method.title, method.source) == ("mine", "My method: two losses.", "me")
    assert method.at(["feature", "pyramid"]) == {
        "a": {"tap": "pyramid", "loss": {"type": "FeatureL2", "loss_weight": 2.0}}
    }
    assert list(method.at(["feature", "logits"])) == ["a", "b"]
    assert list(method.options(["feature", "pyramid"], suggest)) == [
        "model.losses.a.loss.loss_weight"
    ]
    tuned = method.options(["logits", "feature"], suggest)
    assert tuned["model.losses.a.loss.loss_weight"] == (suggest.float(2.0, 9.0), 3.0)
    assert tuned["model.losses.a.warmup_iters"] == (suggest.int(0, 9), 5)
    assert tuned["model.losses.b"][1] == {
        "tap": "logits",
        "loss": {"type": "FeatureL2"},
        "connector": None,
    }
    with pytest.raises(
        ConfigError, match=r"mine compares pyramid or feature or logits.*\['head'\]"
    ):
        method.at(["head"])


def test_a_run_config_takes_a_method_and_options_go_on_from_there(own):
    losses = load_config(SEG, {"method": str(own)}).model.losses.to_dict()
    where = {"student_tap": "backbone.layer4", "teacher_tap": "backbone.layer4"}
    assert losses["a"] == where | {
        "loss": {"type": "FeatureL2", "loss_weight": 3.0},
        "warmup_iters": 5,
    }
    assert losses["b"]["student_tap"] == "decode_head.conv_seg"
    config = load_config(
        SEG,
        {
            "model.losses.a.loss.loss_weight": 7.0,
            "model.losses.b": None,
            "model.losses.c": {"tap": "logits", "loss": {"type": "FeatureL2"}},
            "method": str(own),
            "taps.feature": {"student": "backbone.layer3", "teacher": ["x", "y"]},
        },
    )
    losses = config.model.losses.to_dict()
    assert list(losses) == ["a", "c"]
    assert losses["a"]["loss"]["loss_weight"] == 7.0
    assert (losses["a"]["student_tap"], losses["a"]["teacher_tap"]) == (
        "backbone.layer3",
        ["x", "y"],
    )
    assert losses["c"]["teacher_tap"] == "decode_head.conv_seg"
    moved = load_config(SEG, {"method": "pkd", "model.losses.pkd.student_tap": "x"}).model.losses
    assert (moved.pkd.student_tap, moved.pkd.teacher_tap) == ("x", "backbone.layer4")
    assert "method" not in config
    assert config["taps"]["feature"] == {"student": "backbone.layer3", "teacher": ["x", "y"]}
    assert config["taps"]["logits"] == "decode_head.conv_seg"
    det = load_config(DET, {"method": "published"}).model.losses.to_dict()
    assert det["iou"]["student_head"] == det["iou"]["teacher_head"] == "bbox_head"
    without = {"method": "published", "taps.head": None}
    assert list(load_config(DET, without).model.losses) == ["fourier"]


def test_the_student_alone_is_a_method_of_every_config(tmp_path):
    assert STUDENT_ALONE in method_names()
    pair = CONFIGS / "det/fourier_fpn_retina_r101_retina_r50_2x_coco.py"
    options = {"method": STUDENT_ALONE, "model.teacher.checkpoint": "of every run of a study"}
    alone = load_config(pair, options).model.to_dict()
    assert (alone["teacher"], alone["losses"]) == (None, {})
    assert "inherit" not in alone  # there is nobody to inherit from
    config = tmp_path / "own.py"
    model = "dict(teacher=dict(model='x'), losses=dict(l2=dict(tap='feature')))"
    config.write_text(f"_base_ = {str(SEG)!r}\nmodel = {model}")
    assert "l2" in load_config(config).model.losses
    assert load_config(config, {"method": STUDENT_ALONE}).model.losses == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "pdk"}, "unknown method, got 'pdk'; did you mean 'pkd'"),
        ({"method": 5}, "name or the file of a method, got 5"),
        ({"method": "nowhere.py"}, "unknown method"),
        ({"method": "pkd", "taps": {}}, "pkd compares feature or pyramid.*taps = dict"),
        ({"taps.featur": "x"}, "unknown role in taps.*did you mean 'feature'"),
        ({"taps": ["x"]}, "taps is a dict"),
        ({"taps.feature": {"student": "x"}}, "taps.feature is a module path, or dict"),
        ({"model.losses": {"a": {"tap": "neck"}}}, "a.tap is a role.*the pair has feature, logits"),
    ],
)
def test_what_no_pair_has_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        load_config(SEG, options)


def test_a_method_and_losses_of_ones_own_are_refused(tmp_path):
    config = tmp_path / "both.py"
    config.write_text(f"_base_ = {str(SEG)!r}\nmethod = 'pkd'\nmodel = dict(losses=dict(a=dict()))")
    with pytest.raises(ConfigError, match="a method or losses of its own.*remove one"):
        load_config(config)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"""My method: two losses."""', "", "begins with a line in quotes"),
        ('source = "me"', "", "has a source"),
        ("losses = dict(", "loss = dict(", "dict of role -> losses"),
        ("pyramid=dict(a=", "pyramids=dict(a=", "unknown role.*did you mean 'pyramid'"),
        ("connector=None", "conector=None", "did you mean 'connector'"),
        ('loss=dict(type="FeatureL2"), connector', "connector", "losses.logits.b .* needs a loss"),
        ("def space(suggest):", "def space(suggest)", "SyntaxError"),
        ("def space(suggest):\n", "space = 5\ndef other(suggest):\n", "a function of suggest"),
        ('"a.warmup_iters"', '"a.warmup"', "mine has a key that its losses at feature state"),
        ('"a.loss_weight": suggest.float(2', '"c.loss_weight": suggest.float(2', "add c to losses"),
    ],
)
def test_a_faulty_method_file_is_one_line(own, before, after, message):
    assert before in OWN
    own.write_text(OWN.replace(before, after, 1))
    with pytest.raises(ConfigError, match=message):
        read_method(str(own)).options(["feature", "logits"], suggest)


def test_taps_differ_by_side_or_are_missing():
    assert check_taps(
        {"feature": "a", "head": {"student": "b", "teacher": "c"}, "logits": None}
    ) == {
        "feature": ("a", "a"),
        "head": ("b", "c"),
    }
