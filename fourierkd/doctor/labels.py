"""Do the training labels fit their images: in flow teacher and training batches, out flows a check.

The teacher's own loss is the measure. It is compared with what it is when the same images get other
labels, so nothing has to be known of the task, and no value of a loss has to be called high.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fourierkd.distill.taps import isolated_random_state
from fourierkd.distill.teacher import RANDOM
from fourierkd.doctor.metric import CLEARLY_BETTER
from fourierkd.doctor.report import FAIL, OK, SKIP, WARN, Check, number, worst
from fourierkd.doctor.subject import Subject
from fourierkd.errors import first_line

# Where labels belong to other images, those given are the cheaper ones in all of so many batches
# once in 2 ** BATCHES examinations: either assignment is as good as the other.
BATCHES = 5
IGNORED = 255  # MMSegmentation's label of pixels without a class
NAME = "teacher loss"

Change = Callable[[Tensor], Tensor]


class Costs(NamedTuple):
    """The teacher's loss, batch by batch.

    Attributes:
        given: with the labels as they are.
        others: with the labels of the next image.
        reordered: with the classes in another order, by what was done, in words.
        frequencies: of the class frequencies of the batch as its answer everywhere; None where the
            teacher has no classifier of pixels.
    """

    given: list[float]
    others: list[float]
    reordered: dict[str, list[float]]
    frequencies: list[float] | None = None


def check_teacher_loss(subject: Subject) -> Check:
    """The teacher's loss is lower with the training labels than with others."""
    model = subject.model
    assert model.teacher is not None
    if subject.config.model.teacher.checkpoint == RANDOM:
        return Check(NAME, SKIP, "random: this teacher knows no labels")
    teacher = model.teacher.model
    ours, theirs = class_count(model.student), class_count(teacher)
    if ours != theirs:
        value = f"the teacher has {theirs} classes and the student {ours}: these labels say nothing"
        return Check(NAME, SKIP, value)
    try:
        costs = measure(subject, teacher, theirs)
    except Exception as error:  # a teacher whose config has no training part, say
        reason = f"{type(error).__name__}: {first_line(error)}"
        value = f"it cannot be taken on these labels ({reason})"
        return Check(NAME, WARN, value, "give the teacher's config its train_cfg, if it has none")
    return judge(costs)


def judge(costs: Costs) -> Check:
    """Judge the teacher's losses; each rule holds of any teacher that knows the task.

    Labels that are independent of the images cost as much in any assignment; and a cross-entropy
    is then, in the mean, no lower than that of the class frequencies (Gibbs' inequality).
    """
    statuses, advice = [OK], []
    given, others = _mean(costs.given), _mean(costs.others)
    count = len(costs.given)
    lower = sum(a < b for a, b in zip(costs.given, costs.others, strict=True))
    lines = [
        f"the teacher's loss {number(given)}; with the labels of other images {number(others)}, "
        f"more in {lower} of {count} batches"
    ]
    fitting = {
        words: _mean(values)
        for words, values in costs.reordered.items()
        if _below(values, costs.given) and _below(values, costs.others)
    }
    if fitting:
        words = min(fitting, key=lambda each: fitting[each])
        statuses.append(FAIL)
        lines.append(f"{words}: {number(fitting[words])}")
        advice.append(
            "data and teacher count their classes differently: compare classes and "
            "reduce_zero_label of the training data with the teacher's"
        )
    elif lower < count:
        statuses.append(FAIL)
        advice.append("labels of other images fit as well: look at a training image and its labels")
    elif others < CLEARLY_BETTER * given:
        statuses.append(WARN)
        advice.append("the labels of other images fit nearly as well")
    if costs.frequencies is not None:
        constant = _mean(costs.frequencies)
        lines.append(f"the class frequencies alone as the answer: {number(constant)}")
        if not given < constant:
            statuses.append(FAIL)
            advice.append("the teacher knows less of these labels than their frequencies")
    if FAIL in statuses:
        advice.append("where the teacher metric is right, the fault is in train_dataloader")
    return Check(NAME, worst(statuses), "\n".join(lines), "; ".join(advice), costs._asdict())


def _below(values: Sequence[float], others: Sequence[float]) -> bool:
    """In every batch, which labels that do not matter are by chance once in 2 ** BATCHES."""
    return all(a < b for a, b in zip(values, others, strict=True))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def measure(subject: Subject, teacher: nn.Module, classes: int | None) -> Costs:
    """The teacher's losses on the next training batches, in eval mode and full precision.

    Args:
        subject: gives the batches.
        teacher: not changed.
        classes: of its labels; None to take as many as the labels have.

    Raises:
        Exception: whatever the teacher or its data raise.
    """
    with isolated_random_state():
        batches = subject.training_batches(BATCHES)
        truth = [labels for _, samples in batches for labels in _labels(samples)]
        if not truth:
            raise ValueError("no labels of classes are among the training samples")
        known = torch.cat([labels.flatten() for labels in truth])
        classes = classes or int(known[known != IGNORED].max()) + 1
        counts = torch.bincount(known[(known >= 0) & (known < classes)], minlength=classes)
        orders = _orders(classes, counts, maps=truth[0].ndim > 1)
        every = [sample for _, samples in batches for sample in samples]
        nexts = iter(every[1:] + every[:1])
        costs = Costs([], [], {words: [] for words in orders}, [])
        for inputs, samples in batches:
            with remembered(getattr(teacher, "backbone", None)):

                def cost(labelled: Sequence[Any], inputs: Tensor = inputs) -> float:
                    return _cost(subject, teacher, inputs, labelled)

                costs.given.append(cost(samples))
                costs.others.append(
                    cost([with_labels_of(s, o) for s, o in zip(samples, nexts, strict=False)])
                )
                for words, table in orders.items():
                    change = _by_table(table)
                    costs.reordered[words].append(cost([relabelled(s, change) for s in samples]))
                with answering(teacher, counts) as answers:
                    if answers:
                        assert costs.frequencies is not None
                        costs.frequencies.append(cost(samples))
    return costs if costs.frequencies else costs._replace(frequencies=None)


@torch.no_grad()
def _cost(subject: Subject, teacher: nn.Module, inputs: Tensor, samples: Sequence[Any]) -> float:
    torch.manual_seed(subject.seed)  # some heads draw the boxes that they learn from
    losses = teacher(inputs, copy.deepcopy(list(samples)), mode="loss")
    return float(subject.model.parse_losses(losses)[0])


def class_count(model: nn.Module) -> int | None:
    """How many classes the model's heads know; None where none says it.

    Of several heads the largest: a proposal head knows one.
    """
    found = [getattr(module, "num_classes", None) for module in model.modules()]
    return max((n for n in found if isinstance(n, int)), default=None)


def _labels(samples: Sequence[Any]) -> Iterator[Tensor]:
    """Integer labels: of pixels (H, W) or (1, H, W), of boxes (n,)."""
    for sample in samples:
        if isinstance(sample, Tensor):
            yield sample.long()
        elif "gt_sem_seg" in sample:
            yield sample.gt_sem_seg.data.long()
        elif "gt_instances" in sample and "labels" in sample.gt_instances:
            yield sample.gt_instances.labels.long()


def with_labels_of(sample: Any, other: Any) -> Any:
    """A copy of ``sample`` with everything that ``other`` has as ground truth."""
    if isinstance(sample, Tensor):
        return other
    changed = copy.deepcopy(sample)
    for key in list(filter(_is_truth, changed.keys())):
        delattr(changed, key)
    changed.set_data({k: copy.deepcopy(v) for k, v in other.items() if _is_truth(k)})
    return changed


def _is_truth(key: str) -> bool:
    return key.startswith("gt_") or key == "ignored_instances"


def relabelled(sample: Any, change: Change) -> Any:
    """A copy of ``sample`` with other labels."""
    if isinstance(sample, Tensor):
        return change(sample)
    changed = copy.deepcopy(sample)
    if "gt_sem_seg" in changed:
        changed.gt_sem_seg.data = change(changed.gt_sem_seg.data)
    if "gt_instances" in changed and "labels" in changed.gt_instances:
        changed.gt_instances.labels = change(changed.gt_instances.labels)
    return changed


def _orders(classes: int, counts: Tensor, *, maps: bool) -> dict[str, Tensor]:
    """Other orders of the classes, by what was done: new label by old label.

    One step up and down, which undo a shift by one; for label maps also with the commonest class,
    the background as a rule, where it is.
    """
    if classes < 2:
        return {}
    every = torch.arange(classes)
    orders = {
        "1 added to every label": every.roll(-1),
        "1 taken from every label": every.roll(1),
    }
    if maps and classes > 2:
        kept = int(counts.argmax())
        moved = every[every != kept]
        for words, by in (("1 added to", -1), ("1 taken from", 1)):
            table = every.clone()
            table[moved] = moved.roll(by)
            orders[f"{words} every label but {kept}"] = table
    return orders


def _by_table(table: Tensor) -> Change:
    def change(labels: Tensor) -> Tensor:
        known = (labels >= 0) & (labels < len(table))
        new = table.to(labels.device)[labels.long().clamp(0, len(table) - 1)]
        return torch.where(known, new.to(labels.dtype), labels)

    return change


@contextmanager
def remembered(module: nn.Module | None) -> Iterator[None]:
    """Within: ``module`` computes once, and then gives what it gave; None: nothing is kept.

    Only the labels change between the calls, and a backbone does not see them.
    """
    if module is None:
        yield
        return
    original, earlier = module.forward, vars(module).get("forward")
    kept: list[Any] = []

    def once(*args: Any, **kwargs: Any) -> Any:
        if not kept:
            kept.append(original(*args, **kwargs))
        return _copied(kept[0])  # what comes after may work in place

    module.forward = once
    try:
        yield
    finally:
        if earlier is None:
            del module.forward
        else:
            module.forward = earlier


def _copied(maps: Any) -> Any:
    if isinstance(maps, list | tuple):
        return type(maps)([_copied(m) for m in maps])
    return maps.clone() if isinstance(maps, Tensor) else maps


@contextmanager
def answering(teacher: nn.Module, counts: Tensor) -> Iterator[list[str]]:
    """Within: MMSegmentation's pixel classifiers answer the class frequencies; their names."""
    logits = (counts.float() + 1e-6).log()  # a class without a pixel costs nothing, and is finite
    names = []

    def answer(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        return logits.to(output)[None, :, None, None].expand_as(output)

    with ExitStack() as stack:
        for name, module in teacher.named_modules():
            one = name.rpartition(".")[2] == "conv_seg" and isinstance(module, nn.Conv2d)
            if one and module.out_channels == len(counts):
                stack.callback(module.register_forward_hook(answer).remove)
                names.append(name)
        yield names
