"""GLSL sources of the renderer.

All geometry comes in camera axes (x right, y down, z away from the camera, metres).  Clip space keeps y
pointing down, so the first row in memory is the first row of the picture and pixel centres are integers.
"""

NOISE = """
uniform sampler3D u_noise;
vec4 noise4(vec3 p) { return texture(u_noise, p) - 0.5; }
float fbm(vec3 p) { return noise4(p).x + 0.5 * noise4(p * 2.03 + 0.31).y + 0.25 * noise4(p * 4.11 + 0.67).z; }
"""

VERTEX = """
#version 330
uniform mat4 u_projection;
invariant gl_Position;
in vec3 a_position; in vec3 a_normal; in vec2 a_uv; in vec3 a_rest; in vec4 a_skin;
out vec3 v_position; out vec3 v_normal; out vec2 v_uv; out vec3 v_rest; out vec4 v_skin;
void main() {
    gl_Position = u_projection * vec4(a_position, 1.0);
    v_position = a_position; v_normal = a_normal; v_uv = a_uv; v_rest = a_rest; v_skin = a_skin;
}
"""

DEPTH_VERTEX = """
#version 330
uniform mat4 u_projection;
invariant gl_Position;
in vec3 a_position;
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

LIGHTING = """
uniform vec3 u_sh[9];             // irradiance of the surroundings, real spherical harmonics
uniform int u_lights;
uniform vec3 u_direction[3];      // towards the light
uniform vec3 u_colour[3];
uniform mat4 u_shadow_matrix[2];
uniform float u_shadow_radius[2]; // of the filter, in texture coordinates
uniform sampler2DShadow u_shadow0;
uniform sampler2DShadow u_shadow1;
uniform sampler2D u_label;        // part id, z
uniform vec4 u_intrinsics;        // fx, fy, cx, cy
uniform float u_occlusion;        // strength

vec3 irradiance(vec3 n) {
    vec3 e = u_sh[0] + u_sh[1] * n.y + u_sh[2] * n.z + u_sh[3] * n.x + u_sh[4] * (n.x * n.y)
        + u_sh[5] * (n.y * n.z) + u_sh[6] * (3.0 * n.z * n.z - 1.0) + u_sh[7] * (n.x * n.z)
        + u_sh[8] * (n.x * n.x - n.y * n.y);
    return max(e, vec3(0.0));
}

float dither(vec2 p) { return fract(52.9829189 * fract(dot(p, vec2(0.06711056, 0.00583715)))); }

float shadow(int light, vec3 position, vec3 normal, float rotation) {
    vec3 q = position + normal * 0.0025;
    vec3 s = (light == 0 ? u_shadow_matrix[0] : u_shadow_matrix[1]) [3].xyz;
    mat4 m = light == 0 ? u_shadow_matrix[0] : u_shadow_matrix[1];
    vec3 c = (m * vec4(q, 1.0)).xyz * 0.5 + 0.5;
    float radius = u_shadow_radius[light];
    float sum = 0.0;
    for (int i = 0; i < 8; i++) {
        float r = sqrt((float(i) + 0.5) / 8.0) * radius, t = float(i) * 2.39996 + rotation;
        vec3 tap = vec3(c.xy + r * vec2(cos(t), sin(t)), c.z - 0.0012 - r * 0.05);
        sum += light == 0 ? texture(u_shadow0, tap) : texture(u_shadow1, tap);
    }
    vec2 edge = abs(c.xy - 0.5);
    return mix(sum / 8.0, 1.0, smoothstep(0.42, 0.49, max(edge.x, edge.y)));
}

// share of the surroundings that nearby surfaces hide, from the depth picture (radius about 3 cm)
float occlusion(vec3 position, vec3 normal, float rotation) {
    float pixels = clamp(u_intrinsics.x * 0.03 / position.z, 2.0, 80.0);
    ivec2 last = textureSize(u_label, 0) - 1;
    float sum = 0.0;
    for (int i = 0; i < 10; i++) {
        float r = pixels * (float(i) + 0.6) / 10.0, t = float(i) * 2.39996 + rotation;
        ivec2 at = ivec2(gl_FragCoord.xy + r * vec2(cos(t), sin(t)));
        if (any(lessThan(at, ivec2(0))) || any(greaterThan(at, last))) continue;
        float z = texelFetch(u_label, at, 0).g;
        if (z <= 0.0) continue;
        vec3 d = vec3((vec2(at) - u_intrinsics.zw) / u_intrinsics.xy * z, z) - position;
        float l2 = dot(d, d);
        sum += max(0.0, dot(d, normal) - 0.001) / sqrt(l2 + 1e-6) * smoothstep(0.0030, 0.0004, l2);
    }
    return clamp(1.0 - u_occlusion * sum / 5.5, 0.08, 1.0);
}
"""

SURFACE_HEAD = """
#version 330
in vec3 v_position; in vec3 v_normal; in vec2 v_uv; in vec3 v_rest; in vec4 v_skin;
out vec4 o_colour;
"""

# perturb a normal with the screen-space slope of a height in metres (surface gradient from derivatives)
BUMP = """
vec3 bump(vec3 n, vec3 position, float slope_x, float slope_y) {
    vec3 dx = dFdx(position), dy = dFdy(position);
    vec3 r1 = cross(dy, n), r2 = cross(n, dx);
    float det = dot(dx, r1);
    vec3 gradient = sign(det) * (slope_x * r1 + slope_y * r2);
    return normalize(max(abs(det), 1e-12) * n - gradient);
}
"""

SKIN_FRAGMENT = SURFACE_HEAD + NOISE + LIGHTING + BUMP + """
uniform sampler2D u_detail;      // height, blood, pigment, palm share; only the hands have texels
uniform vec3 u_dorsal;           // linear albedo of the back of the hand, the arms and the face
uniform vec3 u_palm;             // ... of the palm
uniform vec3 u_blood;            // log change of colour with blood
uniform vec3 u_pigment;          // ... with pigment
uniform vec3 u_lips;
uniform float u_bump;            // metres per unit of height
uniform float u_roughness;
uniform float u_gloss;
uniform float u_mottling;
uniform float u_nail;            // 1 for nails
uniform vec3 u_nail_colour;
uniform vec3 u_wrap;             // light that leaks past the terminator, per channel

void main() {
    vec3 view = normalize(-v_position);
    vec3 n = normalize(v_normal);
    if (dot(n, view) < 0.0) n = -n;
    float rotation = 6.2831853 * dither(gl_FragCoord.xy);

    float hand = v_skin.w;       // 1 on the hands, 0 elsewhere
    vec4 detail = mix(vec4(0.5, 0.5, 0.5, 0.0), texture(u_detail, v_uv), hand);
    vec2 tx = dFdx(v_uv), ty = dFdy(v_uv);
    float h = detail.r;
    float hx = (texture(u_detail, v_uv + tx).r - h) * hand, hy = (texture(u_detail, v_uv + ty).r - h) * hand;
    float fine = fbm(v_rest * 46.0);
    float blotch = noise4(v_rest * 5.0 + 0.4).x + 0.6 * noise4(v_rest * 13.0).y;
    vec3 smooth_n = n;
    n = bump(n, v_position, hx * u_bump, hy * u_bump);

    float blood = (detail.g - 0.5) * 2.0 + u_mottling * (0.9 * blotch + 0.35 * fine) + v_skin.y;
    float pigment = (detail.b - 0.5) * 2.0 + 0.25 * u_mottling * (blotch - fine) + v_skin.z;
    vec3 albedo = mix(u_dorsal, u_palm, max(detail.a, v_skin.x * hand));
    albedo *= exp(-blood * u_blood - pigment * u_pigment);
    albedo = mix(albedo, u_lips, (1.0 - hand) * v_skin.x);
    albedo = mix(albedo, u_nail_colour * (1.0 + 0.1 * fine), u_nail);

    float ao = occlusion(v_position, smooth_n, rotation);
    // light that multiply scatters in flesh fills crevices with red
    vec3 ambient_share = pow(vec3(ao), vec3(0.75, 1.0, 1.08));
    vec3 diffuse = irradiance(n) * ambient_share;
    vec3 specular = vec3(0.0);
    float roughness = mix(u_roughness, 0.22, u_nail);
    float a = roughness * roughness;
    float nv = max(dot(n, view), 0.05);
    for (int i = 0; i < u_lights; i++) {
        vec3 l = u_direction[i];
        float lit = i < 2 ? shadow(i, v_position, smooth_n, rotation) : mix(ao, 1.0, 0.3);
        float nl = dot(n, l), snl = dot(smooth_n, l);
        vec3 wrapped = max((mix(vec3(nl), vec3(snl), vec3(0.55, 0.15, 0.05)) + u_wrap) / (1.0 + u_wrap), 0.0);
        vec3 soft = pow(vec3(lit), vec3(0.62, 0.95, 1.05));
        diffuse += u_colour[i] * wrapped * soft * mix(1.0, ao, 0.35);
        vec3 half_way = normalize(l + view);
        float nh = max(dot(n, half_way), 0.0), vh = max(dot(view, half_way), 0.0);
        float d = nh * nh * (a * a - 1.0) + 1.0;
        float ggx = a * a / (3.14159 * d * d);
        float k = a * 0.5 + 0.05;
        float geometry = 0.25 / ((max(nl, 0.0) * (1.0 - k) + k) * (nv * (1.0 - k) + k));
        float fresnel = 0.028 + 0.97 * pow(1.0 - vh, 5.0);
        specular += u_colour[i] * lit * max(nl, 0.0) * ggx * geometry * fresnel * 3.14159;
    }
    float rim = 0.03 + 0.35 * pow(1.0 - nv, 4.0) * (1.0 - roughness);
    vec3 mirror = irradiance(reflect(-view, n)) * rim * ao;
    o_colour = vec4(albedo * diffuse + u_gloss * (specular + mirror), 1.0);
}
"""

CLOTH_FRAGMENT = SURFACE_HEAD + NOISE + LIGHTING + BUMP + """
uniform vec3 u_colour_a;
uniform vec3 u_colour_b;
uniform int u_pattern;    // 0 plain, 1 stripes, 2 upright stripes, 3 plaid, 4 dots, 5 blotches, 6 print, 7 melange
uniform float u_scale;    // size of the pattern in metres
uniform float u_folds;
uniform float u_sheen;

float stripe(float x, float share) {
    float w = fwidth(x) + 1e-4, t = abs(fract(x) - 0.5) * 2.0;
    return smoothstep(share - 2.0 * w, share + 2.0 * w, t);
}

void main() {
    vec3 view = normalize(-v_position);
    vec3 n = normalize(v_normal);
    if (dot(n, view) < 0.0) n = -n;
    float rotation = 6.2831853 * dither(gl_FragCoord.xy);
    vec3 q = v_rest / u_scale;
    float t = 0.0;
    if (u_pattern == 1) t = stripe(q.y + q.z * 0.1, 0.5);
    else if (u_pattern == 2) t = stripe(q.x, 0.55);
    else if (u_pattern == 3) t = 0.5 * stripe(q.x, 0.6) + 0.5 * stripe(q.y, 0.6);
    else if (u_pattern == 4) t = smoothstep(0.28, 0.22, length(fract(q.xy) - 0.5));
    else if (u_pattern == 5) t = smoothstep(-0.05, 0.05, fbm(q * 0.25));
    else if (u_pattern == 6) t = step(0.0, v_rest.z) * smoothstep(0.0, 0.06, 0.11 - max(abs(v_rest.x), abs(v_rest.y - 0.25)))
        * step(0.0, fbm(q * 0.5));
    else if (u_pattern == 7) t = 0.5 + 1.4 * fbm(v_rest * 60.0);
    vec3 albedo = mix(u_colour_a, u_colour_b, clamp(t, 0.0, 1.0));
    float weave = noise4(v_rest * 90.0).x;
    albedo *= 1.0 + 0.25 * weave + 0.15 * noise4(v_rest * 7.0).y;
    float fold = abs(noise4(v_rest * vec3(1.7, 0.8, 1.7)).x) + 0.5 * abs(noise4(v_rest * vec3(4.0, 2.2, 4.0)).y);
    n = bump(n, v_position, dFdx(fold) * u_folds, dFdy(fold) * u_folds);

    float ao = occlusion(v_position, n, rotation);
    vec3 diffuse = irradiance(n) * ao * (0.75 + 0.5 * fold);
    for (int i = 0; i < u_lights; i++) {
        float lit = i < 2 ? shadow(i, v_position, normalize(v_normal), rotation) : ao;
        float nl = max(dot(n, u_direction[i]) * 0.9 + 0.1, 0.0);
        diffuse += u_colour[i] * nl * lit;
    }
    float rim = pow(1.0 - max(dot(n, view), 0.0), 3.0);
    o_colour = vec4(albedo * diffuse * (1.0 + u_sheen * rim), 1.0);
}
"""

HAIR_FRAGMENT = SURFACE_HEAD + NOISE + LIGHTING + """
uniform vec3 u_colour_a;
uniform float u_strands;
void main() {
    vec3 view = normalize(-v_position);
    vec3 n = normalize(v_normal);
    if (dot(n, view) < 0.0) n = -n;
    float rotation = 6.2831853 * dither(gl_FragCoord.xy);
    vec3 q = v_rest * vec3(30.0, 4.0, 30.0);
    float strand = fbm(q + 0.3 * noise4(v_rest * 6.0).xyz);
    n = normalize(n + 0.8 * noise4(q).xyz);
    float ao = occlusion(v_position, n, rotation);
    vec3 diffuse = irradiance(n) * ao, specular = vec3(0.0);
    for (int i = 0; i < u_lights; i++) {
        float lit = i < 2 ? shadow(i, v_position, normalize(v_normal), rotation) : ao;
        diffuse += u_colour[i] * lit * max(dot(n, u_direction[i]) * 0.8 + 0.2, 0.0);
        float s = abs(dot(n, normalize(u_direction[i] + view)));
        specular += u_colour[i] * lit * pow(s, 18.0) * 0.07;
    }
    vec3 albedo = u_colour_a * (1.0 + u_strands * strand);
    o_colour = vec4(max(albedo, 0.0) * diffuse + specular * (0.6 + strand), 1.0);
}
"""

EYE_FRAGMENT = SURFACE_HEAD + NOISE + LIGHTING + """
uniform vec3 u_colour_a;   // the iris
uniform vec3 u_colour_b;   // the rest
void main() {
    vec3 view = normalize(-v_position);
    vec3 n = normalize(v_normal);
    float r = v_skin.x;    // angle from the pupil's axis, 0..1
    vec3 albedo = r < 0.0 ? u_colour_b : r < 0.14 ? vec3(0.005) : r < 0.34 ? u_colour_a : u_colour_b;
    vec3 diffuse = irradiance(n), specular = vec3(0.0);
    for (int i = 0; i < u_lights; i++) {
        diffuse += u_colour[i] * max(dot(n, u_direction[i]) * 0.8 + 0.2, 0.0);
        specular += u_colour[i] * pow(max(dot(n, normalize(u_direction[i] + view)), 0.0), 200.0);
    }
    o_colour = vec4(albedo * diffuse * 0.7 + specular, 1.0);
}
"""
