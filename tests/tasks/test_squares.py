import numpy as np
import pytest
from PIL import Image

from xnas_ray.errors import DataMissingError, TaskError
from xnas_ray.tasks import squares
from xnas_ray.tasks.squares import read_square, square_pixels


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_middle_of_an_image(tmp_path):
    pixels = np.zeros((8, 12, 3), dtype=np.uint8)
    pixels[:, 2:10] = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert np.array_equal(read_square(tmp_path / "wide.png", 8), pixels[:, 2:10].transpose(2, 0, 1))


def test_images_are_scaled_by_their_shorter_side(tmp_path):
    Image.new("RGB", (40, 20), (10, 200, 30)).save(tmp_path / "x.png")
    found = read_square(tmp_path / "x.png", 5)
    assert found.shape == (3, 5, 5) and found[:, 2, 2].tolist() == [10, 200, 30]


@pytest.mark.parametrize(("mode", "colour"), [("L", 77), ("CMYK", (0, 0, 0, 178)), ("RGBA", (77, 77, 77, 255))])
def test_other_kinds_of_colours_become_rgb(tmp_path, mode, colour):
    path = tmp_path / ("x.png" if mode != "CMYK" else "x.jpg")
    Image.new(mode, (9, 9), colour).save(path)
    assert read_square(path, 9)[:, 4, 4].tolist() == pytest.approx([77] * 3, abs=2)


def test_made_once_and_mapped(tmp_path, monkeypatch):
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for number, path in enumerate(paths):
        Image.new("RGB", (10, 10), (number, 0, 0)).save(path)
    monkeypatch.setattr(squares, "_AT_ONCE", 4)
    first = square_pixels(paths, 10)
    assert isinstance(first, np.memmap) and first[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    monkeypatch.setattr(squares, "read_square", None)
    assert np.array_equal(square_pixels(paths, 10), first), "nothing is decoded again"


def test_changed_files_are_read_again(tmp_path):
    path = tmp_path / "x.png"
    Image.new("RGB", (10, 10), (1, 0, 0)).save(path)
    assert square_pixels([path], 4)[0, 0, 0, 0] == 1
    Image.fromarray(np.full((10, 10, 3), np.arange(10)[:, None, None] * 20, dtype=np.uint8)).save(path)
    assert square_pixels([path], 4)[0, 0].std() > 0


def test_what_is_no_image_is_named_and_nothing_is_left(tmp_path):
    (tmp_path / "x.JPEG").write_bytes(b"text")
    with pytest.raises(DataMissingError, match=r"x\.JPEG is no readable image"):
        square_pixels([tmp_path / "x.JPEG"], 4)
    assert [p.name for p in (tmp_path / "cache").rglob("*") if p.is_file()] == [".lock"]


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    with pytest.raises(DataMissingError, match=r"cannot keep 1 images.*GiB") as caught:
        square_pixels([tmp_path / "x.png"], 4)
    assert caught.value.field == "XDG_CACHE_HOME"


@pytest.mark.parametrize("side", [0, 5000, 3.0, True])
def test_sides_are_numbers_of_pixels(side):
    with pytest.raises(TaskError, match="number of pixels"):
        square_pixels([], side)
