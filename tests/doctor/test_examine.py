"""A healthy pair passes every check; each fault that users report is named by the right one."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fourierkd.doctor.examine import diagnose, examine
from fourierkd.doctor.report import CHECKS, exit_code
from fourierkd.doctor.subject import amp_dtype, build_subject
from fourierkd.errors import ConfigError
from tests.doctor.conftest import CONFIG, QUICK


def failed(checks) -> set[str]:
    return {check.name for check in checks.values() if check.status == "fail"}


def test_a_healthy_pair_passes(examined):
    checks = examined()
    assert tuple(checks) == CHECKS
    assert failed(checks) == set(), [checks[name] for name in failed(checks)]
    assert exit_code(checks.values()) == 0
    assert checks["teacher metric"].facts["value"] > checks["teacher metric"].facts["random"][0]
    assert checks["levels"].facts["fourier"]["strides"] == [{"student": 1.0, "teacher": 1.0}]
    assert checks["connectors"].facts["fourier.0"]["connected"] == [3, 6, 12, 12]
    assert checks["unused parameters"].facts["unused"] == [
        "student.side.weight",
        "student.side.bias",
    ]
    assert checks["unused parameters"].status == "warn"
    assert checks["fft dtype"].facts["dtypes"] == ["float32"]
    assert set(checks["cost"].facts["seconds"]) == {"teacher", "student", "losses", "backward"}


def test_a_head_of_more_classes_is_a_warning_and_one_of_fewer_is_refused(examined):
    def head(classes):
        def plant(subject):
            subject.config.model.student.class_head = {"type": "Head", "num_classes": classes}

        return plant

    build = examined(head(5))["build"]
    assert build.status == "warn"
    assert build.advice.startswith("num_classes of the student's class_head is more")
    with pytest.raises(ConfigError, match="num_classes of the student's class_head must be"):
        examined(head(1))


def test_no_check_leaves_a_trace(subject):
    with subject() as built:
        modules = {"student": built.model, "teacher": built.model.teacher.model}
        before = {k: {n: t.clone() for n, t in m.state_dict().items()} for k, m in modules.items()}
        examine(built, effort=QUICK)
        for key, module in modules.items():
            state = module.state_dict()
            assert all(torch.equal(state[name], value) for name, value in before[key].items())
        assert all(p.grad is None for m in modules.values() for p in m.parameters())


def teacher_in_train_mode(subject):
    subject.model.teacher.model.train()


def teacher_dropout_on(subject):
    subject.model.teacher.model.drop.train()


def teacher_trainable(subject):
    subject.model.teacher.model.requires_grad_(True)


def teacher_noisy(subject):
    subject.model.teacher.model.features.register_forward_hook(lambda m, a, out: F.dropout(out))


def teacher_counts(subject):
    teacher = subject.model.teacher.model
    teacher.register_buffer("count", torch.zeros(()))
    teacher.features.register_forward_hook(lambda m, a, out: teacher.count.add_(1) and None)


def teacher_reset(subject):
    subject.model.teacher.model.features.reset_parameters()


def teacher_normalised_otherwise(subject):
    subject.model.teacher.model.register_forward_pre_hook(lambda m, a: (a[0] / 255, *a[1:]))


def teacher_normalised_inside(subject):
    subject.model.teacher.model.features.register_forward_pre_hook(lambda m, a: (a[0] - 1,))


def teacher_blank(subject):
    subject.model.teacher.model.features.register_forward_hook(lambda m, a, out: out * 0)


def weight_zero(subject):
    subject.model.losses["fourier"][0].loss_weight = 0.0


def loss_not_a_number(subject):
    subject.model.losses["fourier"][0].loss_weight = float("nan")


def student_detached(subject):
    subject.model.student.features.register_forward_hook(lambda m, a, out: out.detach())


def student_under_no_grad(subject):
    features = subject.model.student.features
    forward = features.forward
    features.forward = torch.no_grad()(forward)


def student_frozen(subject):
    subject.model.student.features.requires_grad_(False)


def detached_before_the_connector(subject):
    connector = subject.model.connectors["fourier"][0]
    connector.register_forward_pre_hook(lambda m, a: (a[0].detach(),))


def detached_in_the_loss(subject):
    loss = subject.model.losses["fourier"][0]
    forward = loss.forward
    loss.forward = lambda student, teacher, **kwargs: forward(student.detach(), teacher)


def hook_on_another_module(subject):
    seen = []
    subject.model.student.norm.register_forward_hook(lambda m, a, out: seen.append(out))
    connector = subject.model.connectors["fourier"][0]
    connector.register_forward_pre_hook(lambda m, a: (seen[-1],))


def connector_gone(subject):
    subject.model.connectors["fourier"][0] = nn.Identity()


def student_grew(subject):
    subject.model.student.extra = nn.Parameter(torch.zeros(3))


def student_hooked(subject):
    subject.model.student.head.register_forward_hook(lambda m, a, out: out + 1)


@pytest.mark.parametrize(
    ("plant", "named", "words"),
    [
        (teacher_in_train_mode, "teacher frozen", "modules in training mode"),
        (teacher_dropout_on, "teacher frozen", "dropout is on: drop"),
        (teacher_trainable, "teacher frozen", "require a gradient"),
        (teacher_noisy, "teacher repeats", "two passes differ"),
        (teacher_counts, "teacher repeats", "changes 1 buffers: count"),
        (teacher_reset, "teacher weights", "features.weight"),
        (teacher_normalised_otherwise, "same input", "at the first layer"),
        (teacher_normalised_inside, "same input", "at the first layer"),
        (teacher_blank, "losses", "the teacher's map is constant: fourier.0"),
        (weight_zero, "losses", "fourier 0: it must be"),
        (weight_zero, "gradients", "fourier.0: 0 at"),
        (loss_not_a_number, "losses", "fourier nan"),
        (student_detached, "gradients", "fourier.0: none, the student's map is detached"),
        (student_under_no_grad, "gradients", "under no_grad"),
        (student_frozen, "gradients", "or frozen"),
        (detached_before_the_connector, "gradients", "fourier.0: none, the student's map is"),
        (detached_in_the_loss, "gradients", "fourier: 0 at the student's parameters"),
        (hook_on_another_module, "taps", "the map that reaches the loss is not the tap's output"),
        (connector_gone, "losses", "a training step fails (ConfigError"),
        (student_grew, "export", "cannot load it"),
        (student_hooked, "export", "answers differently"),
    ],
)
def test_a_fault_planted_in_the_built_model_is_named(examined, plant, named, words):
    checks = examined(plant)
    assert checks[named].status == "fail"
    assert words in checks[named].value
    assert exit_code(checks.values()) == 1


@pytest.mark.parametrize(
    ("entry", "named", "words"),
    [
        ({"checkpoint": "random"}, "teacher weights", "a negative control"),
        ({"checkpoint": None}, "teacher weights", "a teacher needs its checkpoint"),
        ({"checkpoint": "none.pth"}, "teacher weights", "no such checkpoint"),
        ({"student_tap": "side"}, "taps", "the student's own losses do not use this map"),
        ({"student_tap": "aux", "teacher_tap": "aux"}, "taps", "answer does not use this map"),
        ({"student_tap": "coarse"}, "levels", "stride 2 of the student against 1 of the teacher"),
        ({"student_tap": "featurs"}, "taps", "unknown student tap"),
        ({"student": {"frozen": True}}, "gradients", "frozen up to its tap"),
        ({"connector": None}, "connectors", "need equal channels"),
        ({"loss": {"type": "FourierLoss", "loss_weight": 0}}, "losses", "must be above 0"),
        ({"loss": {"type": "FourierLos"}}, "losses", "unknown class"),
        ({"student": {"widht": 4}}, "build", "unknown key"),
    ],
)
def test_a_fault_of_the_config_is_named(options, entry, named, words):
    found = diagnose(CONFIG, options(**entry), effort=QUICK)
    assert [check.name for check in found] == list(CHECKS)
    checks = {check.name: check for check in found}
    assert checks[named].status == "fail"
    assert words in checks[named].value
    assert exit_code(found) == 1


def test_a_teacher_with_a_negative_control_is_named(options):
    more = options() | {"model.teacher.control": "random_phases"}
    checks = {check.name: check for check in diagnose(CONFIG, more, effort=QUICK)}
    assert checks["teacher weights"].status == "fail"
    assert "random_phases: a negative control" in checks["teacher weights"].value
    assert checks["teacher repeats"].status == "ok"


def test_pixels_of_another_normalisation_are_refused_at_build(options):
    more = options()
    more["model.teacher"]["model"]["pixels"] = 120.0
    checks = {c.name: c for c in diagnose(CONFIG, more, effort=QUICK)}
    assert checks["same input"].status == "fail"
    assert "must prepare images alike" in checks["same input"].value
    assert checks["losses"].status == "skip"


def test_a_teacher_that_never_learned(tmp_path, examined, teacher):
    import planted

    torch.manual_seed(1)
    path = tmp_path / "fresh.pth"
    torch.save({"state_dict": planted.BranchedModel(6).state_dict()}, path)
    checks = examined(checkpoint=str(path))
    assert checks["teacher weights"].status == "fail"
    assert "never trained" in checks["teacher weights"].value


def test_a_teacher_of_another_task_scores_no_better_than_random_weights(
    tmp_path, examined, teacher
):
    state = torch.load(teacher, weights_only=True)["state_dict"]
    for key in ("head.weight", "head.bias"):
        state[key] = state[key].flip(0)  # the classes in another order
    path = tmp_path / "other.pth"
    torch.save({"state_dict": state}, path)
    checks = examined(checkpoint=str(path))
    assert checks["teacher metric"].status == "fail"
    assert "no better than random weights" in checks["teacher metric"].advice
    assert checks["teacher weights"].status == "ok"


def test_the_student_alone_distils_nothing(examined):
    checks = examined(more={"model.teacher": None, "model.losses": {}})
    assert failed(checks) == {"losses"}
    assert "distils nothing" in checks["losses"].value
    assert checks["teacher frozen"].value == "no teacher"
    assert checks["export"].status == "ok"


def test_a_half_precision_transform_is_found_under_amp_only(examined):
    loss = {"type": "HalfLoss"}
    assert examined(loss=loss)["fft dtype"].status == "ok"
    amp = {"optim_wrapper.type": "Bf16OptimWrapper"}
    assert examined(more=amp)["fft dtype"].facts == {
        "amp": "bfloat16",
        "dtypes": ["float32"],
        "calls": 4,
    }
    check = examined(more=amp, loss=loss)["fft dtype"]
    assert check.status == "fail"
    assert "under autocast to bfloat16" in check.value


@pytest.mark.parametrize(
    ("wrapper", "device", "dtype"),
    [
        ({"type": "OptimWrapper"}, "cpu", None),
        ({"type": "Bf16OptimWrapper"}, "cuda", torch.bfloat16),
        ({"type": "AmpOptimWrapper"}, "cuda", torch.float16),
        ({"type": "AmpOptimWrapper"}, "cpu", torch.bfloat16),
        ({"type": "AmpOptimWrapper", "dtype": "float16"}, "cpu", torch.float16),
    ],
)
def test_autocast_of_the_optimizer_wrappers(wrapper, device, dtype):
    assert amp_dtype(wrapper, torch.device(device)) == dtype


def test_a_loss_still_warming_up_is_measured_at_its_full_weight(examined):
    full = examined()["losses"].facts["distill.fourier.loss"]
    assert examined(warmup_iters=50)["losses"].facts["distill.fourier.loss"] == full > 0


def test_a_trained_run_is_examined_by_its_checkpoint(options, tmp_path):
    with build_subject(CONFIG, options()) as subject:
        subject.model.student.head.weight.data.fill_(0.5)
        torch.save({"state_dict": subject.model.state_dict()}, tmp_path / "run.pth")
    with build_subject(CONFIG, options(), checkpoint=tmp_path / "run.pth") as subject:
        assert (subject.model.student.head.weight == 0.5).all()
    checks = {
        c.name: c
        for c in diagnose(CONFIG, options(), effort=QUICK, checkpoint=tmp_path / "run.pth")
    }
    assert checks["export"].status == "ok", checks["export"]
    assert "(run.pth)" in checks["build"].value


def test_the_same_seed_gives_the_same_numbers(examined):
    first, second = examined(), examined()
    for name in set(CHECKS) - {"cost"}:
        assert first[name].facts == second[name].facts
