"""Rasteriser: a labelled picture of one posed person, drawn off screen (OpenGL, EGL, Mesa llvmpipe)."""

import sys

import numpy as np

from pipelines.render import material_shaders, shaders
from pipelines.render.camera import FAR, NEAR, projection_matrix, shadow_matrix

SHADOW_SIZE = 512
ATTRIBUTES = ("a_position", "a_normal", "a_uv", "a_rest", "a_skin")
FORMAT = "3f 3f 2f 3f 4f"
PROGRAMS = {
    "skin": material_shaders.SKIN_FRAGMENT,
    "cloth": material_shaders.CLOTH_FRAGMENT,
    "hair": material_shaders.HAIR_FRAGMENT,
    "eye": material_shaders.EYE_FRAGMENT,
}
# depth at which each shading pass is drawn, and that of each material: none, then body.MATERIALS
GROUPS = {"skin": 0.125, "cloth": 0.25, "hair": 0.5, "eye": 0.75}
GROUP_OF_MATERIAL = [1.0] + [
    GROUPS[name] for name in ("skin", "skin", "hair", "cloth", "cloth", "eye", "eye", "cloth")
]


class GraphicsUnavailable(RuntimeError):
    """No off-screen OpenGL context could be made."""


def create_context():
    """A standalone EGL context.  Raises `GraphicsUnavailable`, naming what to install.

    Mesa's software renderer and TensorFlow bring two versions of LLVM, which crash in one process.
    """
    try:
        import moderngl
    except ImportError as error:
        raise GraphicsUnavailable("the renderer needs moderngl: pip install moderngl") from error
    try:
        context = moderngl.create_standalone_context(backend="egl", require=330)
    except Exception as error:
        raise GraphicsUnavailable(
            f"no off-screen OpenGL 3.3 context through EGL ({error}); on Debian and Ubuntu install "
            "the packages libegl1 and libgl1-mesa-dri"
        ) from error
    if "tensorflow" in sys.modules and "llvmpipe" in context.info["GL_RENDERER"]:
        context.release()
        raise GraphicsUnavailable(
            "Mesa's software renderer crashes beside TensorFlow: render in a process of its own, "
            "such as python -m pipelines.render"
        )
    return context


def vertex_normals(vertices, faces, weld):
    """Area-weighted normals, (R, 3) float32; weld (R,) maps vertices split at texture seams to one group."""
    corner = vertices[faces]
    (ax, ay, az), (bx, by, bz) = (corner[:, 1] - corner[:, 0]).T, (corner[:, 2] - corner[:, 0]).T
    normal = np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], 1)
    index = weld[faces].ravel()
    count = len(vertices)
    total = np.stack(
        [np.bincount(index, np.repeat(normal[:, k], 3), minlength=count) for k in range(3)], axis=1
    )[weld]
    return (total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-20)).astype(np.float32)


class Rasteriser:
    """Draws meshes in camera axes.  Make one per process: it holds the OpenGL context and its buffers.

    The surface of each pixel is drawn first, then shaded once: many triangles are smaller than a pixel.
    """

    def __init__(self, size=320):
        self.size = size
        self.ctx = ctx = create_context()
        self.programs = {
            (name, lights): ctx.program(
                vertex_shader=shaders.SCREEN_VERTEX,
                fragment_shader=source.replace("LIGHTS 3", f"LIGHTS {lights}"),
            )
            for name, source in PROGRAMS.items()
            for lights in (1, 2, 3)
        }
        self.label_program = ctx.program(
            vertex_shader=shaders.DEPTH_VERTEX, fragment_shader=shaders.LABEL_FRAGMENT
        )
        self.surface_program = ctx.program(
            vertex_shader=shaders.VERTEX, fragment_shader=shaders.SURFACE_FRAGMENT
        )
        self.shadow_program = ctx.program(
            vertex_shader=shaders.DEPTH_VERTEX.replace("v_z = a_position.z;", "v_z = 0.0;"),
            fragment_shader=shaders.SHADOW_FRAGMENT,
        )
        self.material_program = ctx.program(
            vertex_shader=shaders.SCREEN_VERTEX, fragment_shader=shaders.MATERIAL_FRAGMENT
        )
        self.resolve_program = ctx.program(
            vertex_shader=shaders.SCREEN_VERTEX, fragment_shader=shaders.RESOLVE_FRAGMENT
        )
        shape = (size, size)

        def texture(components, dtype):
            made = ctx.texture(shape, components, dtype=dtype)
            made.filter = (ctx.NEAREST, ctx.NEAREST)
            return made

        self.labels = ctx.framebuffer(texture(2, "f4"), ctx.depth_renderbuffer(shape))
        self.surface = dict(
            u_rest=texture(4, "f4"), u_uv=texture(4, "f4"), u_normal=texture(4, "f2"), u_tint=texture(4, "f2")
        )
        self.surface_frame = ctx.framebuffer(list(self.surface.values()), ctx.depth_renderbuffer(shape))
        self.colour = texture(4, "f2")
        self.target = ctx.framebuffer(self.colour, ctx.depth_renderbuffer(shape))
        self.resolved = ctx.framebuffer(texture(4, "f2"))
        self.fine = ctx.depth_texture((2 * size, 2 * size))
        self.fine.compare_func = ""
        self.fine.filter = (ctx.NEAREST, ctx.NEAREST)
        self.fine_frame = ctx.framebuffer(depth_attachment=self.fine)
        self.shadows = []
        for _ in range(2):
            depth = ctx.depth_texture((SHADOW_SIZE, SHADOW_SIZE))
            depth.compare_func = "<="
            depth.filter = (ctx.LINEAR, ctx.LINEAR)
            depth.repeat_x = depth.repeat_y = False
            self.shadows.append((depth, ctx.framebuffer(depth_attachment=depth)))
        noise = np.random.default_rng(7).random((32, 32, 32, 4), np.float32)
        self.noise = ctx.texture3d((32, 32, 32), 4, (noise * 255).astype(np.uint8).tobytes())
        self.noise.filter = (ctx.LINEAR, ctx.LINEAR)
        self.screen = ctx.buffer(np.array([-1, -1, 3, -1, -1, 3], np.float32).tobytes())
        self.detail_cache = {}
        self.vertex_buffer = self.index_buffer = self.part_texture = None
        self.arrays = {}
        self.screens = {}

    def detail_texture(self, key, make):
        """The texture `key`, made once from make() -> (H, W, 4) uint8."""
        if key not in self.detail_cache:
            pixels = make()
            texture = self.ctx.texture(pixels.shape[1::-1], 4, np.ascontiguousarray(pixels).tobytes())
            texture.build_mipmaps()
            texture.filter = (self.ctx.LINEAR_MIPMAP_LINEAR, self.ctx.LINEAR)
            self.detail_cache[key] = texture
        return self.detail_cache[key]

    def upload(self, vertices, normals, uv, rest, skin, faces, part, material):
        """Set the mesh.  vertices (R, 3) camera axes; faces (F, 3); part, material (F,) uint8."""
        data = np.concatenate(
            [vertices, normals, uv, rest, skin], axis=1, dtype=np.float32, casting="same_kind"
        )
        self._reserve("vertex_buffer", data.nbytes)
        self._reserve("index_buffer", faces.size * 4)
        self.vertex_buffer.write(data)
        self.index_buffer.write(np.ascontiguousarray(faces, np.int32))
        rows = -(-len(part) // 4096)
        padded = np.zeros((rows * 4096, 2), np.uint8)
        padded[: len(part), 0], padded[: len(part), 1] = part, material
        if self.part_texture is None or self.part_texture.height != rows:
            self.part_texture = self.ctx.texture((4096, rows), 2, dtype="u1")
            self.part_texture.filter = (self.ctx.NEAREST, self.ctx.NEAREST)
        self.part_texture.write(padded)
        self.count = faces.size

    def _reserve(self, name, size):
        if getattr(self, name) is None or getattr(self, name).size < size:
            setattr(self, name, self.ctx.buffer(reserve=int(size * 1.2)))
            self.arrays = {}

    def _draw(self, name, program, matrix):
        """The whole mesh with one program."""
        if name not in self.arrays:
            self.arrays[name] = self.ctx.vertex_array(
                program, [_attributes(self.vertex_buffer, program)], self.index_buffer, index_element_size=4
            )
        program["u_projection"].write(np.ascontiguousarray(matrix.T))
        if "u_part" in program:
            self.part_texture.use(15)
            program["u_part"].value = 15
        self.arrays[name].render(vertices=self.count)

    def _screen(self, program):
        """The whole picture with one program."""
        if program not in self.screens:
            self.screens[program] = self.ctx.vertex_array(program, [(self.screen, "2f", "a_corner")])
        self.screens[program].render(vertices=3)

    def draw_labels(self, camera_matrix):
        """-> part (H, W) uint8, depth (H, W) float32 metres, 0 where nothing is."""
        self.ctx.enable_only(self.ctx.DEPTH_TEST)
        self.projection = projection_matrix(camera_matrix, self.size)
        self.intrinsics = tuple(float(camera_matrix[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
        self.labels.use()
        self.labels.clear()
        self._draw("label", self.label_program, self.projection)
        label = np.frombuffer(self.labels.read(components=2, dtype="f4"), np.float32)
        label = label.reshape(self.size, self.size, 2)
        return label[..., 0].astype(np.uint8), label[..., 1].copy()

    def draw_colours(self, materials, lights, harmonics, *, centre, detail, radius=0.35, occlusion=1.0):
        """After `draw_labels`.

        Args:
            materials: program name -> its uniforms.
            lights: 1 to 3 of `lighting.Light`; the first two cast shadows.
            harmonics: (9, 3).  centre: (3,) of the region with shadows, of `radius` metres.
            detail: texture of the hands.
        Returns (H, W, 4) float32: linear colour premultiplied with coverage, coverage.
        """
        ctx = self.ctx
        ctx.enable_only(ctx.DEPTH_TEST)
        ctx.depth_func = "<"
        matrices = []
        for light, (_, frame) in zip(lights, self.shadows, strict=False):
            matrices.append(shadow_matrix(light.direction, centre, radius))
            frame.use()
            frame.clear(depth=1.0)
            self._draw("shadow", self.shadow_program, matrices[-1])
        self.fine_frame.use()
        self.fine_frame.clear(depth=1.0)
        self._draw("shadow", self.shadow_program, self.projection)
        self.surface_frame.use()
        self.surface_frame.clear()
        self._draw("surface", self.surface_program, self.projection)

        units = {
            "u_noise": self.noise,
            "u_shadow0": self.shadows[0][0],
            "u_shadow1": self.shadows[1][0],
            "u_detail": detail,
            "u_colour": self.colour,
            "u_fine": self.fine,
            **self.surface,
        }
        for unit, texture in enumerate(units.values()):
            texture.use(unit)
        common = {
            "u_sh": harmonics,
            "u_direction": np.stack([light.direction for light in lights]),
            "u_light": np.stack([light.colour for light in lights]),
            "u_shadow_matrix": np.stack([m.T for m in matrices]),
            "u_shadow_radius": np.array([light.softness / radius / 2 for light in lights[:2]]),
            "u_intrinsics": self.intrinsics,
            "u_occlusion": occlusion,
            "u_range": (NEAR, FAR),
            **{name: unit for unit, name in enumerate(units)},
        }
        self.target.use()
        self.target.clear(depth=1.0)
        ctx.depth_func = "1"  # always
        _set(self.material_program, {"u_group": np.array(GROUP_OF_MATERIAL), "u_normal": common["u_normal"]})
        self.target.color_mask = (False,) * 4
        self._screen(self.material_program)
        self.target.color_mask = (True,) * 4
        ctx.depth_func = "=="
        for name, uniforms in materials.items():
            program = self.programs[name, len(lights)]
            _set(program, common | uniforms | {"u_depth": GROUPS[name]})
            self._screen(program)
        ctx.depth_func = "<"
        ctx.enable_only(0)
        self.resolved.use()
        _set(self.resolve_program, common)
        self._screen(self.resolve_program)
        pixels = np.frombuffer(self.resolved.read(components=4, dtype="f2"), np.float16)
        return pixels.reshape(self.size, self.size, 4).astype(np.float32)


def _attributes(buffer, program):
    """The tuple that moderngl wants, with attributes that a program does not use left out."""
    parts, names = [], []
    for name, spec in zip(ATTRIBUTES, FORMAT.split(), strict=True):
        if name in program:
            parts.append(spec)
            names.append(name)
        else:
            parts.append(f"{int(spec[0]) * 4}x")
    return (buffer, " ".join(parts), *names)


def _set(program, uniforms):
    for name, value in uniforms.items():
        if name not in program:
            continue
        if isinstance(value, np.ndarray):
            uniform = program[name]
            kind = np.int32 if value.dtype.kind == "i" else np.float32
            value = np.ascontiguousarray(value, kind)
            # the compiler may have dropped the end of an array
            whole = uniform.array_length * uniform.dimension
            uniform.write(value.reshape(-1)[:whole].tobytes())
        else:
            program[name].value = value
