"""What a random training face looks like: expression, gaze, pose, camera and light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shared.arkit import EXPRESSION_NAMES

_INDEX = {name: i for i, name in enumerate(EXPRESSION_NAMES)}
# Poses people make, as (name, strength); "*" stands for Left and Right, which then differ a little.
_POSES: tuple[tuple[tuple[str, float], ...], ...] = (
    (("mouthSmile*", 0.9), ("cheekSquint*", 0.6), ("eyeSquint*", 0.3)),
    (("mouthSmile*", 1.0), ("cheekSquint*", 0.8), ("jawOpen", 0.35), ("mouthUpperUp*", 0.5),
     ("mouthLowerDown*", 0.4), ("eyeSquint*", 0.5)),
    (("jawOpen", 0.8), ("browInnerUp", 0.9), ("browOuterUp*", 0.8), ("eyeWide*", 0.9)),
    (("jawOpen", 1.0), ("mouthUpperUp*", 0.7), ("mouthLowerDown*", 0.7), ("mouthStretch*", 0.5),
     ("eyeSquint*", 0.7), ("browDown*", 0.5)),
    (("browDown*", 1.0), ("noseSneer*", 0.5), ("mouthPress*", 0.6), ("eyeSquint*", 0.5)),
    (("browInnerUp", 0.8), ("mouthFrown*", 0.9), ("mouthShrugLower", 0.6)),
    (("noseSneer*", 1.0), ("mouthUpperUp*", 0.6), ("browDown*", 0.5), ("eyeSquint*", 0.4)),
    (("mouthPucker", 0.9),), (("mouthFunnel", 0.8), ("jawOpen", 0.25)),
    (("mouthRollUpper", 0.7), ("mouthRollLower", 0.7), ("mouthPress*", 0.6)),
    (("cheekPuff", 0.9), ("mouthPress*", 0.5)), (("jawOpen", 0.5), ("tongueOut", 0.8)),
    (("mouthStretch*", 0.8), ("jawOpen", 0.25), ("mouthLowerDown*", 0.5)),
    (("jawOpen", 0.3), ("mouthClose", 0.28)), (("mouthDimple*", 0.7), ("mouthPress*", 0.3)),
)  # fmt: skip


@dataclass(frozen=True)
class Light:
    """Ambient light as irradiance coefficients and one key light, camera frame, linear."""

    sh: np.ndarray
    """(9,3) irradiance: 1; y, z, x; xy, yz, 3z^2-1, xz, x^2-y^2."""
    direction: np.ndarray
    """(3,) unit, towards the key light."""
    colour: np.ndarray
    """(3,) key radiance."""
    exposure: float


@dataclass(frozen=True)
class Camera:
    """Where the head is and how the crop looks at it."""

    rotations: np.ndarray
    """(4,3) joint rotation vectors."""
    direction: np.ndarray
    """(3,) unit, from the camera towards the head."""
    distance: float
    """Metres to the head's centre."""


def sample_expression(rng: np.random.Generator) -> np.ndarray:
    """(52,) coefficients: calm faces, speech, poses at full strength, winks and blinks."""
    w = np.zeros(len(EXPRESSION_NAMES))
    kind = rng.random()
    if kind < 0.12:
        pass
    elif kind < 0.62:
        for _ in range(1 if rng.random() < 0.7 else 2):
            pose = _POSES[rng.integers(len(_POSES))]
            gain = rng.beta(2.2, 1.3)
            lean = rng.normal(0, 0.25) if rng.random() < 0.5 else 0.0
            for name, strength in pose:
                value = strength * gain * np.clip(rng.normal(1, 0.25), 0.3, 1.5)
                for side, sign in (("Left", 1), ("Right", -1)) if "*" in name else (("", 0),):
                    i = _INDEX[name.replace("*", side)]
                    w[i] = max(w[i], value * np.clip(1 + sign * lean, 0, 2))
    else:
        # Any combination: openings and corners regress to the mean without their extremes.
        for i in rng.choice(len(w), rng.integers(3, 11), replace=False):
            if not EXPRESSION_NAMES[i].startswith(("eyeLook", "eyeBlink", "tongue", "jaw")):
                w[i] = rng.beta(1.1, 1.6)
        w[_INDEX["jawOpen"]] = rng.beta(0.7, 1.6)
        for name in ("jawLeft", "jawRight", "jawForward"):
            w[_INDEX[name]] = rng.beta(1, 2) * (rng.random() < 0.15)
    if rng.random() < 0.25:  # speech on top
        w[_INDEX["jawOpen"]] = max(w[_INDEX["jawOpen"]], rng.beta(1.0, 3.0) * 0.6)
    lids = rng.random()
    both = np.array([_INDEX["eyeBlinkLeft"], _INDEX["eyeBlinkRight"]])
    if lids < 0.12:
        w[both] = rng.uniform(0.75, 1.0)
    elif lids < 0.19:
        w[both[rng.integers(2)]] = rng.uniform(0.6, 1.0)
    else:
        w[both] = rng.beta(1.0, 5.0) * 0.8
    w[_INDEX["eyeWideLeft"]] *= w[both[0]] < 0.3
    w[_INDEX["eyeWideRight"]] *= w[both[1]] < 0.3
    w[_INDEX["mouthClose"]] = min(w[_INDEX["mouthClose"]], w[_INDEX["jawOpen"]])
    if w[_INDEX["jawOpen"]] < 0.3:
        w[_INDEX["tongueOut"]] = 0.0
    return np.clip(w, 0.0, 1.0)


def gaze_rotations(yaw: float, pitch: float, vergence: float) -> np.ndarray:
    """(2,3) rotation vectors of the left and right eye; yaw > 0 looks to the subject's right."""
    return np.array([[pitch, yaw + vergence, 0.0], [pitch, yaw - vergence, 0.0]])


def lids_follow_gaze(expression: np.ndarray, yaw: float, pitch: float) -> np.ndarray:
    """(52,) the coefficients with the ``eyeLook`` lid shapes that go with a gaze (radians)."""
    w = expression.copy()
    full = np.radians(28.0)
    w[_INDEX["eyeLookDownLeft"]] = w[_INDEX["eyeLookDownRight"]] = np.clip(pitch / full, 0, 1)
    w[_INDEX["eyeLookUpLeft"]] = w[_INDEX["eyeLookUpRight"]] = np.clip(-pitch / full, 0, 1)
    w[_INDEX["eyeLookInLeft"]] = w[_INDEX["eyeLookOutRight"]] = np.clip(yaw / full, 0, 1)
    w[_INDEX["eyeLookOutLeft"]] = w[_INDEX["eyeLookInRight"]] = np.clip(-yaw / full, 0, 1)
    return w


def euler_to_rotmat(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """(3,3) of yaw about y (down), then pitch about x, then roll about z, in the camera frame."""
    cy, sy, cp, sp, cr, sr = (
        np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    )  # fmt: skip
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rx = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    rz = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return rz @ rx @ ry


def rotmat_to_rotvec(r: np.ndarray) -> np.ndarray:
    """(3,) rotation vector of a rotation matrix."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(r).as_rotvec()


def sample_camera(rng: np.random.Generator) -> tuple[Camera, float, float]:
    """A camera and head pose, with the gaze's yaw and pitch (radians).

    Yaw to +-90 degrees; distances from a phone at arm's length (0.25 m) to a long lens (3 m).
    """
    yaw = rng.normal(0, 22) if rng.random() < 0.62 else rng.uniform(-92, 92)
    pitch = float(np.clip(rng.normal(2, 13), -45, 45))
    roll = float(np.clip(rng.normal(0, 9), -40, 40))
    total = euler_to_rotmat(*np.radians([yaw, pitch, roll]))
    # The neck takes part of the turn, so that shoulders do not always face with the head.
    head = np.radians(rng.normal(0, [7, 10, 5]))
    from scipy.spatial.transform import Rotation

    root = total @ Rotation.from_rotvec(head).as_matrix().T
    gaze_yaw = float(np.clip(np.radians(rng.normal(-0.25 * np.clip(yaw, -60, 60), 13)), -0.6, 0.6))
    gaze_pitch = float(np.clip(np.radians(rng.normal(0, 8)), -0.4, 0.45))
    distance = float(np.exp(rng.uniform(np.log(0.26), np.log(3.0))))
    vergence = float(np.arctan2(0.031, distance + rng.exponential(1.0)))
    rotations = np.zeros((4, 3))
    rotations[0], rotations[1] = rotmat_to_rotvec(root), head
    rotations[2:] = gaze_rotations(gaze_yaw, gaze_pitch, vergence)
    # Perspective off the optical axis: most faces are near the middle, selfies are not.
    spread = 0.10 if distance > 0.6 else 0.22
    direction = np.array([*np.clip(rng.normal(0, spread, 2), -0.5, 0.5), 1.0])
    return Camera(rotations, direction / np.linalg.norm(direction), distance), gaze_yaw, gaze_pitch


def sample_light(environment_sh: np.ndarray, band: np.ndarray, rng: np.random.Generator) -> Light:
    """Light from an HDR environment (its radiance coefficients (9,3)), turned about the vertical.

    ``band`` (9,) is the convolution with the clamped cosine.
    """
    a = rng.uniform(0, 2 * np.pi)
    c, s = np.cos(a), np.sin(a)
    sh = environment_sh.astype(np.float64).copy()
    # Turning about y mixes z with x, and yz with xy; the doubled angle mixes the last three.
    z, x = sh[2].copy(), sh[3].copy()
    sh[2], sh[3] = c * z - s * x, s * z + c * x
    xy, yz = sh[4].copy(), sh[5].copy()
    sh[4], sh[5] = c * xy + s * yz, c * yz - s * xy
    sh[6:] *= 0.5  # the rotated upper band is not needed exactly: it is softened instead
    # Constants of the real harmonics, so that the shader multiplies plain polynomials.
    constants = np.array(
        [0.282095, *[0.488603] * 3, 1.092548, 1.092548, 0.315392, 1.092548, 0.546274]
    )
    irradiance = sh * band[:, None] * constants[:, None]
    grey = irradiance.mean(axis=1, keepdims=True)
    irradiance = grey + (irradiance - grey) * rng.uniform(0.2, 0.8)
    irradiance *= rng.uniform(0.25, 1.0) / max(irradiance[0].mean(), 1e-3)
    azimuth, height = rng.uniform(-np.pi, np.pi) * rng.random() ** 0.5, rng.normal(-0.35, 0.45)
    direction = np.array(
        [np.sin(azimuth) * np.cos(height), np.sin(height), -np.cos(azimuth) * np.cos(height)]
    )
    warm = rng.normal(0, 0.12)
    strength = rng.gamma(1.6, 0.5) if rng.random() < 0.8 else 0.0
    colour = strength * np.array([1 + warm, 1.0, 1 - warm])
    exposure = float(np.clip(rng.lognormal(-0.1, 0.3), 0.4, 2.0))
    level = irradiance[0].mean() + 0.6 * strength
    return Light(irradiance, direction, colour, 0.8 * exposure / max(level, 0.3))
