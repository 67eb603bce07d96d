"""Makes Tests/ImagesTests/Fixtures: small pictures, and in expected.json the pixels they must decode to.

    python -m venv /tmp/venv && /tmp/venv/bin/pip install pillow==13.0.0 numpy==2.4.6
    /tmp/venv/bin/python Scripts/goldens/images_golden.py

PNG files are written here byte by byte, since Pillow writes few of the colour types and no interlacing; their pixels
are computed from the definition in the PNG specification and checked against Pillow where it follows that.
JPEG and WebP pixels and scaled pictures are Pillow's. expected.json records the versions used.
"""

import base64
import io
import json
import pathlib
import platform
import struct
import zlib

import numpy as np
import PIL
from PIL import Image, ImageOps, features

FOLDER = pathlib.Path(__file__).parents[2] / "Tests/ImagesTests/Fixtures"
random = np.random.default_rng(20240131)
pictures = []


def record(name, data, rgb, tolerance=0):
    """Writes a picture and notes the pixels and how far a decoder may be from them."""
    (FOLDER / name).write_bytes(data)
    pictures.append(dict(file=name, tolerance=tolerance, **pixels(rgb)))


def pixels(rgb):
    rgb = np.asarray(rgb)
    assert rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3
    return dict(width=rgb.shape[1], height=rgb.shape[0], rgb=base64.b64encode(rgb.tobytes()).decode())


def smooth(width, height):
    """A picture with gradients, an edge and no symmetry."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    red = 255 * x / (width - 1)
    green = 255 * y / (height - 1)
    blue = 127 + 120 * np.sin(x / 3 + y / 5)
    rgb = np.stack([red, green, blue], axis=2)
    rgb[height // 2 :, : width // 4] = [250, 30, 20]
    return rgb.round().astype(np.uint8)


# PNG

GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGB_ALPHA: 4}
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def scanlines(samples, depth):
    """Rows of filter type 0 from an array (height, width, channels)."""
    lines = b""
    for row in samples:
        if depth == 16:
            packed = row.astype(">u2").tobytes()
        else:
            bits = "".join(format(value, f"0{depth}b") for value in row.reshape(-1))
            bits += "0" * (-len(bits) % 8)
            packed = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
        lines += b"\0" + packed
    return lines


def png(samples, color_type, depth, interlaced, chunks):
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, int(interlaced))
    if interlaced:
        passes = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7]
        data = b"".join(scanlines(part, depth) for part in passes if part.size)
    else:
        data = scanlines(samples, depth)
    body = chunk(b"IHDR", header) + b"".join(chunk(*c) for c in chunks) + chunk(b"IDAT", zlib.compress(data, 9))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def rounded(numerator, denominator):
    return (2 * numerator + denominator) // (2 * denominator)


def over_white(color, alpha):
    """8-bit colour over white, rounded once."""
    color, alpha = color.astype(int), alpha.astype(int)[..., None]
    return rounded(color * alpha + 255 * (255 - alpha), 255).astype(np.uint8)


def make_png(name, color_type, depth, transparent=False):
    width, height = 11, 9
    top = 2**depth - 1
    palette = random.integers(0, 256, (min(top + 1, 40), 3), dtype=np.uint8)
    limit = len(palette) if color_type == PALETTE else top + 1
    samples = random.integers(0, limit, (height, width, CHANNELS[color_type]))
    chunks = []
    alpha = np.full((height, width), 255)
    if color_type == PALETTE:
        chunks.append((b"PLTE", palette.tobytes()))
        color = palette[samples[..., 0]]
        if transparent:  # shorter than the palette: the rest is opaque
            alphas = random.integers(0, 256, len(palette) // 2 + 1, dtype=np.uint8)
            chunks.append((b"tRNS", alphas.tobytes()))
            alpha = np.concatenate([alphas, np.full(len(palette) - len(alphas), 255, np.uint8)])[samples[..., 0]]
    else:
        eight_bits = rounded(samples * 255, top).astype(np.uint8)
        colors = 3 if color_type in (RGB, RGB_ALPHA) else 1
        color = np.repeat(eight_bits[..., :1], 3, axis=2) if colors == 1 else eight_bits[..., :3]
        if CHANNELS[color_type] > colors:
            alpha = eight_bits[..., -1]
        elif transparent:
            key = samples[2, 3].copy()
            samples[4:6, 5:8] = key
            color[4:6, 5:8] = color[2, 3]
            chunks.append((b"tRNS", key.astype(">u2").tobytes()))
            alpha = np.where((samples == key).all(axis=2), 0, 255)
    expected = over_white(color, alpha)
    for interlaced in (False, True):
        data = png(samples, color_type, depth, interlaced, chunks)
        file = name + ("-interlaced" if interlaced else "") + ".png"
        record(file, data, expected)
        # Pillow compares the transparent grey of 2 and 4 bits with samples already scaled to 8, and keeps 16 bits.
        if depth <= 8 and not (transparent and color_type == GRAY and depth in (2, 4)):
            rgba = Image.open(io.BytesIO(data)).convert("RGBA")
            pillow = Image.new("RGB", rgba.size, "white")
            pillow.paste(rgba, mask=rgba)
            assert np.array_equal(np.asarray(pillow), expected), file


for color_type, kind, depths in [
    (GRAY, "gray", (1, 2, 4, 8, 16)),
    (RGB, "rgb", (8, 16)),
    (PALETTE, "palette", (1, 2, 4, 8)),
    (GRAY_ALPHA, "gray-alpha", (8, 16)),
    (RGB_ALPHA, "rgb-alpha", (8, 16)),
]:
    for depth in depths:
        make_png(f"{kind}-{depth}", color_type, depth)
        if color_type in (GRAY, RGB, PALETTE):
            make_png(f"{kind}-{depth}-transparent", color_type, depth, transparent=True)

# Texts as other programs write them: compressed, and after the pixels.
text_chunks = [
    (b"tEXt", b"Title\0na\xefve"),
    (b"zTXt", b"parameters\0\0" + zlib.compress(b"steps: 30\nseed: 7")),
    (b"iTXt", b"prompt\0\0\0en\0\0" + "ein Hündchen 🐶".encode()),
    (b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress("größer".encode())),
]
plain = png(smooth(9, 5), RGB, 8, False, text_chunks)
behind = chunk(b"tEXt", b"Comment\0behind the pixels")
record("texts.png", plain[:-12] + behind + plain[-12:], smooth(9, 5))

# JPEG and WebP


def encoded(image, **options):
    data = io.BytesIO()
    image.save(data, **options)
    return data.getvalue()


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


picture = Image.fromarray(smooth(27, 18))
for name, image, options in [
    ("gray", picture.convert("L"), dict(quality=90)),
    ("444", picture, dict(quality=90, subsampling=0)),
    ("420", picture, dict(quality=85, subsampling=2)),
    ("progressive", picture, dict(quality=85, progressive=True)),
    ("cmyk", ImageOps.invert(picture).convert("CMYK"), dict(quality=95)),
]:
    data = encoded(image, format="JPEG", **options)
    record(f"{name}.jpg", data, decoded(data), tolerance=1)

# Pillow writes no YCCK, so its three colours are stored as three of CMYK's inks and the Adobe marker is then made to
# say YCCK (transform 2). Pillow inverts inks as it writes them.
y, cb, cr = picture.convert("YCbCr").split()
black = Image.fromarray(np.full((18, 27), 230, np.uint8))
inks = Image.merge("CMYK", [ImageOps.invert(channel) for channel in (y, cb, cr, black)])
data = bytearray(encoded(inks, format="JPEG", quality=95))
adobe = data.index(b"Adobe")
assert data[adobe + 11] == 0
data[adobe + 11] = 2
record("ycck.jpg", bytes(data), decoded(data), tolerance=1)

# The eight orientations of one stored picture; the test writes the EXIF data.
data = encoded(picture, format="JPEG", quality=90, subsampling=0)
orientations = []
for orientation in range(1, 9):
    exif = Image.Exif()
    exif[0x0112] = orientation
    oriented = Image.open(io.BytesIO(encoded(picture, format="JPEG", quality=90, subsampling=0, exif=exif)))
    orientations.append(pixels(ImageOps.exif_transpose(oriented)))

alpha = Image.fromarray(random.integers(0, 256, (18, 27), dtype=np.uint8))
transparent = picture.copy()
transparent.putalpha(alpha)
over = over_white(np.asarray(picture), np.asarray(alpha))
record("lossless.webp", encoded(picture, format="WEBP", lossless=True), np.asarray(picture))
record("lossless-alpha.webp", encoded(transparent, format="WEBP", lossless=True, exact=True), over)
data = encoded(picture, format="WEBP", quality=80)
record("lossy.webp", data, decoded(data), tolerance=1)
data = encoded(transparent, format="WEBP", quality=80)
rgba = np.asarray(Image.open(io.BytesIO(data)))
record("lossy-alpha.webp", data, over_white(rgba[..., :3], rgba[..., 3]), tolerance=1)
frames = dict(save_all=True, append_images=[ImageOps.invert(picture)], duration=100)
(FOLDER / "animation.webp").write_bytes(encoded(picture, format="WEBP", **frames))

# Files of a few bytes that announce more than 2^28 pixels.
header = struct.pack(">IIBBBBB", 30_000, 20_000, 8, RGB, 0, 0, 0)
(FOLDER / "huge.png").write_bytes(
    b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
data = bytearray(encoded(picture, format="JPEG"))
frame = data.index(b"\xff\xc0")
data[frame + 5 : frame + 9] = struct.pack(">HH", 20_000, 30_000)
(FOLDER / "huge.jpg").write_bytes(data)

# Scaling: rows first, which Pillow 13 no longer does where the height shrinks much more than the width (Pillow #9549).

noise = random.integers(0, 256, (29, 37, 3), dtype=np.uint8)
noise[8:20, 10:25] = smooth(15, 12)
resized = []
for name in ["bilinear", "bicubic", "lanczos"]:
    resampling = Image.Resampling[name.upper()]
    for size in [(16, 16), (48, 40), (37, 11), (5, 29), (90, 7), (1, 1)]:
        scaled = Image.fromarray(noise).resize((size[0], noise.shape[0]), resampling).resize(size, resampling)
        resized.append(dict(resampling=name, **pixels(scaled)))

versions = dict(
    python=platform.python_version(), pillow=PIL.__version__, numpy=np.__version__,
    libjpeg_turbo=features.version("libjpeg_turbo"), libwebp=features.version("webp"))
expected = dict(
    script="Scripts/goldens/images_golden.py", versions=versions, pictures=pictures, oriented=orientations,
    scaling=dict(source=pixels(noise), results=resized))
(FOLDER / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
