"""GLSL that the programs of `pipelines.render.material_shaders` share: noise, lamps, shadows, relief.

Axes and pixels as in `pipelines.render.shaders`.
"""

NOISE = """
uniform sampler3D u_noise;
vec4 noise4(vec3 p) { return texture(u_noise, p) - 0.5; }
float fbm(vec3 p) { return noise4(p).x + 0.5 * noise4(p * 2.03 + 0.31).y + 0.25 * noise4(p * 4.11 + 0.67).z; }
"""

LIGHTING = """
uniform vec3 u_sh[9];             // irradiance of the surroundings, real spherical harmonics
uniform vec3 u_direction[LIGHTS];      // towards the light
uniform vec3 u_light[LIGHTS];
uniform mat4 u_shadow_matrix[2];
uniform float u_shadow_radius[2]; // of the filter, in texture coordinates
uniform sampler2DShadow u_shadow0;
uniform sampler2DShadow u_shadow1;
uniform sampler2D u_rest;
uniform sampler2D u_uv;
uniform sampler2D u_normal;
uniform sampler2D u_tint;
uniform vec4 u_intrinsics;        // fx, fy, cx, cy
uniform float u_occlusion;        // strength

vec3 irradiance(vec3 n) {
    vec3 e = u_sh[0] + u_sh[1] * n.y + u_sh[2] * n.z + u_sh[3] * n.x + u_sh[4] * (n.x * n.y)
        + u_sh[5] * (n.y * n.z) + u_sh[6] * (3.0 * n.z * n.z - 1.0) + u_sh[7] * (n.x * n.z)
        + u_sh[8] * (n.x * n.x - n.y * n.y);
    return max(e, vec3(0.0));
}

float dither(vec2 p) { return fract(52.9829189 * fract(dot(p, vec2(0.06711056, 0.00583715)))); }

const vec2 SPIRAL[10] = vec2[10](
    vec2(1.000, 0.000), vec2(-0.737, 0.675), vec2(0.087, -0.996), vec2(0.608, 0.794),
    vec2(-0.985, -0.174), vec2(0.844, -0.537), vec2(-0.260, 0.966), vec2(-0.461, -0.887),
    vec2(0.939, 0.343), vec2(-0.924, 0.382));
const vec2 DISC[8] = vec2[8](vec2(0.25, 0.0), vec2(-0.319, 0.292), vec2(0.049, -0.557), vec2(0.402, 0.525),
    vec2(-0.739, -0.131), vec2(0.7, -0.445), vec2(-0.234, 0.871), vec2(-0.446, -0.859));

#define SHADOW(NAME, MAP, LIGHT) float NAME(vec3 position, vec3 normal, mat2 turn) { \\
    vec3 c = (u_shadow_matrix[LIGHT] * vec4(position + normal * 0.0025, 1.0)).xyz * 0.5 + 0.5; \\
    float radius = u_shadow_radius[LIGHT], sum = 0.0; \\
    float depth = c.z - 0.0012 - radius * 0.03; \\
    for (int i = 0; i < 8; i++) sum += texture(MAP, vec3(c.xy + turn * DISC[i] * radius, depth)); \\
    vec2 edge = abs(c.xy - 0.5); \\
    return mix(sum / 8.0, 1.0, smoothstep(0.42, 0.49, max(edge.x, edge.y))); }
SHADOW(shadow0, u_shadow0, 0)
SHADOW(shadow1, u_shadow1, 1)

// share of the surroundings that nearby surfaces hide, from the depth picture (radius about 3 cm)
float occlusion(vec3 position, vec3 normal, mat2 turn) {
    float pixels = clamp(u_intrinsics.x * 0.03 / position.z, 2.0, 80.0);
    ivec2 last = textureSize(u_rest, 0) - 1;
    float sum = 0.0;
    for (int i = 0; i < 10; i++) {
        float r = pixels * (float(i) + 0.6) / 10.0;
        ivec2 at = clamp(ivec2(gl_FragCoord.xy + turn * SPIRAL[i] * r), ivec2(0), last);
        float z = texelFetch(u_rest, at, 0).w;
        vec3 d = vec3((vec2(at) - u_intrinsics.zw) / u_intrinsics.xy * z, z) - position;
        float l2 = dot(d, d);
        sum += max(0.0, dot(d, normal) - 0.001) * inversesqrt(l2 + 1e-6) * clamp(1.1 - l2 * 350.0, 0.0, 1.0);
    }
    return clamp(1.0 - u_occlusion * sum / 5.5, 0.08, 1.0);
}

// what the geometry pass has left about this pixel
struct Surface {
    vec3 position; vec3 normal; vec3 view; vec3 rest; vec4 uv; vec2 tint; float material; mat2 turn;
};
Surface surface() {
    ivec2 at = ivec2(gl_FragCoord.xy);
    vec4 rest = texelFetch(u_rest, at, 0), normal = texelFetch(u_normal, at, 0);
    Surface s;
    s.position = vec3((vec2(at) - u_intrinsics.zw) / u_intrinsics.xy * rest.w, rest.w);
    s.view = normalize(-s.position);
    s.normal = normalize(normal.xyz);
    if (dot(s.normal, s.view) < 0.0) s.normal = -s.normal;
    s.rest = rest.xyz; s.uv = texelFetch(u_uv, at, 0); s.tint = texelFetch(u_tint, at, 0).xy;
    s.material = normal.w - 1.0;
    float angle = 6.2831853 * dither(gl_FragCoord.xy);
    s.turn = mat2(cos(angle), sin(angle), -sin(angle), cos(angle));
    return s;
}
"""

SURFACE_HEAD = """
#version 330
#define LIGHTS 3
out vec4 o_colour;
"""

# perturb a normal with the screen-space slope of a height in metres (surface gradient from derivatives)
BUMP = """
vec3 bump(vec3 n, vec3 position, float slope_x, float slope_y) {
    vec3 dx = dFdx(position), dy = dFdy(position);
    if (abs(dx.z) + abs(dy.z) > 0.008) return n;   // an edge between surfaces
    vec3 r1 = cross(dy, n), r2 = cross(n, dx);
    float det = dot(dx, r1);
    vec3 gradient = sign(det) * (slope_x * r1 + slope_y * r2);
    return normalize(max(abs(det), 1e-12) * n - gradient);
}
"""
