"""Numbers of a config that do not fit its run, and splits that share images."""

from __future__ import annotations

import pytest

from fourierkd.doctor.config_checks import check_data, check_schedule, images_of

EPOCHS = {"train_cfg": {"type": "EpochBasedTrainLoop", "max_epochs": 5}}  # of 4 iterations
FINITE = {"train_dataloader.sampler": {"type": "DefaultSampler", "shuffle": True}}


def average(**hook) -> dict:
    return {"custom_hooks": [{"type": "EMAHook", **hook}]}


class Files:
    """A data set of image files."""

    def __init__(self, *paths) -> None:
        self.paths = [str(path) for path in paths]

    def __len__(self) -> int:
        return len(self.paths)

    def get_data_info(self, index: int) -> dict:
        return {"img_path": self.paths[index]}


def test_images_are_known_by_their_files_through_links(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "test").symlink_to(tmp_path / "train")
    assert images_of(Files(tmp_path / "train" / "a.jpg")) == images_of(
        Files(tmp_path / "test" / "a.jpg")
    )


def test_a_data_set_that_is_none_of_mmengines_names_no_files():
    assert images_of([1, 2]) == set()


def test_data_without_image_files_are_not_compared(subject):
    with subject() as built:
        check = check_data(built)
    assert (check.status, check.value) == (
        "skip",
        "the training data name no image files to compare",
    )


@pytest.mark.parametrize(
    ("more", "entry", "status", "words"),
    [
        ({}, {"warmup_iters": 20}, "ok", "a run of 20 iterations"),
        ({}, {"warmup_iters": 1_000_000}, "fail", "it ends at 0.002 % of its weight"),
        (EPOCHS | FINITE, {"warmup_iters": 21}, "fail", "21 iterations, the run has 20"),
        ({"optim_wrapper.accumulative_counts": 20}, {}, "ok", "a run of 20 iterations"),
        (
            {"optim_wrapper.accumulative_counts": 21},
            {},
            "fail",
            "over 21 iterations, the run has 20",
        ),
        (average(), {}, "warn", "ends with 99.6 % of the first weights"),
        (average(momentum=0.2), {}, "ok", "a run of 20 iterations"),
        (average(momentum=0.2, interval=10), {}, "warn", "ends with 64 % of the first weights"),
        (average(begin_iter=10), {}, "ok", "a run of 20 iterations"),
        (average(ema_type="StochasticWeightAverage"), {}, "ok", "a run of 20 iterations"),
        ({"param_scheduler.0.end": 200}, {}, "warn", "PolyLR ends at iter 200, after"),
        (
            EPOCHS
            | FINITE
            | {
                "param_scheduler": [
                    {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 500}
                ]
            },
            {},
            "warn",
            "the warm-up ends at iter 500, after the training's end at 20",
        ),
        (
            EPOCHS
            | FINITE
            | {
                "param_scheduler": [
                    {
                        "type": "PolyLR",
                        "eta_min": 0,
                        "by_epoch": True,
                        "end": 50,
                        "convert_to_iter_based": True,
                    }
                ]
            },
            {},
            "warn",
            "PolyLR ends at epoch 50",
        ),
        (
            {
                "param_scheduler": {
                    "type": "OneCycleLR",
                    "eta_max": 0.01,
                    "total_steps": 10,
                    "by_epoch": False,
                }
            },
            {},
            "fail",
            "no learning rate after its total_steps=10",
        ),
    ],
)
def test_numbers_that_are_not_the_runs(subject, more, entry, status, words):
    with subject(more, **entry) as built:
        check = check_schedule(built)
    assert (check.status, words in check.value) == (status, True), check
    assert bool(check.advice) == (status != "ok")
