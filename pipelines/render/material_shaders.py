"""GLSL that lights and colours the surface of each pixel: one program each for skin, cloth, hair and eyes.

Bases of `pow` are kept from rounding below 0, where GLSL leaves it undefined: the picture would get a NaN.
Axes and pixels as in `pipelines.render.shaders`, whose geometry pass these programs start from.
"""

from pipelines.render.light_shaders import BUMP, LIGHTING, NOISE, SURFACE_HEAD

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
    vec3 specular = vec3(0.0), around = u_sh[0];
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
        around += 0.25 * u_light[i];   // a sphere's mean
        vec3 half_way = normalize(l + view);
        float nh = max(dot(n, half_way), 0.0), vh = max(dot(view, half_way), 0.0);
        float d = nh * nh * (a * a - 1.0) + 1.0;
        float ggx = a * a / (3.14159 * d * d);
        float k = a * 0.5 + 0.05;
        float geometry = 0.25 / ((max(nl, 0.0) * (1.0 - k) + k) * (nv * (1.0 - k) + k));
        float fresnel = 0.028 + 0.97 * pow(max(1.0 - vh, 0.0), 5.0);
        specular += u_light[i] * lit * max(nl, 0.0) * ggx * geometry * fresnel * 3.14159;
    }
    // what hides the surroundings is mostly skin, which gives back its share of their light, reddened
    diffuse += 0.8 * (1.0 - ao) * mix(u_dorsal, u_palm, 0.5) * around;
    specular = min(specular, vec3(1.5));   // no sparks along the outline
    float rim = 0.03 + 0.35 * pow(max(1.0 - nv, 0.0), 4.0) * (1.0 - roughness);
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
    float rim = pow(1.0 - clamp(dot(n, view), 0.0, 1.0), 3.0);
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
