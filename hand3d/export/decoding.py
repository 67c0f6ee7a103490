"""Photographs inside a TensorFlow graph: bytes of files to upright pixels, pixels to the networks' canvas.

The counterpart of `hand3d.images` and `hand3d.canvas` for exported models.  An image that cannot be decoded
has a status and does not fail the others of its batch: TensorFlow's decoders raise, and nothing in a graph
catches what they raise but a tf.data pipeline with `ignore_errors`, so decoding runs in one.
"""

import tensorflow as tf

from hand3d.images import GREY

STATUS = ("done", "neither JPEG nor PNG", "damaged or truncated", "too many pixels")
DONE, UNKNOWN_FORMAT, DAMAGED, TOO_LARGE = range(len(STATUS))
MAX_PIXELS = 2**26  # 67 megapixels, 200 MB decoded: a server decodes several at once
EXIF_REACH = 2**16  # the orientation is looked for in this many bytes
ORIENTATION_TAG = 0x0112


def decode_batch(encoded, canvases, frame=None):
    """Decode, turn upright and fit files, each onto the smallest canvas that holds it.

    Args:
        encoded: (B,) string, files in JPEG or PNG format.
        canvases: sides of the square canvases, pixels, rising.
        frame: (height, width) that all images are stretched to instead, or None.

    Returns:
        canvas: (B, h, w, 3) float32 0..255, of the frame's or the largest canvas's size; the image on a
            smaller canvas lies at the upper left.
        canvas_size: (B, 2) int32, height and width of the canvas used.
        area: (B, 4) float32, left, top, width, height of the image on it.
        size: (B, 2) int32, width and height of the image, upright.
        status: (B,) int32, an index of `STATUS`.
        Of images that are not done all but the status is that of a grey canvas.
    """
    largest = frame or (canvases[-1], canvases[-1])
    count = tf.shape(encoded, tf.int64)[0]

    def prepare(index, data):
        image, status = decode(data)
        canvas, canvas_size, area = fit(image[None], canvases, frame)
        canvas = tf.image.pad_to_bounding_box(canvas, 0, 0, *largest)[0]
        size = tf.shape(image)[1::-1]
        return index, canvas, canvas_size, area, size, status

    def nothing():
        canvas = tf.fill((*largest, 3), float(GREY))
        whole = tf.constant([0.0, 0.0, largest[1], largest[0]])
        size = tf.constant(largest, tf.int32)
        return tf.constant(-1, tf.int64), canvas, size, whole, size[::-1], tf.constant(DAMAGED)

    # the last element stands for all that failed, so that there is always one
    files = tf.data.Dataset.from_tensor_slices((tf.range(count), encoded))
    files = files.map(prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).ignore_errors()
    last = tf.data.Dataset.from_tensors(nothing())
    index, *values = files.concatenate(last).batch(count + 1).get_single_element()
    done = tf.shape(index)[0] - 1
    place = tf.tensor_scatter_nd_update(tf.fill([count], done), index[:-1, None], tf.range(done))
    return tuple(tf.gather(value, place) for value in values)


def decode(data):
    """One file (scalar string) as (H, W, 3) uint8, upright, transparent parts white, and its status.

    Raises InvalidArgumentError, at run time, for a damaged file.
    """
    is_jpeg = tf.strings.substr(data, 0, 3) == b"\xff\xd8\xff"
    is_png = tf.strings.substr(data, 0, 8) == b"\x89PNG\r\n\x1a\n"

    def read(shape_of, decode_one):
        pixels = tf.reduce_prod(tf.cast(shape_of(data), tf.int64))
        fits = (pixels > 0) & (pixels <= MAX_PIXELS)
        image = tf.cond(fits, lambda: decode_one(data), _no_image)
        return image, tf.where(fits, DONE, TOO_LARGE)

    return tf.case(
        [
            (is_jpeg, lambda: read(lambda file: tf.image.extract_jpeg_shape(file)[:2], _decode_jpeg)),
            (is_png, lambda: read(_png_shape, _decode_png)),
        ],
        default=lambda: (_no_image(), tf.constant(UNKNOWN_FORMAT)),
    )


def fit(images, canvases, frame=None):
    """Images of one size in the middle of a square canvas, as `hand3d.canvas.fit` puts them.

    images: (B, H, W, 3) uint8 or float32 0..255.  canvases, frame: as for `decode_batch`.  Returns canvases
    (B, S, S, 3) float32, their (height, width) int32 and area (left, top, width, height) float32.
    """
    height, width = tf.unstack(tf.shape(images)[1:3])
    if frame:
        resized = _resize(images, tf.constant(frame))
        return resized, tf.constant(frame), tf.constant([0.0, 0.0, frame[1], frame[0]])
    longer = tf.maximum(height, width)
    number = tf.minimum(tf.reduce_sum(tf.cast(tf.constant(canvases) < longer, tf.int32)), len(canvases) - 1)
    side = tf.gather(tf.constant(canvases), number)
    factor = tf.cast(side, tf.float64) / tf.cast(longer, tf.float64)
    size = tf.stack([height, width])
    target = tf.maximum(1, tf.cast(tf.round(tf.cast(size, tf.float64) * factor), tf.int32))
    resized = tf.cond(
        tf.reduce_all(target == size),
        lambda: tf.cast(images, tf.float32),
        lambda: _resize(images, target),
    )
    before = (side - target) // 2
    after = side - target - before
    paddings = [[0, 0], [before[0], after[0]], [before[1], after[1]], [0, 0]]
    canvas = tf.pad(resized, paddings, constant_values=float(GREY))
    area = tf.cast(tf.stack([before[1], before[0], target[1], target[0]]), tf.float32)
    return canvas, tf.stack([side, side]), area


def orientation(data):
    """EXIF orientation of a JPEG file (scalar string), 1 to 8; 1 where there is none or it cannot be read."""
    head = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 0, EXIF_REACH), tf.uint8), tf.int32)
    head = tf.concat([head, tf.zeros([32], tf.int32)], 0)
    marker = {0: 0xFF, 1: 0xE1} | {4 + place: byte for place, byte in enumerate(b"Exif\0\0")}
    length = tf.shape(head)[0] - 10
    matches = tf.reduce_all([head[place : length + place] == byte for place, byte in marker.items()], axis=0)
    start = tf.argmax(tf.cast(matches, tf.int32), output_type=tf.int32) + 10
    little = head[start] == ord("I")

    def number(place, count):
        """Unsigned integer of `count` bytes at a place of the block; what lies outside reads as the end."""
        last = tf.shape(head)[0] - 1
        total = tf.zeros_like(place)
        for byte in range(count):
            value = tf.gather(head, tf.clip_by_value(start + place + byte, 0, last))
            power = tf.where(little, 256**byte, 256 ** (count - 1 - byte))
            total += value * power
        return total

    directory = tf.clip_by_value(number(tf.constant(4), 4), 0, EXIF_REACH)
    entries = directory + 2 + 12 * tf.range(tf.minimum(number(directory, 2), 512))
    is_tag = number(entries, 2) == ORIENTATION_TAG
    value = tf.reduce_max(tf.where(is_tag, number(entries + 8, 2), 0))
    return tf.where(tf.reduce_any(matches) & (value >= 1) & (value <= 8), value, 1)


def _upright(image, tag):
    turned = {
        2: tf.image.flip_left_right,
        3: lambda x: tf.image.rot90(x, 2),
        4: tf.image.flip_up_down,
        5: tf.image.transpose,
        6: lambda x: tf.image.rot90(x, 3),
        7: lambda x: tf.image.transpose(tf.image.rot90(x, 2)),
        8: lambda x: tf.image.rot90(x, 1),
    }
    branches = [lambda: image] * 2 + [lambda turn=turned[tag]: turn(image) for tag in range(2, 9)]
    return tf.switch_case(tag, branches)


def _decode_jpeg(data):
    image = tf.image.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    return _upright(image, orientation(data))


def _decode_png(data):
    pixels = tf.image.decode_png(data, channels=4)

    def over_white():
        colour, alpha = (tf.cast(part, tf.uint16) for part in (pixels[..., :3], pixels[..., 3:]))
        return tf.cast((colour * alpha + 255 * (255 - alpha) + 127) // 255, tf.uint8)

    return tf.cond(tf.reduce_all(pixels[..., 3] == 255), lambda: pixels[..., :3], over_white)


def _png_shape(data):
    """Height and width of the header: no decoder has looked at it yet."""
    size = tf.io.decode_raw(tf.strings.substr(data, 16, 8), tf.int32, little_endian=False)
    return tf.ensure_shape(size, [2])[::-1]


def _no_image():
    return tf.fill((1, 1, 3), tf.constant(GREY, tf.uint8))


def _resize(images, size):
    """Antialiased, rounded to whole values as a file of that size would be."""
    return tf.clip_by_value(tf.round(tf.image.resize(images, size, antialias=True)), 0.0, 255.0)
