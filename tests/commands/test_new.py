"""``fourierkd new``: what it writes loads, builds, trains and is a study; what it cannot decide is
one line, and nothing is written."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
import torch

from fourierkd.cli import main, run_command
from fourierkd.commands.bench import build_pair
from fourierkd.commands.method_list import describe_methods
from fourierkd.commands.new import New, new_pair, next_commands
from fourierkd.commands.pair_files import source
from fourierkd.config.load import load_config
from fourierkd.distill.model_config import build_model
from fourierkd.engine.run import run
from fourierkd.errors import CheckpointError, FourierKDError
from fourierkd.records import single_request
from fourierkd.run_dir import RunDir
from sweeps.study_file import load_study
from tests.own_data import MODELS, SEGMENTORS, make_coco, make_masks, make_voc, write_model

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("sky", "road", "car")
EVERY_STEP = {"default_hooks.scalars": {"type": "ScalarsHook", "interval": 1}}
TEACHERS = {"deeplabv3": "pspnet", "segformer": "pspnet", "rtmdet": "rtmdet", "yolox": "yolox"}

pytestmark = pytest.mark.usefixtures("few_threads", "own_scope")


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A working folder with data of both tasks."""
    monkeypatch.chdir(tmp_path)
    make_masks(tmp_path / "camvid")
    make_coco(tmp_path / "shop")
    return tmp_path


def new(model: str, teacher: str = "", name: str = "pairs/mine", **options) -> New:
    """A pair of small models, or of configs, on the data of its task."""
    Path("own").mkdir(exist_ok=True)
    if not teacher.endswith(".py"):
        teacher = write_model(Path(f"own/{teacher or model}_teacher.py"), teacher or model, 16)
    options.setdefault("student", write_model(Path(f"own/{model}.py"), model))
    data = {"data": "shop", "kind": "coco"}
    if model in SEGMENTORS:
        data = {"data": "camvid", "kind": "masks", "classes": CLASSES}
    return new_pair(name, teacher=teacher, **(data | options))


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


@pytest.mark.parametrize("kind", MODELS)
def test_a_pair_of_each_architecture(place, kind):
    made = new(kind, TEACHERS.get(kind, ""))
    assert made.files == ["data.py", "fourier.py", "student.py", "study.py", "teacher.py"]
    config = load_config(made.pair)
    roles = {"mIoU": "feature", "bbox_mAP": "pyramid"}
    assert f"tap {roles[config.metric]}" in made.facts
    assert set(config.model.losses) - {"iou"} == {"fourier"}
    assert ("iou" in config.model.losses) == (kind in ("retinanet", "faster_rcnn"))
    count = 3 if kind in SEGMENTORS else 2
    pair = build_pair(load_config(made.pair))
    for model in (
        pair.student,
        pair.teacher.model,
        build_pair(load_config(made.folder / "teacher.py")).student,
    ):
        heads = [
            m.num_classes
            for n, m in model.named_modules()
            if n.endswith("_head") and n != "rpn_head" and hasattr(m, "num_classes")
        ]
        assert heads
        assert set(heads) == {count}
    for name in ("student.py", "fourier.py", "teacher.py"):
        text = (made.folder / name).read_text().splitlines()
        assert len(text) <= 24
        assert max(map(len, text)) <= 100
    study = load_study(made.folder / "study.py")
    assert (study.name, study.metric) == ("mine", config.metric)
    assert study.teacher["config"] == place / made.folder / "teacher.py"


@pytest.mark.parametrize("kind", ["pspnet", pytest.param("faster_rcnn", marks=pytest.mark.slow)])
def test_methods_go_with_it(place, kind):
    made = new(kind)
    lines = {name: text[-1] for name, text in describe_methods(str(made.pair)).items()}
    for name in ("published", "pkd", "feature_l2", "cwd_logits" if kind == "pspnet" else "iou"):
        assert lines[name].startswith("on this pair"), lines[name]


@pytest.mark.parametrize("kind", ["pspnet", "yolox"])
def test_from_the_command_to_a_trained_pair(place, capsys, kind):
    """Masks and COCO: `new` with its checks, then two iterations of the pair and of the teacher."""
    student, teacher = (write_model(place / f"{role}.py", kind) for role in ("s", "t"))
    data = ["--data", "shop", "--format", "coco"]
    if kind == "pspnet":
        data = ["--data", "camvid", "--format", "masks", "--classes", *CLASSES]
    code = run_command(["new", "mine", "--student", student, "--teacher", teacher, *data])
    out = capsys.readouterr().out
    assert code == 0, out
    assert "nothing is wrong with what was looked at" in out
    assert "doctor: " in out
    assert "python sweeps/run.py study mine/study.py" in out
    chosen = {"teacher": {}, "fourier": {"model.teacher.checkpoint": "random"}}
    for name, more in chosen.items():
        request = single_request(
            place / f"mine/{name}.py", EVERY_STEP | more, wandb_mode="disabled"
        )
        result = run(RunDir(place / name).create(request), resume=False)
        assert (result.state, result.iters) == ("complete", 2)
    (row,) = (r for r in RunDir(place / "fourier").rows() if "train/loss" in r and r["iter"] == 2)
    assert row["train/distill.fourier.loss"] > 0


def test_a_checkpoint_says_which_classes_the_teacher_has(place):
    """A teacher of the data's classes, one of its own config's, and one of another model."""
    made = new("retinanet", name="trained")
    spec = load_config(made.pair).model.teacher.model
    torch.save({"state_dict": build_model(spec, role="teacher").state_dict()}, "ours.pth")
    made = new("retinanet", name="ours", checkpoint="ours.pth")
    assert "teacher.py" not in made.files
    assert "tap head" in made.facts
    assert load_study(made.folder / "study.py").teacher is None
    assert next_commands(made)[0].startswith("fourierkd train ours/fourier.py")

    plain = build_model("own/retinanet_teacher.py", role="teacher").state_dict()
    torch.save({"state_dict": plain}, "coco.pth")
    made = new("retinanet", name="foreign", checkpoint="coco.pth")
    assert "tap head" not in made.facts
    assert any("head left out" in text for text in made.said)
    assert load_config(made.pair).model.teacher.model == "own/retinanet_teacher.py"

    torch.save({"state_dict": {"backbone.x": torch.zeros(1)}}, "other.pth")
    with pytest.raises(CheckpointError, match="another architecture"):
        new("retinanet", name="other", checkpoint="other.pth")
    made = new("retinanet", name="far", checkpoint="https://example.org/t-0123abcd.pth")
    assert "not looked at" in made.facts["checkpoint"]
    assert made.options()["model.teacher.checkpoint"] == "random"


def test_voc_is_converted_into_the_folder(place):
    make_voc(place / "voc")
    made = new("retinanet", data="voc", kind="voc")
    assert {"train.json", "val.json"} <= set(made.files)
    config = load_config(made.pair)
    assert config.train_dataloader.dataset.ann_file == str(place / "pairs/mine/train.json")
    assert config.val_evaluator.ann_file == str(place / "pairs/mine/val.json")
    assert config.train_dataloader.dataset.metainfo.classes == ("box", "jar", "tin")


def test_without_data_the_students_own_are_kept(place):
    """Of a package's config too, and a teacher of other data takes the student's schedule."""
    name = "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py"
    made = new("retinanet", student=name, data=None, kind=None)
    assert made.files == ["fourier.py", "student.py", "study.py", "teacher.py"]
    text = (made.folder / "student.py").read_text()
    assert f'_base_ = "{name}"' in text
    config = load_config(made.folder / "student.py")
    assert config.train_dataloader.dataset.ann_file == "annotations/instances_train2017.json"
    assert load_config(made.folder / "teacher.py").train_cfg.max_epochs == 1  # its own config's
    write_model(Path("own/elsewhere.py"), "retinanet")
    with Path("own/elsewhere.py").open("a") as file:
        file.write("train_dataloader['dataset'] = dict(data_root='data/mine')\n")
    made = new("retinanet", "own/elsewhere.py", "other", data=None, kind=None)
    assert '_base_ = "student.py"' in (made.folder / "teacher.py").read_text()
    assert any("by the student's schedule" in text for text in made.said)


def test_a_config_of_the_newer_form(place):
    Path("own").mkdir()
    write_model(Path("own/text.py"), "retinanet")
    values = load_config_text(Path("own/text.py"))
    Path("own/base.py").write_text(values)
    Path("own/newer.py").write_text(
        textwrap.dedent(
            """
            from mmengine.config import read_base
            from mmengine.optim import OptimWrapper
            with read_base():
                from .base import *
            optim_wrapper.update(type=OptimWrapper)
            """
        )
    )
    made = new("retinanet", student="own/newer.py")
    assert "student_base.py" in made.files
    config = load_config(made.pair)
    assert config.train_cfg.max_epochs == 1
    assert config.train_dataloader.dataset.type == "mmdet.CocoDataset"


def load_config_text(path: Path) -> str:
    from fourierkd.distill.config_files import read_file
    from fourierkd.literals import config_text

    return config_text(read_file(path))


GREY = "\nmodel['data_preprocessor'] = dict(mean=[0.0, 0.0, 0.0], std=[1.0, 1.0, 1.0])\n"


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("pspnet", {"name": "camvid"}, "a new pair is a new folder, .*move that away"),
        ("pspnet", {"name": "my pair"}, "a plain name"),
        ("pspnet", {"kind": None}, "--data and --format come together"),
        ("pspnet", {"data": "shop", "kind": "coco", "classes": None}, "give --format masks or"),
        ("pspnet", {"data": "nowhere"}, "--data is a folder.*check the path"),
        ("pspnet", {"classes": CLASSES[:2]}, "labels of masks are 0 to 1"),
        ("retinanet", {"teacher": "own/grey.py"}, "see the same pixels.*mean.*both data_prep"),
        ("yolox", {"teacher": "own/grey.py"}, "see the same pixels.*mean"),
        ("retinanet", {"teacher": "own/pspnet.py"}, "are of one task"),
        ("retinanet", {"student": "own/run.py"}, "not of a run"),
        ("retinanet", {"student": "own/bare.py"}, "pipelines and a schedule.*train_cfg"),
        ("retinanet", {"teacher": "own/typo.py"}, "the teacher cannot be built.*num_stages"),
    ],
)
def test_what_cannot_be_decided_is_one_line_and_nothing_is_written(place, model, options, message):
    Path("own").mkdir()
    write_model(Path("own/grey.py"), "retinanet")
    with Path("own/grey.py").open("a") as file:
        file.write(GREY)
    write_model(Path("own/pspnet.py"), "pspnet")
    Path("own/run.py").write_text("model = dict(type='Distiller')\n")
    Path("own/bare.py").write_text("model = dict(type='RetinaNet')\ndefault_scope = 'mmdet'\n")
    write_model(Path("own/typo.py"), "retinanet")
    with Path("own/typo.py").open("a") as file:
        file.write("\nmodel['backbone']['num_stage'] = 4\n")
    write_model(Path(f"own/{model}.py"), model)
    write_model(Path(f"own/{model}_teacher.py"), model, 16)
    before = files(place)
    with pytest.raises(FourierKDError, match=message) as error:
        new(model, **options)
    assert "\n" not in str(error.value)
    assert {f for f in files(place) - before if "__pycache__" not in f} == set()


@pytest.mark.slow
def test_the_page_shows_what_is_written(place):
    """At true size: the first pair of docs/your_data.md."""
    page = (ROOT / "docs/your_data.md").read_text()
    words = page.split("```sh\n")[1].split("```")[0].replace("\\\n", " ").split()
    assert words[:3] == ["fourierkd", "new", "mine"]
    made = new_pair(
        "mine", student=words[4], teacher=words[6], data="camvid", kind="masks", classes=CLASSES
    )
    blocks = [part.split("```")[0] for part in page.split("```python\n")[1:]]
    assert blocks == [(made.folder / name).read_text() for name in ("student.py", "fourier.py")]


def test_a_mistyped_path_is_told_at_once(place, capsys):
    write_model(place / "own.py", "pspnet")
    with pytest.raises(SystemExit) as end:
        main(["new", "mine", "--student", "own.py", "--teacher", "owm.py"])
    assert end.value.code == 2
    assert "did you mean 'own.py'" in capsys.readouterr().err


def test_values_as_source_are_read_back():
    value = {
        "a": [1, 2.5, None, True, float("inf")],
        "b": {"x.y": ("one",), "long": ["word" * 9] * 4},
        "c": dict.fromkeys("defgh", (1, "q'\"")),
    }
    text = source(value)
    assert max(map(len, text.splitlines())) <= 100
    assert eval(text) == value
