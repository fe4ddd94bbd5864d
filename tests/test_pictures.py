"""Pictures: the file that a row means and no other, and how it looks to a viewer."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError
from small_models import checkpoint, exported

from vlmplan.checkpoints.checkpoint import open_checkpoint
from vlmplan.checkpoints.pictures import as_rgb, image_file
from vlmplan.errors import InputError
from vlmplan.exporting.answers import Prompts
from vlmplan.exporting.files.clients import texts
from vlmplan.picture_files import open_picture
from vlmplan.training.conversations import open_image

RAMP = np.linspace(0, 1, 64 * 48).reshape(48, 64)
ORIENTATION = 0x0112  # EXIF's tag


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of images beside a picture that is not in it."""
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    for path in (folder / "a.png", folder / "deep" / "b.png", tmp_path / "secret.png"):
        Image.new("RGB", (8, 8)).save(path)
    (folder / "elsewhere").symlink_to(tmp_path)
    return folder


@pytest.mark.parametrize("name", ["a.png", "deep/b.png", "./a.png", "deep/../a.png", "elsewhere/secret.png"])
def test_a_name_inside(images: Path, name: str) -> None:
    assert image_file(images, name).is_file()
    assert image_file(images, str(images / "a.png")).is_file()


@pytest.mark.parametrize(
    "name", ["../secret.png", "deep/../../secret.png", "elsewhere/../../secret.png", "/etc/passwd"]
)
def test_a_name_that_leads_outside_is_refused(images: Path, name: str) -> None:
    with pytest.raises(InputError, match="lies outside the folder of images; expected a name inside it"):
        image_file(images, name)


def test_a_link_out_of_the_folder_is_not_followed_where_pictures_are_sent(images: Path) -> None:
    (images / "c.png").symlink_to(images / "a.png")
    assert image_file(images, "c.png", links=False).is_file()
    with pytest.raises(InputError, match="lies outside the folder of images; expected a name inside it"):
        image_file(images, "elsewhere/secret.png", links=False)


@pytest.mark.parametrize("name", ["gone.png", "x" * 5000, "a/" * 3000, "a\0b", "deep", "loop"])
def test_a_name_of_no_file(images: Path, name: str) -> None:
    (images / "loop").symlink_to(images / "loop")
    with pytest.raises(InputError, match="there is no image") as caught:
        image_file(images, name)
    assert len(str(caught.value)) < 300


WIDE = {
    "16 bits": (np.uint16, 65535, "png"),
    "16 bits tiff": (np.uint16, 65535, "tiff"),
    "32 bits": (np.int32, 2**24, "tiff"),
    "32 bits with 16": (np.int32, 65535, "tiff"),
    "float": (np.float32, 1, "tiff"),
    "float to 255": (np.float32, 255, "tiff"),
}


@pytest.mark.parametrize("name", WIDE)
def test_wide_pictures_are_scaled_not_cut(name: str, tmp_path: Path) -> None:
    kind, most, suffix = WIDE[name]
    path = tmp_path / f"wide.{suffix}"
    Image.fromarray((RAMP * most).astype(kind)).save(path)
    shown = np.asarray(open_image(path), dtype=float)
    assert shown.shape == (48, 64, 3)
    assert np.abs(shown[..., 0] - 255 * RAMP).max() <= 1


def test_a_dark_16_bit_picture_stays_dark(tmp_path: Path) -> None:
    Image.fromarray((RAMP * 200).astype(np.uint16)).save(tmp_path / "dark.png")
    assert np.asarray(open_image(tmp_path / "dark.png")).max() == 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_turned_pictures_are_upright(orientation: int, suffix: str, tmp_path: Path) -> None:
    """A red corner, wherever the camera put it, is where a viewer shows it."""
    upright = np.zeros((48, 64, 3), dtype=np.uint8)
    upright[:16, :16] = (255, 0, 0)
    back = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1), 7: upright.transpose(1, 0, 2)[::-1, ::-1], 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / f"turned.{suffix}"
    Image.fromarray(np.ascontiguousarray(back)).save(path, exif=exif)
    shown = np.asarray(open_image(path), dtype=float)
    assert shown.shape == (48, 64, 3)
    assert np.abs(shown - upright).mean() < 4


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # commands show no library's warnings
def test_damaged_exif_data_do_not_spoil_a_picture(tmp_path: Path) -> None:
    picture = Image.new("RGB", (8, 6), (9, 9, 9))
    picture.save(tmp_path / "odd.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(range(200, 220)))
    assert open_image(tmp_path / "odd.jpg").size == (8, 6)


def _pixels(prompts: Prompts, image: Any) -> Any:
    return prompts.of(image, "What?", reads_question=False).pixel_values


def test_run_and_evaluate_see_what_train_sees(tmp_path: Path) -> None:
    """A turned 16-bit picture, by its file and opened before: the same pixels go into the encoder."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray((RAMP * 65535).astype(np.uint16)).save(tmp_path / "wide.png", exif=exif)
    upright = Image.fromarray((np.rot90(RAMP, -1) * 255).round().astype(np.uint8)).convert("RGB")
    for folder in (exported(), checkpoint()):
        prompts = Prompts(folder)
        wanted, found = _pixels(prompts, upright), _pixels(prompts, tmp_path / "wide.png")
        assert np.abs(found - wanted).max() < 0.05
        with Image.open(tmp_path / "wide.png") as opened:
            assert np.array_equal(_pixels(prompts, opened), found)


def test_sizes_without_end_are_one_line(tmp_path: Path) -> None:
    """Neither a small file of many pixels nor a processor's setting decides how much memory is taken."""
    Image.new("L", (12_000, 12_000)).save(tmp_path / "bomb.png")
    Image.new("L", (800, 20)).save(tmp_path / "small.png")
    with pytest.raises(InputError, match=r"--image: .*12000 x 12000 pixels, at most 89478485 are read; scale it down"):
        Prompts(exported()).of(tmp_path / "bomb.png", "What?", reads_question=False)
    with pytest.raises(InputError, match=r"12000 x 12000 pixels|144000000 pixels"):
        open_image(tmp_path / "bomb.png")
    for name, value in (
        ("crop_size", {"height": 20_000, "width": 20_000}),
        ("size", {"height": 30_000, "width": 30_000}),
        ("size", {"shortest_edge": 2_000}),  # of a picture forty times as long as it is high
        ("size", {"shortest_edge": 10**9}),
    ):
        made = tmp_path / "made"
        shutil.copytree(checkpoint(), made)
        settings = json.loads((made / "processor_config.json").read_text())
        settings["image_processor"][name] = value
        (made / "processor_config.json").write_text(json.dumps(settings))
        with pytest.raises(InputError, match=rf"the processor's {name} .*at most 33554432 are made; mend {name} in"):
            Prompts(made).of(tmp_path / "small.png", "What?", reads_question=False)
        if max(value.values()) > 6_000:
            with pytest.raises(InputError, match="expected 1 to 5792 pixels a side"):
                texts(open_checkpoint(str(made)), 36, ())
        shutil.rmtree(made)


def test_plain_pictures_are_as_they_were() -> None:
    for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "LA"):
        picture = Image.effect_noise((20, 10), 90).convert(mode)
        assert np.array_equal(np.asarray(as_rgb(picture)), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("value", [0, 200, 65535])
def test_a_dark_picture_of_16_bits_is_dark(value: int) -> None:
    """By the depth of its file, not by its largest value."""
    rows = np.full((48, 64), value, ">u2").tobytes()
    picture = Image.open(io.BytesIO(b"P5\n64 48\n65535\n" + rows))
    assert np.asarray(as_rgb(picture)).max() == round(value / 65535 * 255)


def test_floats_a_little_above_white_are_white_and_not_black() -> None:
    seen = np.asarray(as_rgb(Image.fromarray((1.02 * RAMP).astype(np.float32))))
    assert seen.max() == 255
    assert 120 < seen.mean() < 136


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


def test_no_picture_starts_a_program(tmp_path: Path) -> None:
    """Pillow reads PostScript by starting Ghostscript, whatever the file's name."""
    path = tmp_path / "page.png"
    path.write_bytes(EPS)
    with Image.open(path) as opened:
        assert opened.format == "EPS"
    with pytest.raises(UnidentifiedImageError):
        open_picture(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA", "ICO"])
def test_usual_pictures_are_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"picture.{'tga' if kind == 'TGA' else 'x'}"
    Image.new("RGB", (32, 16), (200, 30, 60)).save(path, format=kind)
    with open_picture(path) as opened:
        assert opened.format == kind
