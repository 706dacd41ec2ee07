"""What a run refuses of its data and warns of, before it trains."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import ConfigDict
from mmseg.datasets import BaseSegDataset
from PIL import Image

from fourierkd.distill.registry import DATASETS
from fourierkd.engine.data_at_start import check_at_start, defaults
from fourierkd.engine.run import run
from fourierkd.engine.runner import KDRunner
from fourierkd.errors import DataError


@pytest.fixture
def coco(tmp_path):
    """A config of train, val and test, two images each; ``change`` edits the file of a split."""

    def make(change=lambda content: None, split="val"):
        config = ConfigDict()
        for part in ("train", "val", "test"):
            content = {"images": [], "annotations": []}
            content["categories"] = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
            for i in (1, 2):
                path = tmp_path / part / f"{i}.png"
                path.parent.mkdir(exist_ok=True)
                Image.new("RGB", (8, 6)).save(path)
                name = f"{part}/{i}.png"
                content["images"].append({"id": i, "file_name": name, "width": 8, "height": 6})
                box = {"id": i, "image_id": i, "category_id": i, "bbox": [1, 1, 4, 3]}
                content["annotations"].append(box | {"area": 12, "iscrowd": 0})
            if part == split:
                change(content)
            (tmp_path / f"{part}.json").write_text(json.dumps(content))
            dataset = {"type": "mmdet.CocoDataset", "data_root": str(tmp_path), "data_prefix": {}}
            dataset |= {"ann_file": f"{part}.json", "metainfo": {"classes": ("a", "b")}}
            config[f"{part}_dataloader"] = {"batch_size": 2, "dataset": dataset}
        return config

    return make


def test_whole_data_are_fine(coco):
    assert check_at_start(coco()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["categories"].reverse(), "must be in the order of the annotations'.*label 0"),
        (lambda c: c["categories"].append({"id": 3, "name": "a"}), "category must be there once"),
        (lambda c: c["annotations"][1].update(id=1), "annotation id must be given once, got '1'"),
        (lambda c: c["images"][1].update(id=1), "image id must be given once"),
        (lambda c: c["annotations"][1].pop("id"), r"got 'annotations\[1\] has no id"),
        (lambda c: c["annotations"][1].pop("area"), r"annotations\[1\] has no area"),
        (lambda c: c["annotations"][1].update(area=0), "must have an area above 0"),
        (lambda c: c["annotations"].clear(), "a data set must have an object"),
        (lambda c: c["images"][1].update(width=80), "must have its annotated size"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("split", ["train", "val"])
def test_what_nobody_can_mean_is_refused(coco, change, said, split):
    with pytest.raises(DataError, match=f"{split} data: .*{said}"):
        check_at_start(coco(change, split))


def test_a_split_that_is_not_read_is_not_looked_at(coco):
    config = coco(lambda c: c["annotations"].clear(), "test")
    assert check_at_start(config, without=("test",)) == []
    with pytest.raises(DataError, match="test data: a data set must have an object"):
        check_at_start(config)


def test_what_may_be_meant_is_a_warning(coco):
    config = coco(lambda c: c["images"][0].update(file_name="train/1.png"))
    (line,) = check_at_start(config)
    assert line.startswith("val: images that are trained on must not be scored: ")
    assert "/train/1.png" in line


def test_a_text_for_classes_is_refused(coco):
    config = coco()
    for loader in config.values():
        loader.dataset.metainfo.classes = "crack"
    with pytest.raises(DataError, match=r"must be a list of names.*write classes=\('crack',\)"):
        check_at_start(config)


def test_only_what_the_class_reads_is_checked():
    importlib.import_module("toy")
    assert defaults("mmdet.CocoDataset")["reads"] == "COCO annotations"
    assert defaults("mmdet.CocoPanopticDataset")["reads"] is None  # segments, not boxes
    assert defaults("mmdet.LVISDataset")["reads"] is None
    assert defaults("mmseg.CityscapesDataset")["reads"] == "index masks"
    assert defaults("ToyDataset")["reads"] is None


def masks(folder, values):
    for split in ("train", "val"):
        for kind, array in (("img", np.zeros((6, 8, 3), np.uint8)), ("ann", values)):
            path = folder / kind / split / "a.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
    return {
        "type": "mmseg.BaseSegDataset",
        "data_root": str(folder),
        "data_prefix": {"img_path": "img/train", "seg_map_path": "ann/train"},
        "img_suffix": ".png",
        "metainfo": {"classes": ("x", "y")},
    }


def test_masks_without_a_second_label_are_refused(tmp_path):
    values = np.array([0, 255] * 24, np.uint8).reshape(6, 8)
    config = ConfigDict(train_dataloader={"dataset": masks(tmp_path, values)})
    with pytest.raises(DataError, match="train data: masks must hold two labels.*--remap"):
        check_at_start(config)
    masks(tmp_path, values // 255)
    assert check_at_start(config) == []


def test_a_class_is_asked_for_what_it_sets_itself(tmp_path, monkeypatch):
    """A fixed suffix and ``reduce_zero_label`` of a user's class, as tutorials write it."""

    class Fixed(BaseSegDataset):
        def __init__(self, **kwargs):
            super().__init__(img_suffix=".png", reduce_zero_label=True, **kwargs)
            assert self.data_root is not None

    monkeypatch.setitem(DATASETS.module_dict, "Fixed", Fixed)
    dataset = masks(tmp_path, np.array([1, 2] * 24, np.uint8).reshape(6, 8))
    dataset = {**dataset, "type": "Fixed"}
    del dataset["img_suffix"]
    config = ConfigDict(train_dataloader={"dataset": dataset})
    assert check_at_start(config) == []
    masks(tmp_path, np.array([1, 3] * 24, np.uint8).reshape(6, 8))
    with pytest.raises(DataError, match="mask values must be 0 to 2 or 255"):
        check_at_start(config)


def test_masks_that_a_class_lists_itself_are_looked_at(tmp_path, monkeypatch):
    """Of masks of 0 and 255 any prediction scores 100, however the class finds them."""

    class Listed(BaseSegDataset):
        def load_data_list(self):
            image, mask = (Path(self.data_prefix[k], "a.png") for k in ("img_path", "seg_map_path"))
            return [{"img_path": str(image), "seg_map_path": str(mask)}]

    monkeypatch.setitem(DATASETS.module_dict, "Listed", Listed)
    values = np.array([0, 255] * 24, np.uint8).reshape(6, 8)
    dataset = {**masks(tmp_path, values), "type": "Listed"}
    with pytest.raises(DataError, match="train data: masks must hold two labels"):
        check_at_start(ConfigDict(train_dataloader={"dataset": dataset}))
    own = {**dataset, "pipeline": [{"type": "LoadImageFromFile"}, {"type": "LoadMyColours"}]}
    assert check_at_start(ConfigDict(train_dataloader={"dataset": own})) == []
    masks(tmp_path, values // 255)
    assert check_at_start(ConfigDict(train_dataloader={"dataset": dataset})) == []


def test_a_run_refuses_its_data_and_keeps_its_warnings(make_run, coco, tmp_path):
    """In place of the toy's: what the loaders are given is looked at, and told in the result."""
    loader = coco(lambda c: c["categories"].reverse(), "train").train_dataloader
    run_dir = make_run(options={"train_dataloader.dataset": loader.dataset.to_dict()})
    with pytest.raises(DataError, match="must be in the order"):
        run(run_dir, resume=False)
    assert run_dir.read_result().state == "failed"
    assert not run_dir.environment.exists()


EPOCHS = {
    "train_cfg": {"type": "EpochBasedTrainLoop", "max_epochs": 2, "val_interval": 1},
    "train_dataloader.sampler": {"type": "DefaultSampler", "shuffle": True},
    "param_scheduler": None,
}


def test_a_run_that_trains_nothing_fails(make_run, monkeypatch):
    small = {**EPOCHS, "train_dataloader.batch_size": 20, "train_dataloader.drop_last": True}
    run_dir = make_run(options=small)
    with pytest.raises(DataError, match="at least one batch, got '12 images, batch_size 20"):
        run(run_dir, resume=False)
    assert run_dir.read_result().state == "failed"
    monkeypatch.setattr(KDRunner, "train", lambda runner: None)  # of a loop that knows no data
    with pytest.raises(DataError, match="at least one iteration, got 0"):
        run(make_run("other"), resume=False)


def test_an_endless_sampler_fills_its_batches(make_run):
    small = {"train_dataloader.batch_size": 20, "train_dataloader.drop_last": True}
    run_dir = make_run(options={**small, "train_cfg.max_iters": 2, "param_scheduler": None})
    assert run(run_dir, resume=False).iters == 2
