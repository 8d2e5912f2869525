"""Solve the transport problem between all channels and those that stay, and say how well.

    minimise Σᵢⱼ Pᵢⱼ Cᵢⱼ  over P ≥ 0 with P·1 = μ and Pᵀ·1 = ν        (Theus et al. 2024, eq. 1)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import ot
import torch
from torch import Tensor

from core.errors import TransportError


@dataclass(frozen=True)
class TransportPlan:
    """Where the mass of each channel goes.

    mass : (n, m) float64, mass moved from channel i to kept channel j.
    costs : (n, m) float64, cost of moving one unit of it.
    source, target : (n,) and (m,) float64, the measures asked for.
    solver : key of `SOLVERS`. cost : Σ mass·costs.
    source_error, target_error : largest deviation of the plan's marginals from the measures.
    iterations : of an iterative solver, else None. converged : whether the solver says so.
    """

    mass: Tensor
    costs: Tensor
    source: Tensor
    target: Tensor
    solver: str
    cost: float
    source_error: float
    target_error: float
    iterations: int | None
    converged: bool


@dataclass(frozen=True)
class Solver:
    """A row of `SOLVERS`: what it is in one line, and (μ, ν, C, ε) → P, iterations, converged."""

    about: str
    solve: Callable[
        [np.ndarray, np.ndarray, np.ndarray, float], tuple[np.ndarray, int | None, bool]
    ]


def _exact(mu, nu, costs, epsilon):
    plan, log = ot.emd(mu, nu, costs, numItermax=10_000_000, log=True)
    return plan, None, log["warning"] is None


def _sinkhorn(mu, nu, costs, epsilon):
    # Relative to the mean cost, so that one setting means the same in every group.
    strength = epsilon * float(costs.mean())
    if strength <= 0:  # all channels alike: any plan is optimal, the independent one is smoothest
        return np.outer(mu, nu), 0, True
    plan, log = ot.sinkhorn(
        mu, nu, costs, strength, method="sinkhorn_log", numItermax=5000, stopThr=1e-9, log=True,
        warn=False,
    )  # fmt: skip
    return plan, int(log["niter"]) + 1, bool(log["err"][-1] < 1e-9)


SOLVERS: dict[str, Solver] = {
    "exact": Solver("network simplex: a plan of least cost, sparse", _exact),
    "sinkhorn": Solver("entropy spreads the mass: smooth, the more the larger ε", _sinkhorn),
}


def transport(
    source: Tensor, target: Tensor, costs: Tensor, solver: str = "exact", epsilon: float = 0.05
) -> TransportPlan:
    """Solve the transport problem.

    Parameters
    ----------
    source, target : (n,) and (m,) masses, each summing to 1.
    costs : (n, m) cost of moving one unit of mass.
    solver : a key of `SOLVERS`.
    epsilon : strength of the entropy as a share of the mean cost, for `sinkhorn`.

    Raises
    ------
    TransportError
        If the costs or masses are not finite, or the solver returns no finite plan.
    """
    mu, nu, c = (np.ascontiguousarray(t.double().numpy()) for t in (source, target, costs))
    if not all(np.isfinite(a).all() for a in (mu, nu, c)):
        raise TransportError(
            "The transport problem holds numbers that are not finite. The network's weights hold "
            "infinities or NaN; load it again."
        )
    with warnings.catch_warnings():
        # Whether a solver converged is reported in the plan, not on the console.
        warnings.simplefilter("ignore")
        plan, iterations, converged = SOLVERS[solver].solve(mu, nu, c, epsilon)
    if not np.isfinite(plan).all():
        raise TransportError(
            f"The solver {solver!r} returned a plan that is not finite (ε = {epsilon}). Choose a "
            "larger ε or the exact solver."
        )
    return TransportPlan(
        mass=torch.from_numpy(plan),
        costs=torch.from_numpy(c),
        source=torch.from_numpy(mu),
        target=torch.from_numpy(nu),
        solver=solver,
        cost=float((plan * c).sum()),
        source_error=float(np.abs(plan.sum(1) - mu).max()),
        target_error=float(np.abs(plan.sum(0) - nu).max()),
        iterations=iterations,
        converged=converged,
    )
