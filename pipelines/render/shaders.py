"""GLSL of the passes that draw geometry, labels and shadows, and that put the picture together.

All geometry comes in camera axes (x right, y down, z away from the camera, metres).  Clip space keeps y
pointing down, so the first row in memory is the first row of the picture and pixel centres are integers.
"""

VERTEX = """
#version 330
uniform mat4 u_projection;
in vec3 a_position; in vec3 a_normal; in vec2 a_uv; in vec3 a_rest; in vec4 a_skin;
invariant gl_Position;   // as in DEPTH_VERTEX
out vec4 v_rest; out vec3 v_normal; out vec2 v_uv; out vec4 v_skin;
void main() {
    gl_Position = u_projection * vec4(a_position, 1.0);
    v_rest = vec4(a_rest, a_position.z); v_normal = a_normal; v_uv = a_uv; v_skin = a_skin;
}
"""

# what later passes need to know about each pixel
SURFACE_FRAGMENT = """
#version 330
uniform usampler2D u_part;
in vec4 v_rest; in vec3 v_normal; in vec2 v_uv; in vec4 v_skin;
layout(location = 0) out vec4 o_rest;      // rest position, z
layout(location = 1) out vec4 o_uv;        // uv, lips or pupil, hand
layout(location = 2) out vec4 o_normal;    // normal, material
layout(location = 3) out vec4 o_tint;      // blood, pigment
void main() {
    uint material = texelFetch(u_part, ivec2(gl_PrimitiveID & 4095, gl_PrimitiveID >> 12), 0).g;
    o_rest = v_rest;
    o_uv = vec4(v_uv, v_skin.x, v_skin.w);
    o_normal = vec4(v_normal, float(material) + 1.0);
    o_tint = vec4(v_skin.yz, 0.0, 0.0);
}
"""

SCREEN_VERTEX = """
#version 330
uniform float u_depth;
in vec2 a_corner;
void main() { gl_Position = vec4(a_corner, u_depth * 2.0 - 1.0, 1.0); }
"""

# the material of each pixel as depth, so that each shading pass only runs where it is wanted
MATERIAL_FRAGMENT = """
#version 330
uniform sampler2D u_normal;
uniform float u_group[9];   // depth of the pass of each material
void main() {
    int material = int(texelFetch(u_normal, ivec2(gl_FragCoord.xy), 0).w + 0.5);
    gl_FragDepth = u_group[material];
}
"""

# average of 2 x 2 subsamples: each is interpolated among the shaded neighbours of its own depth
RESOLVE_FRAGMENT = """
#version 330
uniform sampler2D u_colour;
uniform sampler2D u_rest;
uniform sampler2D u_fine;   // depth buffer of twice the resolution
uniform vec2 u_range;       // near, far
out vec4 o_colour;
void main() {
    ivec2 at = ivec2(gl_FragCoord.xy), last = textureSize(u_rest, 0) - 1;
    vec4 colour[9]; float z[9], any = 0.0;
    for (int i = 0; i < 9; i++) {
        z[i] = texelFetch(u_rest, clamp(at + ivec2(i % 3 - 1, i / 3 - 1), ivec2(0), last), 0).w;
        any += z[i];
    }
    vec4 sum = vec4(0.0);
    int count = any > 0.0 ? 9 : 0;   // loops, since a software rasteriser runs through both sides of an if
    for (int i = 0; i < count; i++)
        colour[i] = z[i] > 0.0
            ? texelFetch(u_colour, clamp(at + ivec2(i % 3 - 1, i / 3 - 1), ivec2(0), last), 0) : vec4(0.0);
    for (int k = 0; k < min(count, 4); k++) {
        ivec2 h = ivec2(k & 1, k >> 1), d = h * 2 - 1;
        float w = texelFetch(u_fine, 2 * at + h, 0).r;
        float zz = w >= 1.0 ? 0.0 : u_range.x * u_range.y / (u_range.y - w * (u_range.y - u_range.x));
        // bilinear among the neighbours on the same surface; the nearest in depth where none is
        vec4 mixed = vec4(0.0); float weight = 1e-4, error = 1e9; int best = 4;
        for (int j = 0; j < 4; j++) {
            int i = 4 + (j & 1) * d.x + (j >> 1) * 3 * d.y;
            float share = (j & 1) == 0 ? 0.75 : 0.25;
            share *= j < 2 ? 0.75 : 0.25;
            float e = abs(z[i] - zz);
            if (e < 0.004) { mixed += share * colour[i]; weight += share; }
            if (e < error) { error = e; best = i; }
        }
        sum += weight > 0.01 ? mixed / (weight - 1e-4) : colour[best];
    }
    o_colour = sum * 0.25;
}
"""

DEPTH_VERTEX = """
#version 330
uniform mat4 u_projection;
in vec3 a_position;
invariant gl_Position;
out float v_z;
void main() { gl_Position = u_projection * vec4(a_position, 1.0); v_z = a_position.z; }
"""

SHADOW_FRAGMENT = """
#version 330
void main() {}
"""

LABEL_FRAGMENT = """
#version 330
uniform usampler2D u_part;   // part id of each triangle, rows of 4096
in float v_z;
out vec2 o_label;
void main() {
    uint part = texelFetch(u_part, ivec2(gl_PrimitiveID & 4095, gl_PrimitiveID >> 12), 0).r;
    o_label = vec2(float(part), v_z);
}
"""
