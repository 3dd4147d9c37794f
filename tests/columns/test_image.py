"""Images: sizes, modes, rotation, and files that are not what they say."""

from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from volano.columns import column_kind
from volano.columns.image import FittedImage, ImageColumn, read_image, usual_size
from volano.errors import RequestError
from volano.testing import check_column

RNG = np.random.default_rng(0)


def file_of(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def noise(height: int, width: int, mode: str = "RGB") -> Image.Image:
    shape = (height, width) if mode == "L" else (height, width, 3)
    return Image.fromarray(RNG.integers(0, 256, shape, np.uint8), mode)


def smooth(height: int, width: int) -> Image.Image:
    rows, columns = np.mgrid[0:height, 0:width]
    red, green = rows * 255 // height, columns * 255 // width
    return Image.fromarray(np.stack([red, green, 0 * red + 60], 2).astype(np.uint8))


def text_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def fitted(height: int = 28, width: int = 28, channels: int = 3) -> FittedImage:
    return FittedImage("photo", height, width, channels)


def pixels_of(data: bytes, height: int = 28, width: int = 28, channels: int = 3) -> np.ndarray:
    return read_image(data, height, width, channels)[0]


def test_keeps_the_promises_of_a_column() -> None:
    values = [text_of(file_of(noise(20 + size, 30))) for size in range(3)]
    found = check_column("image", values)
    assert found.kind == "image"


def test_an_image_of_the_right_size_keeps_its_pixels() -> None:
    image = noise(28, 28)
    assert np.array_equal(pixels_of(file_of(image)), np.asarray(image).transpose(2, 0, 1))
    grey = noise(28, 28, "L")
    assert np.array_equal(pixels_of(file_of(grey), channels=1)[0], np.asarray(grey))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("channels", [1, 3])
def test_formats(form: str, channels: int) -> None:
    image = smooth(60, 60)
    data = file_of(image, form)
    assert ImageColumn.recognises(data[:64])
    found = pixels_of(data, 30, 30, channels).astype(int)
    wanted = np.asarray(image.convert("L" if channels == 1 else "RGB").resize((30, 30), 2))
    wanted = wanted.reshape(30, 30, channels).transpose(2, 0, 1).astype(int)
    assert np.abs(found - wanted).max() <= (30 if form in ("GIF", "JPEG", "WEBP") else 1)


def test_proportions_are_kept_and_the_border_goes_on() -> None:
    image = Image.fromarray(np.full((10, 40, 3), 7, np.uint8))
    assert (pixels_of(file_of(image), 40, 40) == 7).all()
    half = np.zeros((10, 40, 3), np.uint8)
    half[:, 20:] = 255
    found = pixels_of(file_of(Image.fromarray(half)), 40, 40)
    # The middle of the picture is in the middle, at full width.
    assert (found[:, :, :20] == 0).all()
    assert (found[:, :, 20:] == 255).all()


def test_a_camera_s_rotation_is_undone() -> None:
    image = smooth(40, 60)
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        data = file_of(image, "PNG", exif=exif)
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        plain = file_of(upright.convert("RGB"), "PNG")
        assert np.array_equal(pixels_of(data, 60, 60), pixels_of(plain, 60, 60)), turn
    # And JPEG, which is read at a smaller scale right away, ends up the same way round.
    exif = Image.Exif()
    exif[0x0112] = 6
    large = smooth(400, 800)
    turned = pixels_of(file_of(large, "JPEG", exif=exif, quality=95), 64, 64).astype(int)
    wanted = pixels_of(file_of(large.rotate(-90, expand=True), "PNG"), 64, 64).astype(int)
    assert np.abs(turned - wanted).max() < 16


def test_transparent_images_stand_on_white() -> None:
    clear = Image.new("RGBA", (28, 28), (10, 20, 30, 0))
    assert (pixels_of(file_of(clear)) == 255).all()
    half = Image.new("RGBA", (28, 28), (0, 0, 0, 128))
    assert set(np.unique(pixels_of(file_of(half)))) <= {126, 127, 128}
    palette = Image.new("P", (28, 28), 0)
    palette.putpalette([9, 9, 9, 200, 100, 50])
    assert (pixels_of(file_of(palette, transparency=0)) == 255).all()
    assert (pixels_of(file_of(palette)) == 9).all()
    shade = Image.new("LA", (28, 28), (0, 0))
    assert (pixels_of(file_of(shade), channels=1) == 255).all()


def test_sixteen_bits_are_scaled_and_not_cut() -> None:
    wide = np.linspace(0, 65535, 28 * 28).reshape(28, 28).astype(np.uint16)
    found = pixels_of(file_of(Image.fromarray(wide)), channels=1)[0]
    assert np.array_equal(found, (wide >> 8).astype(np.uint8))
    real = Image.fromarray(np.linspace(0, 1, 28 * 28, dtype=np.float32).reshape(28, 28))
    assert pixels_of(file_of(real, "TIFF"), channels=1).max() == 255


def test_print_colours_and_single_bits() -> None:
    ink = Image.new("CMYK", (28, 28), (0, 255, 255, 0))
    found = pixels_of(file_of(ink, "JPEG", quality=95)).astype(int)
    assert found[0].min() > 200
    assert found[1:].max() < 60
    assert (pixels_of(file_of(Image.new("1", (28, 28), 1))) == 255).all()


def test_of_an_animation_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (28, 28), colour) for colour in ("black", "white", "red")]
    data = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=10)
    assert (pixels_of(data) == 0).all()


def bomb(width: int, height: int) -> bytes:
    """A PNG of some bytes that says that it has so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9000, 12_000, 30_000])
def test_enormous_images_are_refused_unopened(side: int) -> None:
    with pytest.raises(ValueError, match="million pixels that are opened"):
        pixels_of(bomb(side, side))


def damaged() -> dict[str, bytes]:
    whole = file_of(noise(50, 50), "PNG")
    photo = file_of(smooth(200, 200), "JPEG")
    return {
        "truncated PNG": whole[: len(whole) // 2],
        "truncated JPEG": photo[: len(photo) // 2],
        "truncated WebP": file_of(noise(50, 50), "WEBP")[:500],
        "a text": b"this is a letter and no picture",
        "nothing": b"",
        "a header alone": whole[:33],
        "a wrong checksum": whole[:60] + b"\0\0\0\0" + whole[64:],
    }


@pytest.mark.parametrize("what", damaged())
def test_damaged_files_are_noted_and_leave_their_neighbours_alone(what: str) -> None:
    good = noise(28, 28)
    encoded = fitted().encode([file_of(good), damaged()[what], file_of(good)])
    assert encoded.lost == {1}
    assert encoded.counts["unreadable"] == 1
    assert "photo: is" in encoded.notes[1]
    pixels = encoded.arrays["pixels"]
    assert np.array_equal(pixels[0], pixels[2])  # type: ignore[index]
    assert (pixels[1] == 128).all()  # type: ignore[index]
    with pytest.raises(RequestError, match="photo") as error:
        fitted().check(text_of(damaged()[what]) or "AA==")
    assert error.value.status == 422


def test_bytes_at_random_never_crash() -> None:
    whole = [file_of(noise(20, 20), form) for form in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP")]
    files = []
    for trial in range(120):
        data = bytearray(whole[trial % len(whole)])
        for place in RNG.integers(0, len(data), 4):
            data[place] = RNG.integers(0, 256)
        files.append(bytes(data))
    encoded = fitted().encode(files)
    assert len(encoded) == len(files)
    assert encoded.counts["unreadable"] == len(encoded.lost)


def test_requests_bring_base64_or_a_data_uri_and_never_a_path(tmp_path) -> None:  # type: ignore[no-untyped-def]
    data = file_of(noise(28, 28))
    (tmp_path / "a.png").write_bytes(data)
    column = fitted()
    plain = column.check(text_of(data))
    uri = column.check(f"data:image/png;base64,{text_of(data)}")
    raw = column.check(data)
    assert plain is not None
    assert raw == plain
    both = column.encode([plain, uri, raw]).arrays["pixels"]
    assert np.array_equal(both[0], both[1])  # type: ignore[index]
    for wrong in (str(tmp_path / "a.png"), "http://example.org/a.png", "file:///etc/passwd", "x"):
        with pytest.raises(RequestError, match="base64"):
            column.check(wrong)
    with pytest.raises(RequestError, match="base64"):
        column.check("data:image/svg+xml,<svg/>")
    assert column.check(None) is None
    assert column.encode([None]).counts["missing"] == 1


def test_a_checked_image_is_not_decoded_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    column = fitted()
    checked = column.check(file_of(noise(30, 30)))
    again = column.encode([str(checked)])
    monkeypatch.setattr("volano.columns.image.read_image", None)
    assert np.array_equal(column.encode([checked]).arrays["pixels"], again.arrays["pixels"])


def test_sizes_are_those_of_the_training_images() -> None:
    assert usual_size([(28, 28)] * 5) == (28, 28)
    assert usual_size([(600, 600), (640, 600), (580, 600)]) == (224, 224)
    assert usual_size([(8, 8)] * 3) == (16, 16)
    assert usual_size([(40, 50), (44, 50)]) == (50, 50)
    tall, wide = usual_size([(1000, 400)] * 3)
    assert (tall, wide) == (224, 88)
    assert usual_size([]) == (224, 224)


def test_fit_finds_size_and_colour() -> None:
    options = ImageColumn.Options().model_dump()
    grey = [file_of(noise(28, 28, "L")) for _ in range(3)]
    found = ImageColumn.fit("a", grey, options)
    assert (found.height, found.width, found.channels) == (28, 28, 1)
    # Grey pictures that are stored in colour are grey, and one in colour makes all of them so.
    stored = [file_of(noise(28, 28, "L").convert("RGB"), "JPEG") for _ in range(3)]
    assert ImageColumn.fit("a", stored, options).channels == 1
    assert ImageColumn.fit("a", [*stored, file_of(noise(28, 28))], options).channels == 3
    assert ImageColumn.fit("a", [b"broken", *grey], options).channels == 1
    sized = ImageColumn.fit("a", grey, {**options, "size": 64})
    assert (sized.height, sized.width) == (64, 64)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = [file_of(smooth(100, 200), "JPEG", exif=exif)] * 2
    assert ImageColumn.fit("a", turned, options).height == 200


def test_paths_and_data_uris_are_told_from_text() -> None:
    kind = column_kind("image")
    assert kind.infer([f"photos/{number}.JPG" for number in range(9)]).score == 1.0
    uri = "data:;base64," + text_of(file_of(noise(9, 9)))
    assert kind.infer([uri] * 3).score == 1.0
    assert "within" in kind.infer([uri] * 3).reason
    for other in (["a.wav"] * 3, ["a picture of a cat"] * 3, ["3", "4"]):
        assert kind.infer(other).score == 0.0
    assert kind.infer(["data:;base64,AAAA"]).score == 0.0
    assert "cannot be a target" in str(kind.refuse("a.png"))
