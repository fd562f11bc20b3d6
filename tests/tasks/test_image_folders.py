"""Generated folders of the layouts in which ImageNet and Tiny ImageNet come."""

import numpy as np
import pytest
import torch
from PIL import Image

from xnas_ray.errors import DataMissingError, TaskError
from xnas_ray.tasks import squares
from xnas_ray.tasks.image_folders import folder_data
from xnas_ray.tasks.imagenet import imagenet, tiny_imagenet
from xnas_ray.tasks.mapped import MappedImages
from xnas_ray.tasks.selection import Selection
from xnas_ray.tasks.shown_images import shown_images

WNIDS = ("n01440764", "n01443537", "n02084071", "n02121620", "n03126707")
TRAIN, VALIDATION = 10, 4


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))


def save(path, red, green, size=(9, 7)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (red, green, 0)).save(path, format="PNG")


@pytest.fixture
def whole(tmp_path):
    """ILSVRC: train/WNID/WNID_3.JPEG and val/WNID/…; red says the class, green the image."""
    root = tmp_path / "imagenet"
    for label, wnid in enumerate(WNIDS):
        for number in range(TRAIN):
            save(root / "train" / wnid / f"{wnid}_{number}.JPEG", 40 * label, number)
        for number in range(VALIDATION):
            save(root / "val" / wnid / f"val_{label}_{number}.JPEG", 40 * label, 100 + number)
    (root / "LOC_synset_mapping.txt").write_text(
        "".join(f"{wnid} word {number}, other words\n" for number, wnid in enumerate(WNIDS))
    )
    return root


@pytest.fixture
def tiny(tmp_path):
    """Tiny ImageNet: train/WNID/images/*.JPEG, val/images/*.JPEG and a list with tabs."""
    root = tmp_path / "tiny-imagenet-200"
    lines = []
    for label, wnid in enumerate(WNIDS):
        for number in range(TRAIN):
            save(root / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", 40 * label, number, (64, 64))
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
        for number in range(VALIDATION):
            name = f"val_{label * VALIDATION + number}.JPEG"
            save(root / "val" / "images" / name, 40 * label, 100 + number, (64, 64))
            lines.append(f"{name}\t{wnid}\t0\t32\t44\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(reversed(lines)))
    (root / "words.txt").write_text("n00000001\tnothing\n" + "".join(f"{wnid}\tcrane, bird\n" for wnid in WNIDS[:2]))
    return root


def pixels(split):
    """(label, red, green) of every image of a split, as bytes."""
    (images,) = split.inputs
    assert isinstance(images, MappedImages)
    raw = images[:] * images.scale + images.shift
    return [(int(y), *(round(v) for v in x[:2, 3, 3].tolist())) for x, y in zip(raw, split.targets, strict=True)]


def test_folders_of_imagenet(whole):
    data = imagenet(side=7, holdout=0.2)
    assert data.shape == ((3, 7, 7),)
    assert data.wnids == WNIDS and data.classes[2] == "word 2"
    seen = [pixels(split) for _, split in data.splits()]
    assert all(red == 40 * label for split in seen for label, red, _ in split)
    assert [len(split) for split in seen] == [40, 10, 20]
    assert len({*seen[0], *seen[1]}) == 50 and all(green >= 100 for _, _, green in seen[2])
    assert np.bincount(data.validation.targets).tolist() == [2] * 5


def test_folders_of_tiny_imagenet(tiny):
    data = tiny_imagenet(holdout=0.2)
    assert data.shape == ((3, 64, 64),) and len(data.test) == 20
    assert all(red == 40 * label for label, red, _ in pixels(data.test))
    assert data.classes == ("crane (n01440764)", "crane (n01443537)", *WNIDS[2:]), "equal names are told apart"


def test_the_list_of_kaggle(whole):
    lines = ["ImageId,PredictionString"]
    for path in sorted((whole / "val").rglob("*.JPEG")):
        lines.append(f"{path.stem},{path.parent.name} 1 2 3 4 {path.parent.name} 5 6 7 8")
        path.rename(whole / "val" / path.name)
    for wnid in WNIDS:
        (whole / "val" / wnid).rmdir()
    (whole / "LOC_val_solution.csv").write_text("\n".join(lines))
    assert all(red == 40 * label for label, red, _ in pixels(imagenet(side=7).test))


def test_normalised_by_the_training_split(whole):
    data = imagenet(side=7, holdout=0.2)
    train = data.train.inputs[0] + 0
    assert train.mean(dim=(0, 2, 3))[:2].abs().max() < 1e-5
    assert train[:, :2].transpose(0, 1).flatten(1).std(1, correction=0).sub(1).abs().max() < 1e-4


def test_images_can_be_shown_as_they_were(whole):
    data = imagenet(side=8)
    shown = shown_images(data, data.test, torch.arange(len(data.test)))
    assert shown.shape[1:] == (8, 8, 3) and (shown[..., 2] == 0).all()
    assert shown[:, 0, 0, 0].tolist() == [40 * int(label) for label in data.test.targets], "red says the class"
    assert set(shown[:, 0, 0, 1].tolist()) == {100 + number for number in range(VALIDATION)}


def test_seeded_classes_and_what_is_withheld(whole):
    few = imagenet(Selection(classes=3), side=7)
    assert len(few.wnids) == 3 and set(few.train.targets.tolist()) == {0, 1, 2}
    kept = imagenet(Selection(withheld_classes=0.4), side=7)
    withheld = imagenet(Selection(withheld_classes=0.4, part="withheld"), side=7)
    assert (len(kept.wnids), len(withheld.wnids)) == (3, 2)
    assert sorted((*kept.wnids, *withheld.wnids)) == sorted(WNIDS)


def test_images_that_are_withheld_are_in_no_split(whole):
    given = {"classes": list(WNIDS[:2]), "withheld_images": 0.3}
    kept, withheld = (imagenet(Selection(**given, part=part), side=7, holdout=0.4) for part in ("kept", "withheld"))
    one, other = ({*pixels(d.train), *pixels(d.validation)} for d in (kept, withheld))
    assert len(one) == 14 and len(other) == 6 and not one & other


def test_a_list_of_classes_in_a_file(whole, tmp_path):
    (tmp_path / "mine.txt").write_text(f"{WNIDS[3]}\n{WNIDS[1]}\n")
    assert imagenet(Selection(classes="mine.txt"), side=7).wnids == (WNIDS[1], WNIDS[3])
    with pytest.raises(DataMissingError, match="one wnid a line"):
        imagenet(Selection(classes="absent.txt"), side=7)


def test_the_same_settings_give_the_same_data(whole, monkeypatch):
    first = imagenet(Selection(classes=3), side=7)
    monkeypatch.setattr(squares, "read_square", None)
    assert imagenet(Selection(classes=3), side=7).fingerprint() == first.fingerprint()


def test_other_folders_have_no_wnids(tmp_path):
    for part in ("train", "val"):
        for name, red in (("cats", 0), ("dogs", 200)):
            for number in range(5):
                save(tmp_path / "pets" / part / name / f"{number}.png", red, number)
    data = folder_data(tmp_path / "pets", Selection(), side=8)
    assert (data.classes, data.wnids) == (("cats", "dogs"), None)
    assert torch.equal(data.test.targets, torch.tensor([0] * 5 + [1] * 5))


def test_what_is_missing_is_named(whole, tmp_path, monkeypatch):
    with pytest.raises(DataMissingError, match=r"tiny-imagenet-200 is missing.*Unpack"):
        tiny_imagenet()
    with pytest.raises(TaskError, match="there is no class 'n9'"):
        imagenet(Selection(classes=["n9", WNIDS[0]]), side=7)
    for path in (whole / "val" / WNIDS[1]).iterdir():
        path.unlink()
    with pytest.raises(DataMissingError, match=f"val/{WNIDS[1]} has no images"):
        imagenet(side=7)
    monkeypatch.delenv("XNAS_DATA")
    with pytest.raises(DataMissingError, match="XNAS_DATA is not set"):
        imagenet()


def test_other_layouts_are_refused(tmp_path, tiny):
    (tmp_path / "flat" / "train").mkdir(parents=True)
    with pytest.raises(DataMissingError, match="no folders, one a class"):
        folder_data(tmp_path / "flat", Selection(), side=8)
    (tiny / "val" / "images" / "val_3.JPEG").unlink()
    with pytest.raises(DataMissingError, match=r"lacks val_3\.JPEG"):
        tiny_imagenet()
    (tiny / "val" / "val_annotations.txt").unlink()
    with pytest.raises(DataMissingError, match="neither folders nor a list"):
        tiny_imagenet()
