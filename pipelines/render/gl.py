"""Rasteriser: a labelled picture of one posed person, on an off-screen OpenGL context (EGL, Mesa llvmpipe)."""

from dataclasses import dataclass, field

import numpy as np

from pipelines.render import shaders

SHADOW_SIZE = 512
NEAR, FAR = 0.05, 8.0
ATTRIBUTES = ("a_position", "a_normal", "a_uv", "a_rest", "a_skin")
FORMAT = "3f 3f 2f 3f 4f"
PROGRAMS = {"skin": shaders.SKIN_FRAGMENT, "cloth": shaders.CLOTH_FRAGMENT, "hair": shaders.HAIR_FRAGMENT,
            "eye": shaders.EYE_FRAGMENT}


class GraphicsUnavailable(RuntimeError):
    """No off-screen OpenGL context could be made."""


def create_context():
    """A standalone EGL context.  Raises `GraphicsUnavailable`, naming what to install."""
    try:
        import moderngl
    except ImportError as error:
        raise GraphicsUnavailable("the renderer needs moderngl: pip install moderngl") from error
    try:
        return moderngl.create_standalone_context(backend="egl", require=330)
    except Exception as error:
        raise GraphicsUnavailable(
            f"no off-screen OpenGL 3.3 context through EGL ({error}); on Debian and Ubuntu install the packages "
            "libegl1 and libgl1-mesa-dri"
        ) from error


@dataclass
class Light:
    """direction (3,) towards the light, camera axes; colour (3,) linear; softness: filter radius, metres."""

    direction: np.ndarray
    colour: np.ndarray
    softness: float = 0.01


@dataclass
class Draw:
    """A range of triangles drawn by one program with its own uniforms."""

    program: str
    start: int
    count: int
    uniforms: dict = field(default_factory=dict)


def projection_matrix(camera_matrix, size):
    """K (3, 3) and a square image of `size` pixels -> (4, 4) float32 clip matrix.

    Pixel centres are integers: column u sits at (u + 0.5) / size of the width.
    """
    fx, fy, cx, cy = camera_matrix[0, 0], camera_matrix[1, 1], camera_matrix[0, 2], camera_matrix[1, 2]
    matrix = np.zeros((4, 4))
    matrix[0, 0], matrix[0, 2] = 2 * fx / size, 2 * (cx + 0.5) / size - 1
    matrix[1, 1], matrix[1, 2] = 2 * fy / size, 2 * (cy + 0.5) / size - 1
    matrix[2, 2], matrix[2, 3] = (FAR + NEAR) / (FAR - NEAR), -2 * FAR * NEAR / (FAR - NEAR)
    matrix[3, 2] = 1
    return matrix.astype(np.float32)


def shadow_matrix(direction, centre, radius, depth=1.6):
    """Orthographic clip matrix of a light that looks at `centre`, (4, 4) float32."""
    z = -np.asarray(direction, np.float64)
    z /= np.linalg.norm(z)
    x = np.cross([0.0, 1.0, 0.0] if abs(z[1]) < 0.9 else [1.0, 0.0, 0.0], z)
    x /= np.linalg.norm(x)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([x / radius, np.cross(z, x) / radius, z / depth])
    matrix[:3, 3] = -matrix[:3, :3] @ np.asarray(centre, np.float64)
    return matrix.astype(np.float32)


def vertex_normals(vertices, faces, weld):
    """Area-weighted normals, (R, 3) float32; weld (R,) maps vertices split at texture seams to one group."""
    corner = vertices[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    index = weld[faces].ravel()
    count = len(vertices)
    total = np.stack(
        [np.bincount(index, np.repeat(normal[:, k], 3), minlength=count) for k in range(3)], axis=1
    )[weld]
    return (total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-20)).astype(np.float32)


class Rasteriser:
    """Draws meshes in camera axes.  Make one per process: it holds the OpenGL context and its buffers."""

    def __init__(self, size=320, samples=4):
        self.size = size
        self.ctx = ctx = create_context()
        self.programs = {
            name: ctx.program(vertex_shader=shaders.VERTEX, fragment_shader=source) for name, source in PROGRAMS.items()
        }
        self.label_program = ctx.program(vertex_shader=shaders.DEPTH_VERTEX, fragment_shader=shaders.LABEL_FRAGMENT)
        self.shadow_program = ctx.program(
            vertex_shader=shaders.DEPTH_VERTEX.replace("v_z = a_position.z;", "v_z = 0.0;"),
            fragment_shader=shaders.SHADOW_FRAGMENT,
        )
        samples = min(samples, ctx.max_samples)
        shape = (size, size)
        self.target = ctx.framebuffer(
            ctx.renderbuffer(shape, 4, samples=samples, dtype="f2"), ctx.depth_renderbuffer(shape, samples=samples)
        )
        self.resolved = ctx.framebuffer(ctx.renderbuffer(shape, 4, dtype="f2"))
        self.label_texture = ctx.texture(shape, 2, dtype="f4")
        self.label_texture.filter = (ctx.NEAREST, ctx.NEAREST)
        self.labels = ctx.framebuffer(self.label_texture, ctx.depth_renderbuffer(shape))
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
        self.detail_cache = {}
        self.vertex_buffer = self.index_buffer = self.part_texture = None
        self.arrays = {}

    def detail_texture(self, key, make):
        """The texture `key`, made once from make() -> (H, W, 4) uint8."""
        if key not in self.detail_cache:
            pixels = make()
            texture = self.ctx.texture(pixels.shape[1::-1], 4, np.ascontiguousarray(pixels).tobytes())
            texture.build_mipmaps()
            texture.filter = (self.ctx.LINEAR_MIPMAP_LINEAR, self.ctx.LINEAR)
            self.detail_cache[key] = texture
        return self.detail_cache[key]

    def upload(self, vertices, normals, uv, rest, skin, faces, part):
        """Set the mesh.  vertices (R, 3) camera axes; faces (F, 3) in drawing order; part (F,) uint8."""
        data = np.concatenate([vertices, normals, uv, rest, skin], axis=1).astype(np.float32)
        self._reserve("vertex_buffer", data.nbytes)
        self._reserve("index_buffer", faces.size * 4)
        self.vertex_buffer.write(data.tobytes())
        self.index_buffer.write(np.ascontiguousarray(faces, np.int32).tobytes())
        rows = -(-len(part) // 4096)
        padded = np.zeros(rows * 4096, np.uint8)
        padded[: len(part)] = part
        if self.part_texture is None or self.part_texture.height != rows:
            self.part_texture = self.ctx.texture((4096, rows), 1, dtype="u1")
            self.part_texture.filter = (self.ctx.NEAREST, self.ctx.NEAREST)
        self.part_texture.write(padded.tobytes())
        self.count = faces.size

    def _reserve(self, name, size):
        if getattr(self, name) is None or getattr(self, name).size < size:
            setattr(self, name, self.ctx.buffer(reserve=int(size * 1.2)))
            self.arrays = {}

    def _array(self, name, program):
        if name not in self.arrays:
            self.arrays[name] = self.ctx.vertex_array(
                program, [_attributes(self.vertex_buffer, program)], self.index_buffer, index_element_size=4
            )
        return self.arrays[name]

    def draw_labels(self, camera_matrix):
        """-> part (H, W) uint8, depth (H, W) float32 metres, 0 where nothing is."""
        self.ctx.enable_only(self.ctx.DEPTH_TEST)
        self.projection = projection_matrix(camera_matrix, self.size)
        self.intrinsics = tuple(float(camera_matrix[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
        self.labels.use()
        self.labels.clear()
        self.label_program["u_projection"].write(self.projection.T.tobytes())
        self.part_texture.use(0)
        self.label_program["u_part"].value = 0
        self._array("label", self.label_program).render(vertices=self.count)
        label = np.frombuffer(self.labels.read(components=2, dtype="f4"), np.float32)
        label = label.reshape(self.size, self.size, 2)
        return label[..., 0].astype(np.uint8), label[..., 1].copy()

    def draw_colours(self, draws, lights, harmonics, *, centre, radius=0.35, occlusion=1.0, detail=None):
        """After `draw_labels`.  -> (H, W, 4) float32: linear colour premultiplied with coverage, coverage."""
        self.ctx.enable_only(self.ctx.DEPTH_TEST)
        matrices = []
        for light, (_, frame) in zip(lights, self.shadows):
            matrix = shadow_matrix(light.direction, centre, radius)
            frame.use()
            frame.clear(depth=1.0)
            self.shadow_program["u_projection"].write(matrix.T.tobytes())
            self._array("shadow", self.shadow_program).render(vertices=self.count)
            matrices.append(matrix)
        self.target.use()
        self.target.clear()
        # depth first, so that each pixel is shaded once
        self.shadow_program["u_projection"].write(self.projection.T.tobytes())
        self.target.color_mask = (False,) * 4
        self._array("shadow", self.shadow_program).render(vertices=self.count)
        self.target.color_mask = (True,) * 4
        self.ctx.depth_func = "<="
        units = {"u_noise": self.noise, "u_label": self.label_texture, "u_shadow0": self.shadows[0][0],
                 "u_shadow1": self.shadows[1][0]}
        if detail is not None:
            units["u_detail"] = detail
        for unit, texture in enumerate(units.values()):
            texture.use(unit)
        common = {
            "u_projection": self.projection.T, "u_sh": harmonics, "u_lights": len(lights),
            "u_direction": np.stack([light.direction for light in lights] + [np.zeros(3)] * (3 - len(lights))),
            "u_colour": np.stack([light.colour for light in lights] + [np.zeros(3)] * (3 - len(lights))),
            "u_shadow_matrix": np.stack([m.T for m in matrices] + [np.eye(4)] * (2 - len(matrices))),
            "u_shadow_radius": np.array([li.softness / radius / 2 for li in lights[:2]] + [0] * (2 - len(matrices))),
            "u_intrinsics": self.intrinsics, "u_occlusion": occlusion,
            **{name: unit for unit, name in enumerate(units)},
        }
        for name in {draw.program for draw in draws}:
            _set(self.programs[name], common)
        for draw in draws:
            if draw.count:
                _set(self.programs[draw.program], draw.uniforms)
                array = self._array(draw.program, self.programs[draw.program])
                array.render(vertices=3 * draw.count, first=3 * draw.start)
        self.ctx.depth_func = "<"
        self.ctx.copy_framebuffer(self.resolved, self.target)
        pixels = np.frombuffer(self.resolved.read(components=4, dtype="f2"), np.float16)
        return pixels.reshape(self.size, self.size, 4).astype(np.float32)


def _attributes(buffer, program):
    """The tuple that moderngl wants, with attributes that a program does not use left out."""
    parts, names = [], []
    for name, spec in zip(ATTRIBUTES, FORMAT.split()):
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
            program[name].write(np.ascontiguousarray(value, np.float32).tobytes())
        else:
            program[name].value = value
