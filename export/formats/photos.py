"""Reading and preparing photos inside the graph, as `Preprocessing.load` does outside of it.

What both do alike, to the bit: decoding JPEG and PNG (of 8 bits), turning a photo upright (EXIF), gray, the size after
resizing, the crop, and the normalization. Pillow resizes in two passes and rounds to whole levels in between; here one
pass computes the crop alone, in float32, and is rounded once. On photos every value is then within 1 of 255 levels of
Pillow's with bilinear; with bicubic 99.9 % are, and the rest are single pixels at hard edges, where Pillow clips in
between (see tests/serving/contract/test_signatures.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

    from kerascnn.photos.preprocessing import Preprocessing

# A file of a few kilobytes can decode to gigabytes. The largest photos that telephones take by default are smaller.
MAX_PIXELS = 50_000_000
PARALLEL_DECODES = 8  # with MAX_PIXELS, what bounds the memory that a request can ask for
MAX_ASPECT = 20  # a photo that is one pixel high would take thousands of times its own memory to resize
_LARGE = 3 * 2**20  # numbers in a photo
_EXIF_BYTES = 1 << 17  # EXIF comes first in a file, and its block holds at most 64 KiB
_KERNELS = {"bilinear": "triangle", "bicubic": "keyscubic"}


def can_prepare(preprocessing: Preprocessing, input_shape: tuple[int | None, ...]) -> bool:
    """Whether a graph can bring every photo to the input [None, height, width, channels] of a network."""
    *size, channels = input_shape[1:]
    return (
        preprocessing.interpolation in _KERNELS
        and channels == (1 if preprocessing.channel_order == "gray" else 3)
        and _output_size(preprocessing) == tuple(size)
    )


def _output_size(preprocessing: Preprocessing) -> tuple[int, int] | None:
    if preprocessing.crop is not None:
        return preprocessing.crop
    return preprocessing.resize if isinstance(preprocessing.resize, tuple) else None


def prepare(images: tf.Tensor, preprocessing: Preprocessing) -> tf.Tensor:
    """From uint8 [n, h, w, c], RGB or gray, to what the network takes: float32 [n, height, width, c].

    Raises, when it runs, an InvalidArgumentError for photos without pixels or with sides of more than 1 to MAX_ASPECT.
    """
    import tensorflow as tf

    original = tf.shape(images, out_type=tf.int64)[1:3]
    allowed = tf.reduce_max(original) <= MAX_ASPECT * tf.reduce_min(original)
    message = f"The longer side of a photo may be at most {MAX_ASPECT} times the shorter one. Height and width are"
    with tf.control_dependencies([tf.debugging.Assert(allowed, [message, original])]):
        original = tf.identity(original)
    resized = original
    if isinstance(preprocessing.resize, tuple):
        resized = tf.constant(preprocessing.resize, tf.int64)
    elif preprocessing.resize is not None:
        resized = preprocessing.resize * original // tf.reduce_min(original)
    window = _output_size(preprocessing)
    assert window is not None
    start = tf.round(tf.cast(resized - tf.constant(window, tf.int64), tf.float32) / 2)  # half to even, as Python rounds
    pixels = tf.raw_ops.ScaleAndTranslate(
        images=images,
        size=window,
        scale=tf.cast(resized, tf.float32) / tf.cast(original, tf.float32),
        translation=-start,
        kernel_type=_KERNELS[preprocessing.interpolation],
        antialias=True,
    )
    pixels = tf.clip_by_value(tf.floor(pixels + 0.5), 0.0, 255.0)
    if preprocessing.channel_order == "bgr":
        pixels = pixels[..., ::-1]
    return (pixels - tf.constant(preprocessing.mean)) / tf.constant(preprocessing.std)


def prepare_files(files: tf.Tensor, preprocessing: Preprocessing, channels: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode and prepare JPEG and PNG files.

    A file that cannot be decoded costs no other one its answer: the dataset drops it, and its place stays empty.

    Args:
        files: string [n].
        preprocessing: How a photo becomes the network's input.
        channels: 3, or 1 for gray.

    Returns:
        float32 [n, height, width, channels], zeros where a file could not be read; and bool [n], which could be.
    """
    import tensorflow as tf

    count = tf.size(files, out_type=tf.int64)
    size = _output_size(preprocessing)
    assert size is not None
    empty = tf.zeros((*size, channels))

    def read(index: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = decode(data)
        if channels == 1:
            image = to_gray(image)
        return index, tf.ensure_shape(prepare(image[None], preprocessing)[0], empty.shape)

    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False  # they cost more than one photo
    read_files = (
        tf.data.Dataset.from_tensor_slices((tf.range(count), files))
        .map(read, num_parallel_calls=PARALLEL_DECODES, deterministic=True)
        .ignore_errors()
    )
    # A dataset has to yield something, so an empty image goes before the photos, with a number beyond theirs.
    images = tf.data.Dataset.from_tensors((count, empty)).concatenate(read_files).batch(count + 1)
    places, pixels = images.with_options(options).get_single_element()
    places = places[:, None]
    arranged = tf.scatter_nd(places, pixels, tf.stack([count + 1, *empty.shape]))
    readable = tf.scatter_nd(places, tf.ones_like(places[:, 0]), tf.stack([count + 1]))
    return arranged[:count], readable[:count] > 0


def decode(data: tf.Tensor) -> tf.Tensor:
    """A JPEG or PNG file as RGB, upright, uint8 [h, w, 3].

    Raises, when it runs, an InvalidArgumentError for anything else, and for more than MAX_PIXELS.
    """
    import tensorflow as tf

    png = tf.strings.substr(data, 0, 8) == b"\x89PNG\r\n\x1a\n"
    jpeg = tf.strings.substr(data, 0, 3) == b"\xff\xd8\xff"
    size = tf.cond(png, lambda: _png_size(data), lambda: tf.cast(tf.image.extract_jpeg_shape(data)[:2], tf.int64))
    allowed = tf.logical_and(tf.logical_or(png, jpeg), size[0] * size[1] <= MAX_PIXELS)
    # The decoder refuses the empty string. Its accurate mode is what Pillow uses. It reads PNG as well.
    data = tf.where(allowed, data, "")
    image = tf.image.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    return _upright(image, tf.cond(jpeg, lambda: exif_orientation(data), lambda: tf.constant(1, tf.int64)))


def to_gray(image: tf.Tensor) -> tf.Tensor:
    """uint8 [h, w, 3] to uint8 [h, w, 1], with the weights and the rounding of Pillow's mode L."""
    import tensorflow as tf

    def gray(pixels: tf.Tensor) -> tf.Tensor:
        weighted = tf.cast(pixels, tf.int32) * tf.constant([19595, 38470, 7471])
        return tf.cast((tf.reduce_sum(weighted, axis=-1, keepdims=True) + 0x8000) // 0x10000, tf.uint8)

    def by_rows() -> tf.Tensor:
        return tf.map_fn(gray, image, fn_output_signature=tf.TensorSpec((None, 1), tf.uint8))

    # At once, a photo of 50 megapixels takes 0.8 GB; row by row, a small one takes longer than at once.
    return tf.cond(tf.size(image) > _LARGE, by_rows, lambda: gray(image))


def exif_orientation(data: tf.Tensor) -> tf.Tensor:
    """How a JPEG file says that it has to be turned, 1 to 8; 1 where it says nothing (Exif 2.3, 4.6.4 and 4.7.2)."""
    import tensorflow as tf

    # Every position below is taken from the file, which may lie: reading beyond the end finds zeros.
    content = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 0, _EXIF_BYTES), tf.uint8), tf.int64)
    content = tf.pad(content, [[0, 16]])
    last = tf.size(content, out_type=tf.int64) - 1

    def number(position: tf.Tensor, size: int, little: tf.Tensor | bool = False) -> tf.Tensor:
        """The unsigned numbers of `size` bytes at the positions."""
        places = tf.clip_by_value(position[..., None] + tf.range(size, dtype=tf.int64), 0, last)
        values = tf.constant([256**i for i in range(size)], tf.int64)
        values = tf.where(little, values, values[::-1])
        return tf.reduce_sum(tf.gather(content, places) * values, axis=-1)

    def is_exif(segment: tf.Tensor) -> tf.Tensor:
        return tf.logical_and(number(segment, 2) == 0xFFE1, number(segment + 4, 4) == int.from_bytes(b"Exif"))

    def goes_on(segment: tf.Tensor) -> tf.Tensor:
        more = tf.logical_and(segment < last - 16, number(segment, 1) == 0xFF)
        more = tf.logical_and(more, number(segment, 2) != 0xFFDA)  # the image data begins
        return tf.logical_and(more, tf.logical_not(is_exif(segment)))

    first = tf.constant(2, tf.int64)
    (segment,) = tf.while_loop(goes_on, lambda at: (at + 2 + number(at + 2, 2),), (first,))
    start = segment + 10
    little = number(start, 2) == int.from_bytes(b"II")
    directory = start + number(start + 4, 4, little)
    entries = directory + 2 + 12 * tf.range(number(directory, 2, little))
    orientations = tf.boolean_mask(entries, number(entries, 2, little) == 0x0112)
    value = number(tf.concat([orientations, [last]], 0)[0] + 8, 2, little)
    return tf.where(tf.logical_and(is_exif(segment), value <= 8), tf.maximum(value, 1), 1)


def _png_size(data: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    # Filled up, so that a file that ends here reaches the decoder, which refuses it.
    octets = tf.io.decode_raw(tf.strings.substr(data + 16 * b"\xff", 16, 8), tf.uint8)
    octets = tf.cast(tf.reshape(octets, (2, 4)), tf.int64)
    return tf.reduce_sum(octets * tf.constant([1 << 24, 1 << 16, 1 << 8, 1], tf.int64), axis=1)


def _upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    def among(*numbers: int) -> tf.Tensor:
        return tf.reduce_any(orientation == tf.constant(numbers, tf.int64))

    def turned() -> tf.Tensor:
        lying = tf.cond(orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
        return tf.reverse(lying, tf.boolean_mask([0, 1], tf.stack([among(3, 4, 7, 8), among(2, 3, 6, 7)])))

    return tf.cond(orientation == 1, lambda: image, turned)
