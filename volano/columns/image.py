"""Image: photos, scans and drawings, as raw pixels of one size."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from volano.columns._contract import Encoded, FittedColumn, Inference, Use
from volano.columns._media import (
    CheckedMedia,
    as_base64,
    infer_media,
    media_bytes,
    refused,
    sample_of,
)
from volano.errors import BundleError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["FittedImage", "ImageColumn", "ImageOptions", "read_image"]

LARGEST_PIXELS = 2**26
"""Width times height of the largest image that is opened, 8192 x 8192: a file of some kilobytes
can say that it has a thousand times as many, and unpacking it would take all memory."""

LARGEST_SIZE, SMALLEST_SIZE = 224, 16
"""Of what ``size: auto`` chooses, in pixels: what pretrained networks were made for, and what is
left of a picture after four halvings of a network."""

SQUARE = 1.25
"""Images whose sides differ by less than this factor are taken as square."""

SIZE_SAMPLE, GREY_SAMPLE = 2000, 200
"""Training images whose size is looked at, and of those in colour, whose pixels are."""

BLANK = 128
"""What an image that is missing is filled with: neither dark nor light."""

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is opened. Pillow knows more, some of which run other programs."""

_EXAMPLE = (
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAAAAAA6mKC9AAAAEUlEQVR42mNs"
    "YEAFTAwjWgAAmZAAoFDIQrAAAAAASUVORK5CYII="
)
"""A grey square of 16 x 16 pixels."""

_EXPECTED = "a PNG, JPEG, WebP, GIF, BMP or TIFF image as base64 or a data: URI"


class ImageOptions(BaseModel):
    """Options of an image column.

    Attributes:
      encoder: ``auto``, ``scratch``, ``efficientnet-lite0``, or a pretrained network by folder or
        hub id.
      size: Side of the square, in pixels, that images are brought to; auto takes the usual size
        of the training images.
      channels: 1 for grey, 3 for colour; auto looks whether any training image has colour.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    encoder: str = Field("auto", min_length=1)
    size: Annotated[int, Field(ge=8, le=1024)] | Literal["auto"] = "auto"
    channels: Literal[1, 3, "auto"] = "auto"


def _opened(data: bytes | memoryview) -> Image.Image:
    """The image's header; its pixels are not read yet.

    Raises:
      ValueError: It is none, in words.
    """
    from PIL import Image, UnidentifiedImageError

    if not len(data):
        raise ValueError("is an empty file")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise ValueError("is no image that can be read") from None
    # Pillow warns of large images, and refuses larger ones; the warning may be made an error.
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(_too_large()) from None
    # Each of Pillow's readers has exceptions of its own for damaged headers.
    except Exception as error:
        raise ValueError(f"is damaged ({_words(error)})") from None
    if image.width * image.height > LARGEST_PIXELS:
        raise ValueError(f"has {image.width} x {image.height} pixels, and {_too_large()}")
    return image


def _too_large() -> str:
    return f"is larger than the {LARGEST_PIXELS // 10**6} million pixels that are opened"


def _words(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100].rstrip(".")


_DAMAGED_NOTES = (
    ArithmeticError, EOFError, LookupError, OSError, SyntaxError, TypeError, ValueError,
    struct.error, zlib.error,
)  # fmt: skip
"""What Pillow raises for EXIF that is cut off or makes no sense."""


def _turned(image: Image.Image) -> int:
    """The orientation that a camera wrote into the file; 1 is upright."""
    info = image.info
    if (
        image.format in ("TIFF", "MPO")
        or "exif" in info
        or any("Raw profile" in str(name) for name in info)
    ):
        try:
            return int(image.getexif().get(0x0112, 1))
        # A camera's notes may be damaged where the picture is not.
        except _DAMAGED_NOTES:
            return 1
    return 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Height and width after the camera's rotation."""
    if _turned(image) in (5, 6, 7, 8):
        return image.width, image.height
    return image.height, image.width


def _flat(image: Image.Image, mode: Literal["L", "RGB"]) -> Image.Image:
    """Grey or colour with 8 bits a channel, on white where it was transparent."""
    from PIL import Image

    if image.mode == mode and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        # Pillow would cut 16 bits at 255 instead of scaling them.
        wide = np.asarray(image, np.uint16)
        image = Image.fromarray((wide >> 8).astype(np.uint8), "L")
    elif image.mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(image, np.float64))
        top = float(values.max(initial=0))
        scale = 255.0 if top <= 1 and image.mode == "F" else 1.0 if top <= 255 else 255 / 65535
        image = Image.fromarray(np.clip(values * scale, 0, 255).astype(np.uint8), "L")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        image.alpha_composite(layer)
    return image if image.mode == mode else image.convert(mode)


def read_image(
    data: bytes | memoryview, height: int, width: int, channels: int
) -> tuple[NDArray[np.uint8], bool]:
    """An image file as pixels of the wanted size.

    The picture keeps its proportions: it is made to fit inside, and its border is continued to
    fill the rest. Cropping would cut away what may be all that matters (a label, a handle), and
    bars of one colour would be an edge that the picture does not have.

    Args:
      data: A file's content.
      height: In pixels.
      width: In pixels.
      channels: 1 for grey, 3 for colour.
    Returns:
      Pixels as they are, uint8, shape (channels, height, width); whether it had another size.
    Raises:
      ValueError: It cannot be read, in words.
    """
    from PIL import Image, ImageOps

    image = _opened(data)
    try:
        turn = _turned(image)
        tall, wide = (image.width, image.height) if turn > 4 else (image.height, image.width)
        scale = min(height / tall, width / wide)
        inner = (max(1, min(height, round(tall * scale))), max(1, min(width, round(wide * scale))))
        resized = (tall, wide) != (height, width)
        if resized and image.format in ("JPEG", "MPO"):
            # JPEG can be read at a half, a quarter or an eighth; what is left to do is a fraction.
            image.draft(
                None, (2 * inner[1], 2 * inner[0]) if turn < 5 else (2 * inner[0], 2 * inner[1])
            )
        image.load()
        if turn != 1:
            image = ImageOps.exif_transpose(image)
        image = _flat(image, "L" if channels == 1 else "RGB")
        if resized and image.size != (inner[1], inner[0]):
            image = image.resize((inner[1], inner[0]), Image.Resampling.BILINEAR, reducing_gap=3.0)
        pixels = np.asarray(image, np.uint8).reshape(*inner, channels)
    # A damaged file makes Pillow's readers fail in many ways; none is a fault of ours.
    except Exception as error:
        raise ValueError(f"is damaged ({_words(error)})") from None
    if inner != (height, width):
        down, right = height - inner[0], width - inner[1]
        around = ((down // 2, down - down // 2), (right // 2, right - right // 2), (0, 0))
        pixels = np.pad(pixels, around, mode="edge")
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)), resized


@dataclass(frozen=True)
class FittedImage:
    """The size that images are brought to, and whether they have colour.

    Attributes:
      height: In pixels.
      width: In pixels.
      channels: 1 for grey, 3 for red, green and blue.
    """

    kind: ClassVar[str] = "image"
    name: str
    height: int
    width: int
    channels: int

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the regions of an image, row by row, that explanations speak of."""
        return tuple(f"{self.name}[{row},{column}]" for row in range(8) for column in range(8))

    def check(self, value: object) -> CheckedMedia | None:
        """The image as base64, decoded once here and not again by `encode`."""
        try:
            data = media_bytes(value)
            if data is None:
                return None
            pixels, resized = read_image(data, self.height, self.width, self.channels)
        except ValueError as error:
            raise refused(self.name, value, str(error), 18, _EXPECTED) from None
        return CheckedMedia(as_base64(value, data), (pixels, resized))

    def schema(self) -> dict[str, Any]:
        """What a value is in JSON."""
        return {
            "type": ["string", "null"],
            "contentEncoding": "base64",
            "contentMediaType": "image/*",
            "examples": [_EXAMPLE],
        }

    def facts(self) -> dict[str, Any]:
        """What a client may want to know of the values."""
        return {"height": self.height, "width": self.width, "channels": self.channels}

    def encode(self, values: Sequence[Any]) -> Encoded:
        """Raw pixels, uint8, shape (num_rows, channels, height, width); grey where there is none.

        Counts ``missing``, ``unreadable`` and ``resized`` images.
        """
        shape = (len(values), self.channels, self.height, self.width)
        pixels = np.empty(shape, np.uint8)
        notes: dict[int, str] = {}
        lost: set[int] = set()
        missing = resized = 0
        for row, value in enumerate(values):
            try:
                if isinstance(value, CheckedMedia):
                    pixels[row], other = value.decoded
                elif (data := media_bytes(value)) is not None:
                    pixels[row], other = read_image(data, *shape[2:], self.channels)
                else:
                    pixels[row], other = BLANK, False
                    missing += 1
                    notes[row] = f"{self.name}: there is no image"
                resized += other
            except ValueError as error:
                pixels[row] = BLANK
                notes[row] = f"{self.name}: {error}"
                lost.add(row)
        counts = {"missing": missing, "unreadable": len(lost), "resized": resized}
        return Encoded({"pixels": pixels}, counts, notes, frozenset(lost))

    def collate(self, encoded: Encoded, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        pixels = encoded.arrays["pixels"]
        assert isinstance(pixels, np.ndarray)
        return {f"{self.name}.pixels": np.asarray(pixels[rows])}

    def save(self, folder: Path) -> None:
        state = {"height": self.height, "width": self.width, "channels": self.channels}
        (folder / "image.json").write_text(json.dumps(state) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, name: str, files: Mapping[str, bytes]) -> Self:
        try:
            state = json.loads(files["image.json"])
            height, width, channels = (int(state[key]) for key in ("height", "width", "channels"))
            if not (1 <= height <= 4096 and 1 <= width <= 4096 and channels in (1, 3)):
                raise ValueError(f"{height} x {width} pixels with {channels} channels")
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                20, f"the column {name!r} cannot be read ({error!r})", fix="export the bundle again"
            ) from error
        return cls(name, height, width, channels)


class ImageColumn:
    """Paths of image files, their bytes, or one folder for each class."""

    kind: ClassVar[str] = "image"
    version: ClassVar[int] = 1
    use: ClassVar[Use] = "input"
    content: ClassVar[bool] = True
    names: ClassVar[bool] = False
    extensions: ClassVar[frozenset[str]] = frozenset(
        {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
    )
    Options: ClassVar[type[BaseModel]] = ImageOptions
    Fitted: ClassVar[type[FittedColumn]] = FittedImage

    @staticmethod
    def recognises(start: bytes) -> bool:
        # PNG, JPEG, GIF, BMP, TIFF (Intel, Motorola), netpbm; WebP in its RIFF.
        known = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")
        webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
        return start.startswith(known) or webp or start[:2] in (b"P2", b"P3", b"P5", b"P6")

    @staticmethod
    def problem(data: bytes | memoryview) -> str | None:
        try:
            read_image(data, SMALLEST_SIZE, SMALLEST_SIZE, 1)
        except ValueError as error:
            return str(error)
        return None

    @staticmethod
    def infer(values: Sequence[str | None], use: Use = "input") -> Inference:
        del use
        return infer_media(values, ImageColumn.extensions, ImageColumn.recognises, "images")

    @staticmethod
    def refuse(value: str) -> str | None:
        del value
        return "is an image, which cannot be a target"

    @staticmethod
    def fit(
        name: str, values: Iterable[Any], options: Mapping[str, Any], use: Use = "input"
    ) -> FittedImage:
        """Fit an image column.

        Args:
          name: The column.
          values: Bytes (or base64) of training images; a list is only looked at here and there.
          options: Those of `ImageOptions`; ``size`` may also come from a pretrained encoder.
        """
        del use
        listed = values if isinstance(values, Sequence) else list(values)
        opened = []
        for value in sample_of(listed, SIZE_SAMPLE):
            try:
                data = media_bytes(value)
                assert data is not None
                image = _opened(data)
            except ValueError:
                continue
            opened.append((upright_size(image), image.mode, data))
        size = options.get("size", "auto")
        if size == "auto":
            height, width = usual_size([shape for shape, _, _ in opened])
        else:
            height = width = int(size)
        channels = options.get("channels", "auto")
        if channels == "auto":
            channels = 3 if _has_colour([(mode, data) for _, mode, data in opened]) else 1
        return FittedImage(name, height, width, int(channels))


def usual_size(shapes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Height and width for images of these heights and widths.

    Example:
      >>> usual_size([(28, 28)] * 3), usual_size([(480, 640), (600, 800), (512, 512)])
      ((28, 28), (168, 224))
    """
    if not shapes:
        return LARGEST_SIZE, LARGEST_SIZE
    first = shapes[0]
    if all(shape == first for shape in shapes) and (
        min(first) >= SMALLEST_SIZE and max(first) <= LARGEST_SIZE
    ):
        return first
    sizes = np.array(shapes, np.float64)
    ratio = float(np.median(sizes[:, 1] / sizes[:, 0]))
    ratio = 1.0 if 1 / SQUARE < ratio < SQUARE else float(np.clip(ratio, 1 / 3, 3))
    longest = float(np.clip(np.median(sizes.max(axis=1)), SMALLEST_SIZE, LARGEST_SIZE))
    height, width = longest / max(ratio, 1), longest * min(ratio, 1)

    def stepped(side: float) -> int:
        # Networks halve the picture again and again: a multiple of 8 loses no pixel.
        step = 8 if longest >= 64 else 1
        return max(SMALLEST_SIZE, round(side / step) * step)

    return stepped(height), stepped(width)


def _has_colour(images: Sequence[tuple[str, bytes | memoryview]]) -> bool:
    grey = {"1", "L", "LA", "La", "I", "F"}
    coloured = [data for mode, data in images if mode not in grey and not mode.startswith("I;16")]
    if not coloured and images:
        return False
    for data in sample_of(coloured, GREY_SAMPLE):
        try:
            pixels, _ = read_image(data, 32, 32, 3)
        except ValueError:
            continue
        # Grey photos are often stored in colour; JPEG then rounds by a step or two.
        if int(np.ptp(pixels.astype(np.int16), axis=0).max()) > 4:
            return True
    return not images
