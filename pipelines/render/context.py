"""Off-screen OpenGL through EGL: which device draws, and what to install where none does."""

import sys


class GraphicsUnavailable(RuntimeError):
    """No off-screen OpenGL context could be made."""


SOFTWARE = ("llvmpipe", "softpipe", "swrast", "SWR")  # as Mesa names its renderers without a graphics card


def find_device(wanted="auto"):
    """The EGL device to draw with: its number and the name of its renderer.

    wanted: "auto", the first with a graphics card, else software; "software"; or a number.
    Raises `GraphicsUnavailable`, naming what to install or which devices there are.
    """
    found, problem = {}, None
    for number in range(32):
        try:
            context = _standalone(number)
        except ImportError as error:
            raise GraphicsUnavailable("the renderer needs moderngl: pip install moderngl") from error
        except Exception as error:  # of any kind: the libraries raise what they like
            problem = problem or error
            if "requested device index" in str(error) or number == 0 and "not found" in str(error):
                break
            continue
        found[number] = context.info["GL_RENDERER"]
        context.release()
    if not found:
        raise GraphicsUnavailable(
            f"no off-screen OpenGL 3.3 context through EGL ({problem}); on Debian and Ubuntu install "
            "the packages libegl1 and libgl1-mesa-dri"
        ) from problem
    software = [number for number, name in found.items() if any(word in name for word in SOFTWARE)]
    chosen = {"auto": [n for n in found if n not in software] or software, "software": software}
    chosen = chosen.get(wanted, [wanted] if wanted in found else [])
    if not chosen:
        devices = ", ".join(f"{number} {name}" for number, name in found.items())
        raise GraphicsUnavailable(f"no EGL device {wanted!r}, only: {devices}")
    return chosen[0], found[chosen[0]]


def _standalone(number):
    import moderngl

    return moderngl.create_standalone_context(backend="egl", require=330, device_index=number)


def create_context(device="auto"):
    """A standalone EGL context.  Raises `GraphicsUnavailable`; device as of `find_device`.

    Mesa's software renderer and TensorFlow bring two versions of LLVM, which crash in one process.
    """
    number, name = find_device(device)
    if "tensorflow" in sys.modules and "llvmpipe" in name:
        raise GraphicsUnavailable(
            "Mesa's software renderer crashes beside TensorFlow: render in a process of its own, "
            "such as python -m pipelines.render"
        )
    return _standalone(number)
