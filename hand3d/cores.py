"""What this machine computes with."""

import os

CPUINFO = "/proc/cpuinfo"
BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16"}


def cores():
    """Cores that this process may use, an int; on systems that do not tell, all of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def multiplies_bfloat16():
    """Whether the graphics card of Keras' backend, or else this processor, has arithmetic for bfloat16.

    Where it has not, bfloat16 is emulated: a training step then takes twelve times as long as in float32.
    Systems that do not tell what their processor has are taken to have none.
    """
    return has_graphics_card() or bool(BFLOAT16_FLAGS & processor_flags())


def has_graphics_card():
    """Whether Keras' backend computes on something else than the processor."""
    import keras

    backend = keras.config.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU") or tf.config.list_physical_devices("TPU"))
    if backend == "jax":
        import jax

        return jax.default_backend() != "cpu"
    if backend == "torch":
        import torch

        return torch.cuda.is_available()
    return False


def processor_flags():
    """Names of what the processor has, a set; empty on systems without /proc/cpuinfo."""
    try:
        with open(CPUINFO, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.startswith("flags") for flag in line.partition(":")[2].split()}
