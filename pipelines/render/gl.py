"""Rasteriser: a labelled picture of one posed person, drawn off screen (OpenGL, EGL, Mesa llvmpipe)."""

import numpy as np

from pipelines.render import material_shaders, shaders
from pipelines.render.camera import FAR, NEAR, projection_matrix, shadow_matrix
from pipelines.render.context import create_context
from pipelines.render.mesh import seen_faces

SHADOW_SIZE = 512
ATTRIBUTES = {  # what stands in each vertex buffer
    "positions": {"a_position": 3},
    "normals": {"a_normal": 3},
    "surfaces": {"a_uv": 2, "a_rest": 3, "a_skin": 4},
}
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


class Rasteriser:
    """Draws meshes in camera axes.  Make one per process: it holds the OpenGL context and its buffers.

    The surface of each pixel is drawn first, then shaded once: many triangles are smaller than a pixel.
    """

    def __init__(self, size=320, device="auto"):
        self.size = size
        self.ctx = ctx = create_context(device)
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

        depth = ctx.depth_renderbuffer(shape)
        self.labels = ctx.framebuffer(texture(2, "f4"), depth)
        self.surface = dict(
            u_rest=texture(4, "f4"), u_uv=texture(4, "f4"), u_normal=texture(4, "f2"), u_tint=texture(4, "f2")
        )
        self.surface_frame = ctx.framebuffer(list(self.surface.values()), depth)
        self.surface_frame.depth_mask = False
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
        self.buffers, self.part_texture = {}, None
        self.constants = ()
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

    def upload(self, vertices, uv, rest, skin, faces, part, material):
        """Set the mesh, without its normals (`upload_normals`).

        vertices (R, 3) camera axes; faces (F, 3); part, material (F,) uint8.  uv (R, 2), rest (R, 3) and skin
        (R, 4) are copied only where they are other arrays than before.
        """
        self.mesh = np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32), part
        self.material = material
        self._write("positions", self.mesh[0])
        constants = uv, rest, skin
        if not self.constants or any(
            new is not old for new, old in zip(constants, self.constants, strict=True)
        ):
            self.constants = constants
            self._write("surfaces", np.concatenate(constants, axis=1, dtype=np.float32, casting="same_kind"))

    def upload_normals(self, normals):
        """Normals (R, 3) of the mesh's vertices, camera axes: `draw_colours` needs them."""
        self._write("normals", np.ascontiguousarray(normals, np.float32))

    def _write(self, name, data):
        if name not in self.buffers or self.buffers[name].size < data.nbytes:
            self.buffers[name] = self.ctx.buffer(reserve=int(data.nbytes * 1.2))
            self.arrays = {}
        self.buffers[name].write(data)

    def _select(self, name, matrix):
        """Write the indices of the faces that a matrix shows to the buffer `name`; returns their numbers."""
        vertices, faces, part = self.mesh
        seen = seen_faces(vertices, faces, part, matrix)
        if len(seen):
            self._write(name, faces[seen])
        return seen

    def _write_parts(self, seen):
        """Part and material of the faces drawn, by their place in the index buffer."""
        rows = max(1, -(-len(seen) // 4096))
        padded = np.zeros((rows * 4096, 2), np.uint8)
        padded[: len(seen), 0], padded[: len(seen), 1] = self.mesh[2][seen], self.material[seen]
        if self.part_texture is None or self.part_texture.height < rows:
            self.part_texture = self.ctx.texture((4096, 2 * rows), 2, dtype="u1")
            self.part_texture.filter = (self.ctx.NEAREST, self.ctx.NEAREST)
        self.part_texture.write(padded, viewport=(4096, rows))

    def _draw(self, name, program, matrix, indices, count):
        """`count` faces out of the buffer `indices` with one program."""
        if not count:
            return
        if (name, indices) not in self.arrays:
            content = [
                (self.buffers[buffer], *_attributes(attributes, program))
                for buffer, attributes in ATTRIBUTES.items()
                if any(attribute in program for attribute in attributes)
            ]
            self.arrays[name, indices] = self.ctx.vertex_array(
                program, content, self.buffers[indices], index_element_size=4
            )
        program["u_projection"].write(np.ascontiguousarray(matrix.T))
        if "u_part" in program:
            self.part_texture.use(15)
            program["u_part"].value = 15
        self.arrays[name, indices].render(vertices=3 * count)

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
        seen = self._select("seen", self.projection)
        self._write_parts(seen)
        self.count = len(seen)
        self.labels.use()
        self.labels.clear()
        self.ctx.depth_func = "<"
        self._draw("label", self.label_program, self.projection, "seen", self.count)
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
            casting = len(self._select("casting", matrices[-1]))
            self._draw("shadow", self.shadow_program, matrices[-1], "casting", casting)
        self.fine_frame.use()
        self.fine_frame.clear(depth=1.0)
        self._draw("shadow", self.shadow_program, self.projection, "seen", self.count)
        self.surface_frame.use()
        ctx.depth_func = "<="  # on the depth of the labels, which are those of the same surface
        self.surface_frame.clear()
        self._draw("surface", self.surface_program, self.projection, "seen", self.count)
        ctx.depth_func = "<"

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


def _attributes(attributes, program):
    """Format and names that moderngl wants, with attributes that a program does not use left out."""
    parts, names = [], []
    for name, size in attributes.items():
        parts.append(f"{size}f" if name in program else f"{4 * size}x")
        names += [name] if name in program else []
    return " ".join(parts), *names


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
