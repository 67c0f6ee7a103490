"""GLSL that paints the relief and colour detail of a hand into a texture (`pipelines.render.skin`)."""

BAKE_VERTEX = """
#version 330
in vec2 a_uv; in vec3 a_local; in vec3 a_finger; in vec3 a_rest; in float a_nail;
out vec3 v_local; out vec3 v_finger; out vec3 v_rest; out float v_nail;
void main() {
    gl_Position = vec4(a_uv * 2.0 - 1.0, 0.0, 1.0);
    v_local = a_local; v_finger = a_finger; v_rest = a_rest; v_nail = a_nail;
}
"""

BAKE_FRAGMENT = """
#version 330
in vec3 v_local;    // x to the thumb's side, y to the fingers, z to the back; wrist to middle MCP = 1
in vec3 v_finger;   // phalanges from the base (0..3), dorsal share -1..1, finger 0..4, or -1 in the palm
in vec3 v_rest;     // metres
in float v_nail;    // 1 on nails, 0.5 at their rim
out vec4 o_detail;  // height, blood, pigment; 0 palm .. 0.5 back of the hand .. 1 nail
uniform float u_age;      // 0 smooth .. 1 wrinkled
uniform float u_veins;
uniform float u_tendons;  // 0 none .. 2 standing out
uniform float u_creases;  // of the palm, 1 as in most
uniform vec3 u_seed;
uniform sampler3D u_noise;

vec4 noise4(vec3 p) { return texture(u_noise, p + u_seed) - 0.5; }
float bell(float x, float w) { return exp(-x * x / (w * w)); }
float line(vec2 p, vec2 a, vec2 b) {
    vec2 d = b - a;
    return length(p - a - d * clamp(dot(p - a, d) / dot(d, d), 0.0, 1.0));
}

void main() {
    vec3 q = v_local;
    float t = v_finger.x, dorsal = v_finger.y, finger = v_finger.z;
    vec4 low = noise4(v_rest * 4.0), mid = noise4(v_rest * 14.0), high = noise4(v_rest * 45.0);
    float palm = smoothstep(0.25, -0.40, dorsal + 0.3 * low.x + 0.3 * mid.x);
    float back = smoothstep(0.0, 0.6, dorsal);
    float inside = step(-0.5, finger);
    float thumb = 1.0 - step(0.5, finger);
    float height = 0.0, blood = 0.0, pigment = 0.0;
    float warp = 0.10 * mid.y + 0.06 * low.y;

    // creases across the fingers
    float crease = 0.0;
    if (inside > 0.5) {
        float w = 0.030;
        float ip = mix(1.0, 2.0, thumb), base = mix(0.47, 1.05, thumb);
        crease += 0.8 * bell(t - base + warp, w) + bell(t - ip + 0.05 + warp, w)
            + 0.7 * bell(t - ip - 0.06 + warp * 1.3, w)
            + (1.0 - thumb) * bell(t - 2.0 + warp, w * 1.1);
        crease *= smoothstep(0.15, -0.35, dorsal);
        // wrinkles over the knuckles
        float pip = mix(bell(t - 0.98, 0.20), bell(t - 1.95, 0.20), thumb);
        float dip = (1.0 - thumb) * bell(t - 1.95, 0.13);
        float ridges = 0.5 + 0.5 * sin((t + 0.25 * mid.z + 0.12 * dorsal * dorsal) * 62.0 + 7.0 * low.z);
        float knuckle = (pip + 0.7 * dip) * smoothstep(0.1, 0.7, dorsal);
        height -= (0.35 + 0.5 * u_age) * knuckle * ridges * ridges;
        blood += 0.40 * (pip + 0.5 * dip) * back + 0.10 * knuckle * ridges;
        pigment += 0.35 * (pip + 0.6 * dip) * back;
        // finger tips and pads are redder
        blood += 0.45 * smoothstep(2.3, 2.9, t) + 0.20 * palm * (bell(t - 0.7, 0.25) + bell(t - 1.5, 0.25));
    }
    // the palm reaches over the thumb's metacarpal
    float flat_share = inside > 0.5 ? thumb * smoothstep(0.95, 0.6, t) : 1.0;
    if (flat_share > 0.0) {
        float earlier = crease;
        vec2 p = q.xy + 0.018 * vec2(mid.y, mid.z) + 0.11 * low.yz;
        float heart = min(line(p, vec2(-0.50, 0.66), vec2(-0.10, 0.70)),
            line(p, vec2(-0.10, 0.70), vec2(0.14, 0.90)));
        float head = min(line(p, vec2(0.44, 0.74), vec2(0.10, 0.62)),
            line(p, vec2(0.10, 0.62), vec2(-0.36, 0.42)));
        float life = min(line(p, vec2(0.46, 0.72), vec2(0.20, 0.58)),
            min(line(p, vec2(0.20, 0.58), vec2(0.03, 0.30)), line(p, vec2(0.03, 0.30), vec2(0.06, 0.04))));
        float fate = line(p, vec2(-0.03, 0.10), vec2(-0.02, 0.72));
        float strength = u_creases * (0.7 + 1.2 * low.x);
        crease = strength * (bell(heart, 0.013) + 0.9 * bell(head, 0.013) + bell(life, 0.016)
            + 0.4 * bell(fate, 0.012)) + 0.3 * (bell(heart, 0.05) + bell(head, 0.05) + bell(life, 0.06))
            + 0.9 * bell(q.y - 0.03 + 0.03 * mid.x, 0.014) + 0.5 * bell(q.y + 0.04 + 0.03 * mid.x, 0.012);
        crease = earlier + flat_share * crease * smoothstep(0.1, -0.3, dorsal);
        // fine lines: ridges of noise that is stretched along the palm, across it and towards the thumb
        vec2 f = q.xy + 0.05 * low.xy;
        float net = bell(noise4(vec3(f.x * 0.9, f.y * 0.22, 0.1)).x, 0.045)
            + 0.8 * bell(noise4(vec3((f.x + f.y) * 0.8, (f.x - f.y) * 0.2, 0.6)).y, 0.045)
            + 0.7 * bell(noise4(vec3(f.x * 0.3, f.y * 1.1, 0.8)).z, 0.04);
        crease += flat_share * (0.22 + 0.3 * u_age) * net * palm * smoothstep(-0.25, 0.15, mid.w + low.z);
        // cushions of the thumb, the little finger and below the fingers
        float cushion = bell(length(q.xy - vec2(0.30, 0.30)), 0.26)
            + bell(length(q.xy - vec2(-0.32, 0.28)), 0.24)
            + bell(q.y - 0.88, 0.14);
        blood += flat_share * 0.42 * cushion * palm;
        blood -= 0.22 * palm * bell(length(q.xy - vec2(-0.02, 0.50)), 0.2);
        // tendons and veins on the back
        float tendon = 0.0;
        for (int i = 0; i < 4; i++)
            tendon = max(tendon, bell(line(q.xy + 0.02 * mid.xy, vec2(0.02, 0.02),
                vec2(0.30 - 0.21 * float(i), 1.0 - 0.05 * abs(float(i) - 1.0))), 0.036));
        // they stand out towards the knuckles, paler than the skin between them
        tendon *= u_tendons * (1.0 + 0.8 * low.w) * back * smoothstep(0.15, 0.6, q.y);
        height += 0.8 * tendon;
        blood += 0.25 * u_tendons * back * smoothstep(0.25, 0.8, q.y) - 0.45 * tendon;
        vec2 v = q.xy + 0.25 * noise4(v_rest * 3.0).xy;
        float vein = bell(noise4(vec3(v * vec2(0.10, 0.045), 0.3)).x, 0.035) * back
            * smoothstep(-0.2, 0.2, q.y);
        height += 0.55 * u_veins * vein;
        blood -= 0.45 * u_veins * vein;
        pigment += 0.15 * u_veins * vein;
        blood += 0.30 * bell(q.y - 1.0, 0.13) * back;
        float wrinkle = bell(noise4(v_rest * vec3(20.0, 20.0, 60.0)).z, 0.05) * u_age;
        height -= 0.5 * wrinkle * back;
    }
    height -= 1.3 * crease;
    blood += 0.6 * crease;
    pigment += 0.55 * crease;
    // lattice of fine skin lines, spots
    height += (0.20 * high.x + 0.22 * mid.w) * (0.6 + 0.6 * back);
    pigment += 0.5 * u_age * back * smoothstep(0.22, 0.34, noise4(v_rest * 18.0).w);
    blood += 0.16 * mid.x + 0.12 * low.w + 0.06 * high.y;
    // the arm has no texture: fade out at the wrist
    float fade = smoothstep(-0.14, 0.08, q.y);
    float nail = v_nail;
    if (nail > 0.01) {   // smooth, with a pale half moon and a white rim where it stands free
        float share = smoothstep(0.2, 0.6, nail);
        float rim = smoothstep(2.88, 2.93, t), moon = smoothstep(2.62, 2.52, t);
        height *= 1.0 - share;
        blood = mix(blood, -1.6 * rim - 0.7 * moon, share);
        pigment = mix(pigment, -0.9 * rim - 0.3 * moon, share);
    }
    o_detail = vec4(0.5 + fade * vec3(0.30 * height, 0.5 * blood, 0.5 * pigment),
        0.5 - 0.5 * fade * palm * step(nail, 0.01) + 0.5 * nail);
}
"""
