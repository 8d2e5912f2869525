"""Solve the transport problem between all channels and those that stay, and say how well.

    minimise Σᵢⱼ Pᵢⱼ Cᵢⱼ  over P ≥ 0 with P·1 = μ and Pᵀ·1 = ν        (Theus et al. 2024, eq. 1)

Some solvers leave out a condition on purpose, or make a plan that misses it pay. A channel whose
mass they move nowhere has a row of zeros in the plan: it is deleted instead of fused.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import ot
import torch
from torch import Tensor

from core.errors import Cancelled, TransportError

# Whether a solver converged is reported in the plan, not on the console. POT's network simplex has
# no argument for that, and `warnings.catch_warnings` is not safe where several threads solve.
warnings.filterwarnings("ignore", message="numItermax reached before optimality")

#: Iterations after which a solver that approaches its plan gives up, and those between two looks
#: at whether somebody wants it to stop.
LIMIT, STEP = 2000, 100
#: Pivots after which the network simplex gives up.
PIVOTS = 10_000_000
#: An iterative solver has converged when marginals or potentials move by less.
TOLERANCE = 1e-9
#: A channel of whose mass a relaxed solver moves a smaller share than this is not moved at all.
NEGLIGIBLE = 1e-9


@dataclass(frozen=True)
class TransportPlan:
    """Where the mass of each channel goes.

    mass : (n, m) float64, mass moved from channel i to kept channel j.
    costs : (n, m) float64, cost of moving one unit of it.
    source, target : (n,) and (m,) float64, the measures asked for.
    solver : key of `SOLVERS`. cost : Σ mass·costs.
    source_error, target_error : largest deviation of the plan's marginals from the measures, also
        where the solver misses them on purpose (`SOLVERS[solver].misses`).
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

    @property
    def moved(self) -> float:
        """The mass that is moved, 1 for solvers that move all of it."""
        return float(self.mass.sum())

    @property
    def dropped(self) -> Tensor:
        """(n,) bool: the channels none of whose mass is moved; rules delete them."""
        return self.mass.sum(1) == 0


@dataclass(frozen=True)
class Settings:
    """What solvers read besides masses and costs; see `transport`."""

    epsilon: float = 0.05
    relaxation: float = 1.0
    share: float = 0.9
    stop: Callable[[], bool] | None = None

    def look(self) -> None:
        """Raise `Cancelled` if somebody asked to stop."""
        if self.stop is not None and self.stop():
            raise Cancelled("The transport problem was stopped before it was solved.")


Solution = tuple[np.ndarray, int | None, bool]


@dataclass(frozen=True)
class Solver:
    """A row of `SOLVERS`: what it is in one line, and (μ, ν, C, settings) → P, rounds, converged.

    `reads` names the fields of the recipe it reads, `misses` the marginals that its plan may miss
    on purpose: "none", "target" or "both".
    """

    about: str
    solve: Callable[[np.ndarray, np.ndarray, np.ndarray, Settings], Solution]
    reads: tuple[str, ...] = ()
    misses: str = "none"


def _exact(mu: np.ndarray, nu: np.ndarray, costs: np.ndarray, settings: Settings) -> Solution:
    plan, log = ot.emd(mu, nu, costs, numItermax=PIVOTS, log=True)
    return plan, None, log["warning"] is None


def _sinkhorn(mu: np.ndarray, nu: np.ndarray, costs: np.ndarray, settings: Settings) -> Solution:
    # Relative to the mean cost, so that one setting means the same in every group.
    mean = float(costs.mean())
    if mean <= 0:  # all channels alike: any plan is optimal, the independent one is smoothest
        return np.outer(mu, nu), 0, True
    # As tensors: POT then takes torch's logsumexp, which needs an eighth of the time of scipy's.
    problem = [torch.from_numpy(part) for part in (mu, nu, costs)]
    done, potentials, error = 0, None, math.inf
    while done < LIMIT and not error < TOLERANCE:
        settings.look()
        plan, log = ot.sinkhorn(
            *problem, settings.epsilon * mean, method="sinkhorn_log", stopThr=TOLERANCE, log=True,
            numItermax=min(STEP, LIMIT - done), warn=False, warmstart=potentials,
        )  # fmt: skip
        done += int(log["niter"]) + 1
        potentials, error = (log["log_u"], log["log_v"]), float(log["err"][-1])
    return plan.numpy(), done, error < TOLERANCE


def _unbalanced(mu: np.ndarray, nu: np.ndarray, costs: np.ndarray, settings: Settings) -> Solution:
    """minimise Σ PᵢⱼCᵢⱼ + ε·KL(P | μνᵀ) + λ·KL(P1 | μ) + λ·KL(Pᵀ1 | ν)  (Chizat et al. 2018)

    Scaling in the log domain, which POT does not have for this problem: its kernel exp(−C/ε)
    underflows for small ε. After each round the potentials are shifted against each other to where
    the dual is largest (Séjourné et al. 2022), without which large λ converge slowly.
    """
    mean = float(costs.mean())
    if mean <= 0:
        return np.outer(mu, nu), 0, True
    strength, price = settings.epsilon * mean, settings.relaxation * mean
    log_mu, log_nu = (torch.from_numpy(part).log() for part in (mu, nu))
    c = torch.from_numpy(costs) / strength
    damping = price / (price + strength)
    inertia = strength / price
    u, v = torch.zeros_like(log_mu), torch.zeros_like(log_nu)  # the potentials over ε
    done, moved, before = 0, math.inf, torch.cat([u, v])
    while done < LIMIT and not moved < TOLERANCE:
        if done % STEP == 0:
            settings.look()
        u = -damping * torch.logsumexp(v + log_nu - c, 1)  # (n,)
        v = -damping * torch.logsumexp((u + log_mu)[:, None] - c, 0)  # (m,)
        shift = torch.logsumexp(log_mu - inertia * u, 0) - torch.logsumexp(log_nu - inertia * v, 0)
        u, v = u + shift / (2 * inertia), v - shift / (2 * inertia)
        now = torch.cat([u - u[0], v + u[0]])  # the plan sees no shift, nor its rounding
        moved, before = float((now - before).abs().max()), now
        done += 1
    plan = torch.exp((u + log_mu)[:, None] + (v + log_nu) - c)
    return plan.numpy(), done, moved < TOLERANCE


def _partial(mu: np.ndarray, nu: np.ndarray, costs: np.ndarray, settings: Settings) -> Solution:
    if settings.share == 1:
        return _exact(mu, nu, costs, settings)
    if not costs.max() > 0:  # no move is dearer than another: everybody gives the same share
        return settings.share * np.outer(mu, nu), None, True
    try:
        share = settings.share * min(mu.sum(), nu.sum())
        return ot.partial.partial_wasserstein(mu, nu, costs, share, numItermax=PIVOTS), None, True
    except ValueError as error:
        raise TransportError(
            f"The solver 'partial' found no plan that moves a share of {settings.share}. Choose "
            "another share or the exact solver."
        ) from error


def _nearest(mu: np.ndarray, nu: np.ndarray, costs: np.ndarray, settings: Settings) -> Solution:
    """Without a condition on the target every row is a problem of its own: go where it costs least.

    What costs the same, but for rounding, gets the same.
    """
    least = costs.min(1, keepdims=True)
    nearest = (costs <= least + 1e-12 * costs.max()).astype(float)  # (n, m)
    return mu[:, None] * nearest / nearest.sum(1, keepdims=True), None, True


SOLVERS: dict[str, Solver] = {
    "exact": Solver("network simplex: a plan of least cost, sparse", _exact),
    "sinkhorn": Solver(
        "entropy spreads the mass: smooth, the more the larger ε", _sinkhorn, ("epsilon",)
    ),
    "unbalanced": Solver(
        "as sinkhorn, but far moves may be left out: missing a mass costs relaxation × mean cost",
        _unbalanced, ("epsilon", "relaxation"), "both",
    ),
    "partial": Solver(
        "only a share of the mass is moved, the cheapest; the rest is deleted",
        _partial, ("share",), "both",
    ),
    "semi-relaxed": Solver(
        "every channel goes to the nearest that stays, however much gathers there",
        _nearest, (), "target",
    ),
}  # fmt: skip


def transport(
    source: Tensor,
    target: Tensor,
    costs: Tensor,
    solver: str = "exact",
    epsilon: float = 0.05,
    relaxation: float = 1.0,
    share: float = 0.9,
    stop: Callable[[], bool] | None = None,
) -> TransportPlan:
    """Solve the transport problem.

    Parameters
    ----------
    source, target : (n,) and (m,) masses, none negative, each summing to 1.
    costs : (n, m) cost of moving one unit of mass, none negative.
    solver : a key of `SOLVERS`.
    epsilon : strength of the entropy as a share of the mean cost, for `sinkhorn` and `unbalanced`.
    relaxation : for `unbalanced`, what missing a mass costs in mean costs, times the measures'
        Kullback–Leibler divergence. Large: as `sinkhorn`; small: only what is near is moved.
    share : for `partial`, the share of the mass that is moved, 0 < share ≤ 1.
    stop : asked now and then by iterative solvers; True ends them.

    Raises
    ------
    TransportError
        If costs or masses are not finite, negative or of the wrong length, masses do not sum to 1,
        a setting is out of its range, or the solver returns no finite plan.
    Cancelled
        If `stop` said so.
    """
    mu, nu, c = (np.ascontiguousarray(t.double().numpy()) for t in (source, target, costs))
    _check(mu, nu, c)
    for name, value, most in (
        ("epsilon", epsilon, math.inf), ("relaxation", relaxation, math.inf), ("share", share, 1)
    ):  # fmt: skip
        if not 0 < value <= most or math.isinf(value):
            end = "" if math.isinf(most) else f" of at most {most}"
            raise TransportError(f"{name} must be a positive number{end}; got {value!r}.")
    settings = Settings(epsilon, relaxation, share, stop)
    row = SOLVERS[solver]
    plan, iterations, converged = row.solve(mu, nu, c, settings)
    if not np.isfinite(plan).all():
        raise TransportError(
            f"The solver {solver!r} returned a plan that is not finite (ε = {epsilon}). Choose a "
            "larger ε or the exact solver."
        )
    if row.misses == "both":
        plan = np.where(plan.sum(1, keepdims=True) < NEGLIGIBLE * mu[:, None], 0.0, plan)
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


def _check(mu: np.ndarray, nu: np.ndarray, costs: np.ndarray) -> None:
    """Refuse what is no transport problem."""
    if costs.ndim != 2 or costs.shape != (mu.size, nu.size) or not costs.size:
        raise TransportError(
            f"Costs of the shape {costs.shape} do not fit {mu.size} source and {nu.size} target "
            "masses: a row a source and a column a target are needed."
        )
    if not all(np.isfinite(part).all() for part in (mu, nu, costs)):
        raise TransportError(
            "The transport problem holds numbers that are not finite. The network's weights hold "
            "infinities or NaN; load it again."
        )
    for name, part in (("source masses", mu), ("target masses", nu), ("costs", costs)):
        if part.min() < 0:
            raise TransportError(
                f"The {name} hold negative numbers, down to {part.min():.3g}; none may be."
            )
    for name, part in (("source", mu), ("target", nu)):
        if abs(part.sum() - 1) > 1e-6:
            raise TransportError(
                f"The {name} masses sum to {part.sum():.6g}; divide them by their sum to make it 1."
            )
