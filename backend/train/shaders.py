"""GLSL of the training renderer: one lit pass, one depth pass from the key light."""

from __future__ import annotations

VERTEX = """
#version 330
uniform vec4 camera;      // focal_px, cx, cy, unused
uniform vec2 size;        // width, height in pixels
uniform vec2 depth_range; // near, far (metres)
uniform mat4 light;       // camera frame -> light clip space
in vec3 position; in vec3 normal; in vec2 uv; in float occlusion;
out vec3 v_position; out vec3 v_normal; out vec2 v_uv; out vec4 v_light; out float v_occlusion;
void main() {
    // OpenCV camera, pixel centres at integers: x_px = f X / Z + cx.
    float z = position.z;
    vec2 pixel = camera.x * position.xy + camera.yz * z + 0.5 * z;
    float n = depth_range.x, f = depth_range.y;
    gl_Position = vec4(2.0 * pixel.x / size.x - z, z - 2.0 * pixel.y / size.y,
                       ((f + n) * z - 2.0 * f * n) / (f - n), z);
    v_position = position; v_normal = normal; v_uv = uv; v_occlusion = occlusion;
    v_light = light * vec4(position, 1.0);
}
"""

FRAGMENT = """
#version 330
uniform sampler2D albedo;
uniform sampler2DShadow shadow;
uniform vec3 sh[9];          // irradiance coefficients, camera frame, already convolved
uniform vec3 key_direction;  // towards the light
uniform vec3 key_colour;
uniform vec4 tint;           // rgb gain, alpha gain
uniform vec4 recolour;       // rgb colour that replaces the texture's hue, weight
uniform vec4 surface;        // specular strength, exponent, subsurface wrap, alpha cut
uniform float exposure;
in vec3 v_position; in vec3 v_normal; in vec2 v_uv; in vec4 v_light; in float v_occlusion;
out vec4 colour;
float lit() {
    vec3 p = v_light.xyz / v_light.w * 0.5 + 0.5;
    if (any(lessThan(p, vec3(0.0))) || any(greaterThan(p, vec3(1.0)))) return 1.0;
    float sum = 0.0; float texel = 1.0 / float(textureSize(shadow, 0).x);
    for (int i = -1; i <= 1; i += 2) for (int j = -1; j <= 1; j += 2)
        sum += texture(shadow, vec3(p.xy + 0.8 * texel * vec2(i, j), p.z - 0.004));
    return sum / 4.0;
}
void main() {
    vec4 texel = texture(albedo, v_uv);
    float alpha = texel.a * tint.a;
    if (alpha < surface.w) discard;
    vec3 n = normalize(v_normal);
    vec3 view = normalize(-v_position);
    if (dot(n, view) < 0.0) n = -n;
    vec3 base = pow(texel.rgb, vec3(2.2)) * tint.rgb;
    float grey = dot(base, vec3(0.3, 0.6, 0.1));
    base = mix(base, recolour.rgb * grey, recolour.a);
    vec3 ambient = sh[0] + sh[1] * n.y + sh[2] * n.z + sh[3] * n.x + sh[4] * n.x * n.y
        + sh[5] * n.y * n.z + sh[6] * (3.0 * n.z * n.z - 1.0) + sh[7] * n.x * n.z
        + sh[8] * (n.x * n.x - n.y * n.y);
    float facing = dot(n, key_direction);
    // Light bleeds round the terminator of skin, and red travels farthest.
    vec3 wrap = surface.z * vec3(1.0, 0.45, 0.3);
    vec3 diffuse = clamp((vec3(facing) + wrap) / (1.0 + wrap), 0.0, 1.0);
    float visible = lit();
    vec3 halfway = normalize(key_direction + view);
    float fresnel = 0.25 + 0.75 * pow(1.0 - max(dot(n, view), 0.0), 4.0);
    float gloss = surface.x * pow(max(dot(n, halfway), 0.0), surface.y) * fresnel
        * step(0.0, facing);
    vec3 sky = max(ambient, vec3(0.0));
    vec3 light = sky * v_occlusion + key_colour * diffuse * visible * mix(1.0, v_occlusion, 0.7);
    vec3 radiance = base * light + gloss * key_colour * visible + 0.06 * surface.x * fresnel * sky;
    vec3 film = radiance * exposure;
    film = film / (1.0 + 0.5 * max(film - 0.5, 0.0));  // a soft shoulder before clipping
    colour = vec4(pow(clamp(film, 0.0, 1.0), vec3(1.0 / 2.2)), alpha);
}
"""

SHADOW_VERTEX = """
#version 330
uniform mat4 light;
in vec3 position; in vec2 uv; out vec2 v_uv;
void main() { gl_Position = light * vec4(position, 1.0); v_uv = uv; }
"""

SHADOW_FRAGMENT = """
#version 330
uniform sampler2D albedo; uniform float cut;
in vec2 v_uv;
void main() { if (texture(albedo, v_uv).a < cut) discard; }
"""
