import copy
import json
import runpy
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourierkd.errors import ConfigError
from sweeps.executors.base import Needs
from sweeps.points import match, resolve
from sweeps.space import suggest
from sweeps.study import KEYS
from sweeps.study_file import load_study


def edited(path: Path, old: str, new: str) -> Path:
    """The study config with one change."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


def test_load(study_file):
    study = load_study(study_file)
    assert study.name == "tiny"
    assert study.config == study_file.parent / "run_config.py"
    assert study.direction == "maximize"
    assert set(study.arms) == {"student_alone", "published"}


def test_overrides(study_file):
    study = load_study(
        study_file,
        {
            "trials": 4,
            "options.train_cfg.max_iters": 20,
            "teacher": {"config": "teacher_config.py", "option": "model.teacher.checkpoint"},
            "teacher.options.train_cfg.max_iters": 50,
            "arms.published.model.losses.fourier.loss.loss_weight": 7.0,
            "space.model.losses.fourier.loss.mask": {"type": "AllPass"},
            "wandb.mode": "offline",
        },
    )
    assert study.trials == 4
    assert study.options == {"train_cfg.max_iters": 20}
    assert study.teacher["options"] == {"train_cfg.max_iters": 50}
    assert study.arms["published"]["model.losses.fourier.loss.loss_weight"] == 7.0
    assert study.space["model.losses.fourier.loss.mask"] == {"type": "AllPass"}
    assert study.wandb == {"mode": "offline"}


OWN_METHOD = '''"""Mine."""
source = "me"
_loss = dict(type="FeatureL2", loss_weight=2.0)
losses = dict(feature=dict(mine=dict(loss=_loss)), logits=dict(other=dict(loss=_loss)))


def space(suggest):
    return dict(
        feature={"mine.loss_weight": suggest.float(1.0, 9.0)},
        logits={"other.loss_weight": suggest.float(1.0, 9.0)},
    )
'''


def test_methods_are_tuned_by_what_the_pair_has(study_file):
    folder = study_file.parent
    (folder / "mine.py").write_text(OWN_METHOD)
    (folder / "base.py").write_text('taps = dict(feature="a", logits="b", head="c")\n')
    (folder / "run_config.py").write_text('_base_ = "base.py"\ntaps = dict(logits=None)\n')
    changes = {
        "arms": ["student_alone", "pkd", "mine.py"],
        "reference_arms": ["fourier"],
        "start_points": {},
        "space": {"method": suggest.method("pkd", "mine.py"), "lr": suggest.float(0, 1)},
    }
    study = load_study(study_file, changes)
    assert study.arms["pkd"] == {"method": "pkd"}
    assert study.arms["mine"] == {"method": str(folder / "mine.py")}
    assert list(study.space["method"].tunable["mine"]) == ["model.losses.mine.loss.loss_weight"]
    trial = optuna.trial.FixedTrial({"method": "mine", "mine.loss_weight": 3.0, "lr": 0.5})
    options, parameters = resolve(study.space, trial)
    assert options["method"] == str(folder / "mine.py")
    assert parameters["method"] == "mine"  # no path of a machine is among the parameters
    assert match(study.space, options) == (parameters, "")
    assert "method=None is outside" in match(study.space, {"lr": 0.5})[1]
    with_logits = load_study(study_file, {**changes, "options.taps.logits": "b"})
    assert "model.losses.other.loss.loss_weight" in with_logits.space["method"].tunable["mine"]
    identity, files = study.identity(), study.method_files()
    assert identity == load_study(study_file, changes).identity()
    assert str(folder) not in json.dumps(identity)  # which may move
    (folder / "mine.py").write_text(OWN_METHOD.replace("2.0", "2.5"))
    other = load_study(study_file, changes)
    assert other.method_files()["mine.py"] != files["mine.py"]
    (folder / "run_config.py").write_text("metric = 'score'\n")
    with pytest.raises(ConfigError, match="the method pkd compares .*the pair's taps name none"):
        load_study(study_file, changes)


def test_overrides_leave_the_file_alone(study_file):
    load_study(study_file, {"arms.published.x": 1})
    assert "x" not in load_study(study_file).arms["published"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("trials=8", "trails=8", "study has no such key, got 'trails'; did you mean 'trials'"),
        ("trials=8", "trials=0", "trials must be a whole number of at least 1, got 0"),
        (
            "trials=8",
            "trials=8, rung_trials=-1",
            "rung_trials must be a whole number of at least 0",
        ),
        ("trials=8", "trials=8, rung_seeds=101", "rung_seeds is at most 100, so that no two"),
        (
            "trials=8",
            "trials=8, margin=0",
            "margin is None or above 0, in the metric's unit, got 0",
        ),
        ("trials=8", "trials=8, patience=0", "patience is None or seconds above 0, got 0"),
        ("trials=8", "trials=8, per_run=4", "per_run must be a dict, got 4; e.g. per_run=dict("),
        ("trials=8", "trials=8, per_run=dict(cpu=4)", "per_run has no such key, got 'cpu'; did"),
        ("trials=8", "trials=8, per_run=dict(cpus=0)", "per_run.cpus must be a whole number of"),
        ("trials=8", "trials=8, per_run=dict(gpus=2)", "per_run.gpus is 0 or 1: a run is one pro"),
        ("trials=8", "trials=8, keep_checkpoints=1", "keep_checkpoints is True or False, got 1"),
        ("trials=8", "trials=8, prune_from=60", "prune_from is a share of the schedule in [0, 1]"),
        ("final_seeds=2", "final_seeds=901", "final_seeds is at most 900"),
        ("trials=8", "trials=1", "trials counts the arms too"),
        ("seed=0", "seed=9007199254740", "seed is at most 9007199254739, got 9007199254740"),
        ("trials=8", "trials=8, direction='up'", "direction is 'maximize' or 'minimize', got 'up'"),
        (
            "trials=8",
            "trials=8, teacher=dict(config='none.py', option='a')",
            "teacher.config must be a file",
        ),
        ("trials=8", "trials=8, teacher=dict(option='a')", "teacher needs the key, got 'config'"),
        ("trials=8", "trials=8, teacher=dict(cfg='a')", "did you mean 'config'"),
        ("trials=8", "trials=8, baseline='student'", "did you mean 'student_alone'"),
        ("trials=8", "trials=8, options={'a': {1}}", "options must hold plain values only"),
        ("trials=8", "trials=8 +", "invalid syntax"),
        ("trials=8", "trials=int('x')", "ValueError: invalid literal"),
        ("run_config.py", "none.py", "config must be a file"),
        ('name="tiny"', 'name="a/b"', "name is made of letters"),
        ('final_split="test"', 'final_split="dev"', "final_split is"),
        ("    metric=", "    # metric=", "a study needs the key, got 'metric'"),
        ("study = dict", "stdy = dict", "assigns study = dict"),
        ("mode=", "moed=", "did you mean 'mode'"),
        ("feature_l2", "published", "the name is taken"),
        ("feature_l2", "tuned", "the name is taken"),
        ("feature_l2", "rung", "the name is taken"),
        ("by_hand", "published", "the name is taken"),
    ],
)
def test_bad_configs_are_refused(study_file, old, new, message):
    with pytest.raises(ConfigError) as error:
        load_study(edited(study_file, old, new))
    assert message in str(error.value)


def test_a_bad_node_is_named_by_file_and_line(study_file):
    edited(study_file, "suggest.float(0.1, 100, log=True)", "suggest.float(100, 0.1)")
    line = next(
        i for i, text in enumerate(study_file.read_text().splitlines(), 1) if "(100, 0.1)" in text
    )
    with pytest.raises(ConfigError) as error:
        load_study(study_file)
    assert f"{study_file}:{line}: suggest.float: low must be below high" in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="a study config must be a file"):
        load_study(tmp_path / "none.py")


def test_identity_ignores_comments_and_sees_bases(study_file):
    folder = study_file.parent
    (folder / "base.py").write_text("lr = 1\n")
    (folder / "run_config.py").write_text("_base_ = './base.py'\nmetric = 'score'\n")
    before = load_study(study_file).identity()
    (folder / "run_config.py").write_text("# why\n_base_ = './base.py'\nmetric   = 'score'\n")
    assert load_study(study_file).identity() == before
    assert load_study(study_file, {"trials": 30, "final_seeds": 5}).identity() == before
    elsewhere = load_study(study_file, {"per_run.cpus": 4, "per_run.gpus": 1})
    assert elsewhere.needs == Needs(cpus=4, gpus=1)
    assert elsewhere.identity() == before
    (folder / "base.py").write_text("lr = 2\n")
    assert load_study(study_file).identity() != before


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"options.lr": 1},
        {"direction": "minimize"},
        {"start_points": {}},
        {"rung_trials": 2},
        {"rung_seeds": 1},
        {"space.model.losses.fourier.loss.loss_weight": 1.0},
    ],
)
def test_identity_sees_what_makes_trials_differ(study_file, change):
    assert load_study(study_file, change).identity() != load_study(study_file).identity()


@pytest.mark.parametrize("seed", [0, 3])
def test_no_two_phases_share_a_seed(study_file, seed):
    most = {"final_seeds": 900, "rung_seeds": 100, "seed": seed}
    study, next_one = (load_study(study_file, {**most, "seed": s}) for s in (seed, seed + 1))
    used = [s for one in (study, next_one) for s in one.seeds_of_finals() + one.seeds_of_rung()]
    assert len(set(used)) == len(used) == 2000
    assert study.seed not in used


def test_the_first_seeds_of_rung_and_finals_stay_when_there_are_more(study_file):
    study = load_study(study_file, {"seed": 3, "final_seeds": 2, "rung_seeds": 3})
    assert study.seeds_of_finals() == [4000, 4001]
    assert study.seeds_of_rung() == [4900, 4901, 4902]


def test_the_teacher_sees_the_data_of_the_students(study_file):
    teacher = {"config": "teacher_config.py", "option": "a"}
    study = load_study(
        study_file,
        {"teacher": teacher, "options.data_root": "/d", "options.train_cfg.max_iters": 3},
    )
    assert study.teacher_options() == {"data_root": "/d"}


WRONG = [None, 5, -1, 0, 1.5, True, float("nan"), float("inf"), "x", "", [], [5], {}, {"a": 1}]
NESTED = [
    "options.x",
    "space.a",
    "arms.x",
    "arms.x.y",
    "reference_arms.x",
    "start_points.x",
    "teacher.config",
    "teacher.seed",
    "teacher.option",
    "teacher.options",
    "teacher.options.x",
    "pruner.type",
    "wandb.project",
    "wandb.entity",
    "wandb.mode",
    "wandb.tags",
    "wandb.notes",
]


@pytest.mark.parametrize("key", [*KEYS, *NESTED])
def test_a_wrong_value_anywhere_is_a_line_of_ours_or_meant(study_file, key):
    for value in WRONG:
        for before in ({}, {"teacher": {"config": "teacher_config.py", "option": "a.b"}}):
            with suppress(ConfigError):  # anything else fails the test
                load_study(study_file, {**before, key: value}).identity()


def places(node: dict, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key at and below ``node``; a dotted option is one."""
    for key, value in node.items():
        yield (*before, key)
        if isinstance(value, dict):
            yield from places(value, (*before, key))


STUDIES = {
    path: runpy.run_path(str(path))["study"]
    for path in sorted((Path(__file__).parents[2] / "configs" / "studies").glob("*.py"))
}
STUDY_PLACES = [(path, place) for path, study in STUDIES.items() for place in places(study)]


# all 4 000 pairs take half a minute, these three seconds
@settings(max_examples=300, deadline=None, derandomize=True)
@given(where=st.sampled_from(STUDY_PLACES), value=st.sampled_from(WRONG))
def test_a_wrong_value_in_a_study_of_ours_is_a_line_or_meant(where, value):
    path, (first, *rest) = where
    changed = {first: copy.deepcopy(STUDIES[path][first])}
    node = changed
    for key in [first, *rest][:-1]:
        node = node[key]
    node[[first, *rest][-1]] = value
    with suppress(ConfigError):  # anything else fails the test
        load_study(path, changed).identity()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"wandb.tags": 5}, "wandb.tags is a list of texts, got 5"),
        ({"wandb.tags": "abc"}, "wandb.tags is a list of texts, got 'abc'"),
        ({"wandb.project": ["a"]}, r"wandb.project is a text, got \['a'\]"),
        ({"wandb.mode": "onlin"}, "wandb.mode is one of online, offline, disabled, got 'onlin'"),
        ({"options": {"a": "https://me:s3cret@host/x"}}, r"no user and password.*\.\.\.@host"),
        ({"options.x": float("nan")}, "options must hold plain values only"),
    ],
)
def test_wandbs_keys_and_passwords(study_file, option, message):
    with pytest.raises(ConfigError, match=message) as error:
        load_study(study_file, option)
    assert "s3cret" not in str(error.value)
