"""TensorFlow checkpoints: one file (version 1), or NAME.index with NAME.data-* (version 2)."""

import os

from weights.convert.limits import MAX_ARRAYS, SourceError, check_size

TABLE_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")  # the last bytes of a version 1 file and of an index


def checkpoint_prefix(path):
    """What TensorFlow calls the checkpoint that `path` belongs to, or None."""
    for ending in ("", ".index", ".meta", ".data-00000-of-00001"):
        prefix = path.removesuffix(ending) if ending else path
        if (ending == "" or path.endswith(ending)) and os.path.isfile(prefix + ".index"):
            return prefix
    if os.path.isfile(path) and os.path.getsize(path) > 48:
        with open(path, "rb") as file:
            file.seek(-8, os.SEEK_END)
            return path if file.read() == TABLE_MAGIC else None
    return None


def load_checkpoint(prefix):
    """Dict name -> float32 array, and a list of the entries that are no floating-point arrays."""
    import tensorflow as tf

    arrays, skipped, taken = {}, [], 0
    try:
        reader = tf.train.load_checkpoint(prefix)
        shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
        if len(shapes) > MAX_ARRAYS:
            raise SourceError(f"{prefix}: {len(shapes)} entries, expected up to {MAX_ARRAYS}")
        for name in sorted(shapes):
            if not types[name].is_floating:
                skipped.append(name)
                continue
            taken += check_size(f"{prefix}: {name}", tuple(shapes[name]), types[name].size, taken)
            arrays[name] = reader.get_tensor(name).astype("float32")
    except SourceError:
        raise
    except Exception as error:  # TensorFlow turns its status codes into a dozen of Python's exceptions
        raise SourceError(f"{prefix}: damaged or truncated checkpoint ({error})") from error
    return arrays, skipped
