"""MediaPipe FaceMesh over a pipe; runs in an environment of its own and imports nothing of Mien.

Requests on standard input: a line of JSON with `height`, `width`, `video`, `max_faces` and `clip`,
then height x width x 3 bytes of RGB. Replies on standard output: a line of JSON with `faces` and
`seconds` (of the processor), then faces x 478 x 2 float32, pixels with centres at integers. With
`video` the frames of one `clip` number follow each other; without it each picture is alone.
"""

from __future__ import annotations

import json
import os
import sys
import time

VERTICES = 478


def main() -> None:
    """Answer requests until standard input ends."""
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # Whatever the library prints must not get between the replies.
    os.dup2(2, 1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import mediapipe
    import numpy as np

    meshes: dict = {}
    while line := requests.readline():
        request = json.loads(line)
        height, width = request["height"], request["width"]
        pixels = np.frombuffer(requests.read(height * width * 3), np.uint8)
        key = (request["video"], request["max_faces"], request["clip"])
        if key not in meshes:
            for old in [k for k in meshes if k[0]]:
                meshes.pop(old).close()
            meshes[key] = mediapipe.solutions.face_mesh.FaceMesh(
                static_image_mode=not request["video"],
                max_num_faces=request["max_faces"],
                refine_landmarks=True,
            )
        began = time.process_time()
        result = meshes[key].process(pixels.reshape(height, width, 3))
        seconds = time.process_time() - began
        faces = result.multi_face_landmarks or []
        points = np.array([[(p.x, p.y) for p in face.landmark] for face in faces], np.float32)
        points = points.reshape(-1, VERTICES, 2) * np.array(
            [width, height], np.float32
        ) - np.float32(0.5)
        replies.write(json.dumps({"faces": len(faces), "seconds": seconds}).encode() + b"\n")
        replies.write(points.astype("<f4").tobytes())
        replies.flush()


if __name__ == "__main__":
    main()
