"""GLSL that lights and colours the surface of each pixel: one program each for skin, cloth, hair and eyes.

Axes and pixels as in `pipelines.render.shaders`, whose geometry pass these programs start from.
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

SKIN_FRAGMENT = (
    SURFACE_HEAD
    + NOISE
    + LIGHTING
    + BUMP
    + """
uniform sampler2D u_detail;      // height, blood, pigment, 0 palm .. 1 nail; only the hands have texels
uniform vec3 u_dorsal;           // linear albedo of the back of the hand, the arms and the face
uniform vec3 u_palm;             // ... of the palm
uniform vec3 u_blood;            // log change of colour with blood
uniform vec3 u_pigment;          // ... with pigment
uniform vec3 u_lips;
uniform float u_bump;            // metres per unit of height
uniform float u_roughness;
uniform float u_gloss;
uniform float u_mottling;
uniform vec3 u_nail_colour;
uniform float u_varnish;         // 1 on painted nails
uniform vec3 u_wrap;             // light that leaks past the terminator, per channel

void main() {
    Surface s = surface();
    vec3 view = s.view, n = s.normal, v_rest = s.rest;
    float hand = s.uv.w;         // 1 on the hands, 0 elsewhere
    float level = max(0.0, log2(s.position.z / u_intrinsics.x / 0.00024));   // a texel is about 0.24 mm
    vec4 detail = mix(vec4(0.5), textureLod(u_detail, s.uv.xy, level), hand);
    float palm = clamp(1.0 - 2.0 * detail.a, 0.0, 1.0), nail = clamp(2.0 * detail.a - 1.0, 0.0, 1.0);
    float hx = dFdx(detail.r), hy = dFdy(detail.r);
    float fine = fbm(v_rest * 46.0);
    float blotch = noise4(v_rest * 5.0 + 0.4).x + 0.6 * noise4(v_rest * 13.0).y;
    vec3 smooth_n = n;
    n = bump(n, s.position, hx * u_bump, hy * u_bump);

    float blood = (detail.g - 0.5) * 2.0 + u_mottling * (0.9 * blotch + 0.35 * fine) + s.tint.x;
    float pigment = (detail.b - 0.5) * 2.0 + 0.25 * u_mottling * (blotch - fine) + s.tint.y;
    vec3 stain = exp(-blood * u_blood - pigment * u_pigment);
    vec3 albedo = mix(u_dorsal, u_palm, palm) * stain;
    albedo = mix(albedo, u_lips, (1.0 - hand) * s.uv.z);
    albedo = mix(albedo, u_nail_colour * mix(stain, vec3(1.0), u_varnish), nail);

    float ao = occlusion(s.position, smooth_n, s.turn);
    // light that multiply scatters in flesh fills crevices with red
    vec3 ambient_share = pow(vec3(ao), vec3(0.75, 1.0, 1.08));
    vec3 diffuse = irradiance(n) * ambient_share;
    vec3 specular = vec3(0.0);
    float share[3];
    share[0] = shadow0(s.position, s.normal, s.turn);
#if LIGHTS > 1
    share[1] = shadow1(s.position, s.normal, s.turn);
#endif
    share[2] = mix(ao, 1.0, 0.3);
    float roughness = mix(u_roughness, 0.22, nail);
    float a = roughness * roughness;
    float nv = max(dot(n, view), 0.05);
    for (int i = 0; i < LIGHTS; i++) {
        vec3 l = u_direction[i];
        float lit = share[i];
        float nl = dot(n, l), snl = dot(smooth_n, l);
        vec3 wrapped = max((mix(vec3(nl), vec3(snl), vec3(0.55, 0.15, 0.05)) + u_wrap) / (1.0 + u_wrap), 0.0);
        vec3 soft = pow(vec3(lit), vec3(0.62, 0.95, 1.05));
        diffuse += u_light[i] * wrapped * soft * mix(1.0, ao, 0.35);
        vec3 half_way = normalize(l + view);
        float nh = max(dot(n, half_way), 0.0), vh = max(dot(view, half_way), 0.0);
        float d = nh * nh * (a * a - 1.0) + 1.0;
        float ggx = a * a / (3.14159 * d * d);
        float k = a * 0.5 + 0.05;
        float geometry = 0.25 / ((max(nl, 0.0) * (1.0 - k) + k) * (nv * (1.0 - k) + k));
        float fresnel = 0.028 + 0.97 * pow(1.0 - vh, 5.0);
        specular += u_light[i] * lit * max(nl, 0.0) * ggx * geometry * fresnel * 3.14159;
    }
    specular = min(specular, vec3(1.5));   // no sparks along the outline
    float rim = 0.03 + 0.35 * pow(1.0 - nv, 4.0) * (1.0 - roughness);
    vec3 mirror = irradiance(reflect(-view, n)) * rim * ao;
    o_colour = vec4(albedo * diffuse + u_gloss * (specular + mirror), 1.0);
}
"""
)

CLOTH_FRAGMENT = (
    SURFACE_HEAD
    + NOISE
    + LIGHTING
    + BUMP
    + """
uniform vec3 u_colour_a[3];
uniform vec3 u_colour_b[3];
// 0 plain, 1 stripes, 2 upright stripes, 3 plaid, 4 dots, 5 blotches, 6 print, 7 melange
uniform int u_pattern[3];
uniform float u_scale[3];    // size of the pattern in metres
uniform float u_folds[3];
uniform float u_sheen[3];

float stripe(float x, float share) {
    float w = fwidth(x) + 1e-4, t = abs(fract(x) - 0.5) * 2.0;
    return smoothstep(share - 2.0 * w, share + 2.0 * w, t);
}

void main() {
    Surface s = surface();
    vec3 view = s.view, n = s.normal, v_rest = s.rest;
    int g = s.material == 3.0 ? 0 : s.material == 4.0 ? 1 : 2;   // top, bottom, shoes
    vec3 q = v_rest / u_scale[g];
    int pattern = u_pattern[g];
    float t = 0.0;
    if (pattern == 1) t = stripe(q.y + q.z * 0.1, 0.5);
    else if (pattern == 2) t = stripe(q.x, 0.55);
    else if (pattern == 3) t = 0.5 * stripe(q.x, 0.6) + 0.5 * stripe(q.y, 0.6);
    else if (pattern == 4) t = smoothstep(0.28, 0.22, length(fract(q.xy) - 0.5));
    else if (pattern == 5) t = smoothstep(-0.05, 0.05, fbm(q * 0.25));
    else if (pattern == 6) t = step(0.0, v_rest.z)
        * smoothstep(0.0, 0.06, 0.11 - max(abs(v_rest.x), abs(v_rest.y - 0.25)))
        * step(0.0, fbm(q * 0.5));
    else if (pattern == 7) t = 0.5 + 1.4 * fbm(v_rest * 60.0);
    vec3 albedo = mix(u_colour_a[g], u_colour_b[g], clamp(t, 0.0, 1.0));
    float weave = noise4(v_rest * 61.0).x;
    albedo *= 1.0 + 0.16 * weave + 0.10 * noise4(v_rest * 7.0).y;
    // soft creases: a wave of bent phase
    vec3 bend = noise4(v_rest * vec3(0.35, 0.25, 0.35)).xyz;
    float wave = 0.5 + 0.5 * sin(40.0 * (v_rest.x + 0.7 * v_rest.y + 0.5 * v_rest.z) + 22.0 * bend.x);
    float fold = wave * wave * (0.5 + bend.y) + 0.35 * noise4(v_rest * vec3(0.9, 0.5, 0.9)).z;
    n = bump(n, s.position, dFdx(fold) * u_folds[g], dFdy(fold) * u_folds[g]);

    float ao = occlusion(s.position, n, s.turn);
    vec3 diffuse = irradiance(n) * ao * (0.85 + 0.3 * fold);
    float share[3];
    share[0] = shadow0(s.position, s.normal, s.turn);
#if LIGHTS > 1
    share[1] = shadow1(s.position, s.normal, s.turn);
#endif
    share[2] = mix(ao, 1.0, 0.3);
    for (int i = 0; i < LIGHTS; i++) {
        float lit = share[i];
        float nl = max(dot(n, u_direction[i]) * 0.9 + 0.1, 0.0);
        diffuse += u_light[i] * nl * lit;
    }
    float rim = pow(1.0 - max(dot(n, view), 0.0), 3.0);
    o_colour = vec4(albedo * diffuse * (1.0 + u_sheen[g] * rim), 1.0);
}
"""
)

HAIR_FRAGMENT = (
    SURFACE_HEAD
    + NOISE
    + LIGHTING
    + """
uniform vec3 u_colour_a;
uniform float u_strands;
void main() {
    Surface s = surface();
    vec3 view = s.view, n = s.normal, v_rest = s.rest;
    vec3 q = v_rest * vec3(30.0, 4.0, 30.0);
    float strand = fbm(q + 0.3 * noise4(v_rest * 6.0).xyz);
    n = normalize(n + 0.8 * noise4(q).xyz);
    float ao = occlusion(s.position, n, s.turn);
    vec3 diffuse = irradiance(n) * ao, specular = vec3(0.0);
    float share[3];
    share[0] = shadow0(s.position, s.normal, s.turn);
#if LIGHTS > 1
    share[1] = shadow1(s.position, s.normal, s.turn);
#endif
    share[2] = mix(ao, 1.0, 0.3);
    for (int i = 0; i < LIGHTS; i++) {
        float lit = share[i];
        diffuse += u_light[i] * lit * max(dot(n, u_direction[i]) * 0.8 + 0.2, 0.0);
        float gleam = abs(dot(n, normalize(u_direction[i] + view)));
        specular += u_light[i] * lit * pow(gleam, 18.0) * 0.07;
    }
    vec3 albedo = u_colour_a * (1.0 + u_strands * strand);
    o_colour = vec4(max(albedo, 0.0) * diffuse + specular * (0.6 + strand), 1.0);
}
"""
)

EYE_FRAGMENT = (
    SURFACE_HEAD
    + NOISE
    + LIGHTING
    + """
uniform vec3 u_colour_a;   // the iris
uniform vec3 u_colour_b;   // the rest
void main() {
    Surface s = surface();
    vec3 view = s.view, n = s.normal;
    float r = s.uv.z;    // angle from the pupil's axis, 0..1
    vec3 albedo = r < 0.0 ? vec3(0.35, 0.31, 0.24)   // teeth
        : r < 0.14 ? vec3(0.005) : r < 0.34 ? u_colour_a : u_colour_b;
    vec3 diffuse = irradiance(n), specular = vec3(0.0);
    for (int i = 0; i < LIGHTS; i++) {
        diffuse += u_light[i] * max(dot(n, u_direction[i]) * 0.8 + 0.2, 0.0);
        specular += u_light[i] * pow(max(dot(n, normalize(u_direction[i] + view)), 0.0), 200.0);
    }
    o_colour = vec4(albedo * diffuse * 0.7 + specular, 1.0);
}
"""
)
