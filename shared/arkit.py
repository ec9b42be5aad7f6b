"""The 52 ARKit facial expressions by name."""

EXPRESSION_NAMES: tuple[str, ...] = (
    "eyeBlinkLeft",
    "eyeLookDownLeft",
    "eyeLookInLeft",
    "eyeLookOutLeft",
    "eyeLookUpLeft",
    "eyeSquintLeft",
    "eyeWideLeft",
    "eyeBlinkRight",
    "eyeLookDownRight",
    "eyeLookInRight",
    "eyeLookOutRight",
    "eyeLookUpRight",
    "eyeSquintRight",
    "eyeWideRight",
    "jawForward",
    "jawLeft",
    "jawRight",
    "jawOpen",
    "mouthClose",
    "mouthFunnel",
    "mouthPucker",
    "mouthLeft",
    "mouthRight",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "noseSneerLeft",
    "noseSneerRight",
    "tongueOut",
)
"""The 52 names of ARFaceAnchor.BlendShapeLocation, lowerCamel, in the order of Apple's
documentation. "Left" and "Right" are the subject's own."""


def to_pascal_case(name: str) -> str:
    """Return an ARKit name as Live Link Face writes it ("jawOpen" becomes "JawOpen")."""
    if not name:
        raise ValueError("an expression name may not be empty")
    return name[0].upper() + name[1:]


def from_pascal_case(name: str) -> str:
    """Return a Live Link Face name as ARKit writes it ("JawOpen" becomes "jawOpen")."""
    if not name:
        raise ValueError("an expression name may not be empty")
    return name[0].lower() + name[1:]


def mirrored(name: str) -> str:
    """Return the name of the same expression on the other side of the face.

    Expressions without a side, such as "jawOpen", are their own mirror.
    """
    if name.endswith("Left"):
        return name[: -len("Left")] + "Right"
    if name.endswith("Right"):
        return name[: -len("Right")] + "Left"
    return name
