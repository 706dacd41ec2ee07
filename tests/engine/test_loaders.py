"""Data that cannot be read is named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from fourierkd.engine.loaders import build_loader
from fourierkd.errors import DataError


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b"):
        for part, shape in (("images", (8, 8, 3)), ("masks", (8, 8))):
            path = tmp_path / part / f"{name}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.zeros(shape, np.uint8)).save(path)
    return tmp_path


def loader(folder, *, wrap=lambda dataset: dataset, images="images", workers=0, persistent=False):
    dataset = {
        "type": "mmseg.BaseSegDataset",
        "_scope_": "mmseg",
        "data_root": str(folder),
        "data_prefix": {"img_path": images, "seg_map_path": "masks"},
        "img_suffix": ".png",
        "seg_map_suffix": ".png",
        "metainfo": {"classes": ("x",)},
        "pipeline": [
            {"type": "LoadImageFromFile"},
            {"type": "LoadAnnotations"},
            {"type": "PackSegInputs"},
        ],
    }
    return build_loader(
        {
            "batch_size": 2,
            "num_workers": workers,
            "persistent_workers": persistent,
            "dataset": wrap(dataset),
            "sampler": {"type": "DefaultSampler", "shuffle": False},
        },
        seed=0,
    )


def repeated(dataset):
    return {"type": "RepeatDataset", "times": 2, "dataset": dataset}


def test_whole_data_is_read(folder):
    batch = next(iter(loader(folder)))
    assert batch["inputs"][0].shape == (3, 8, 8)
    assert batch["inputs"][0].dtype == torch.uint8


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("wrap", [lambda d: d, repeated], ids=["plain", "wrapped"])
def test_damaged_image_is_named(folder, wrap, workers):
    (folder / "images" / "b.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"cannot be read or prepared[^$]*images/b\.png"):
        list(loader(folder, wrap=wrap, workers=workers))


def test_damaged_mask_is_named(folder):
    (folder / "masks" / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"masks/a\.png"):
        list(loader(folder))


def test_missing_mask_is_named(folder):
    (folder / "masks" / "a.png").unlink()
    with pytest.raises(DataError, match=r"masks/a\.png"):
        list(loader(folder))


def test_folder_without_images(folder):
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="at least one sample.*empty"):
        loader(folder, images="empty")


def test_missing_folder(folder):
    with pytest.raises(DataError, match="nowhere"):
        loader(folder, images="nowhere")


def flipped(folder, *, persistent: bool, epochs: range) -> list[list[float]]:
    """Of each epoch what every image became under a random augmentation."""
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8, 1).repeat(3, axis=2)
    for name in ("a", "b"):
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")

    def augmented(dataset):
        load, annotate, pack = dataset["pipeline"]
        crop = {"type": "RandomCrop", "crop_size": (2, 2)}
        return {**dataset, "pipeline": [load, annotate, crop, pack]}

    data = loader(folder, wrap=augmented, workers=1, persistent=persistent)
    found = []
    for epoch in epochs:
        data.sampler.set_epoch(epoch)
        found.append([float(x.float().mean()) for batch in data for x in batch["inputs"]])
    return found


@pytest.mark.parametrize("persistent", [False, True])
def test_augmentation_differs_by_epoch(folder, persistent):
    found = flipped(folder, persistent=persistent, epochs=range(4))
    assert len({tuple(epoch) for epoch in found}) == 4


def test_an_epochs_augmentation_is_the_same_after_a_resume(folder):
    straight = flipped(folder, persistent=False, epochs=range(4))
    assert flipped(folder, persistent=False, epochs=range(2, 4)) == straight[2:]


def test_a_label_that_is_no_class_is_named(folder):
    mask = np.zeros((8, 8), np.uint8)
    mask[0, :2] = 255, 200
    Image.fromarray(mask).save(folder / "masks/b.png")
    with pytest.raises(DataError, match=r"must be 0 to 0 or 255, got '\[200\] in .*masks/b\.png"):
        list(loader(folder))
    mask[0, 1] = 255
    Image.fromarray(mask).save(folder / "masks/b.png")
    assert len(list(loader(folder))) == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_a_mask_of_another_size_is_named(folder, workers):
    Image.fromarray(np.zeros((4, 8), np.uint8)).save(folder / "masks/b.png")
    with pytest.raises(DataError, match=r"its image's size, 8x8 .*got '8x4 of .*masks/b\.png"):
        list(loader(folder, workers=workers))


def test_sizes_are_those_before_a_resize(folder):
    """Scored data load their masks after the resize of the image."""

    def resized(dataset):
        load, annotate, pack = dataset["pipeline"]
        resize = {"type": "Resize", "scale": (4, 4)}
        return {**dataset, "pipeline": [load, resize, annotate, pack]}

    assert len(list(loader(folder, wrap=resized))) == 1
