"""A Gaussian mixture over identity coefficients, by expectation-maximisation."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import logsumexp


def _log_density(x: np.ndarray, mean: np.ndarray, chol: np.ndarray) -> np.ndarray:
    z = solve_triangular(chol, (x - mean).T, lower=True)
    return (
        -0.5 * (z**2).sum(axis=0)
        - np.log(np.diag(chol)).sum()
        - 0.5 * x.shape[1] * np.log(2 * np.pi)
    )


def fit_mixture(
    samples: np.ndarray, components: int, rng: np.random.Generator,
    regularisation: float = 0.02, iterations: int = 60,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Fit a mixture with full covariances.

    Args: samples (S,K); regularisation is added to each covariance's diagonal.
    Returns: weights (G,), means (G,K), precision_chol (G,K,K), upper triangular, with
    precision = precision_chol @ precision_chol.T.
    """
    count, size = samples.shape
    # Seeds far from each other make the starting point independent of the sample order.
    seeds = [int(rng.integers(count))]
    for _ in range(components - 1):
        gap = np.min([((samples - samples[s]) ** 2).sum(axis=1) for s in seeds], axis=0)
        seeds.append(int(gap.argmax()))
    nearest = np.argmin([((samples - samples[s]) ** 2).sum(axis=1) for s in seeds], axis=0)
    responsibility = np.eye(components)[nearest]
    for _ in range(iterations):
        mass = responsibility.sum(axis=0) + 1e-9
        means = responsibility.T @ samples / mass[:, None]
        chols = []
        for g in range(components):
            centred = samples - means[g]
            covariance = (responsibility[:, g, None] * centred).T @ centred / mass[g]
            chols.append(np.linalg.cholesky(covariance + regularisation * np.eye(size)))
        weights = mass / mass.sum()
        log_joint = np.stack(
            [np.log(weights[g]) + _log_density(samples, means[g], chols[g])
             for g in range(components)], axis=1,
        )  # fmt: skip
        responsibility = np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True))
    precision_chol = np.stack(
        [solve_triangular(c, np.eye(size), lower=True).T for c in chols]
    )
    return weights, means, precision_chol
