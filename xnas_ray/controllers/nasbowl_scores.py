"""Which candidate NAS-BOWL evaluates next: acquisition functions over what it believes of every metric."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from xnas_ray.controllers.acquisition import (
    expected_improvement,
    log_expected_improvement,
    log_probability_above,
)
from xnas_ray.controllers.hypervolume import Scalarisation, reference_point
from xnas_ray.controllers.nasbowl_models import Belief, Beliefs, Surrogates
from xnas_ray.controllers.nasbowl_settings import Settings
from xnas_ray.pareto import pareto_mask

FANTASY_SAMPLES = 16
SAMPLED_JOINTLY = 512


def scores(
    settings: Settings, surrogates: Surrogates, beliefs: Beliefs, open_: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """How much each of the N candidates is worth; the largest is evaluated next.

    With constraints the logarithm of the probability that all of them hold is added to the logarithm of the expected
    improvement over the best feasible outcome (Gardner et al., ICML 2014), and likewise to other scores; while nothing
    is feasible it is all that counts.

    Args:
        settings: which acquisition function.
        surrogates: what was observed.
        beliefs: up to date.
        open_: which candidates can be chosen, N truth values; the scores of others mean nothing.
        rng: of everything that is drawn.
    """
    feasible = surrogates.feasible
    chance = np.zeros(len(beliefs.rows))
    for limit, belief in beliefs.limits:
        threshold = float(belief.model.scale.standardise([limit.value])[0])
        each = log_probability_above(belief.means, belief.deviations, threshold)
        chance = chance + logsumexp(each, axis=0, b=belief.weights[:, None])
    if surrogates.limits and not feasible.any():
        return chance
    if len(beliefs.goals) > 1:
        return chance + _several(settings, surrogates, beliefs, open_, feasible, rng)
    value = _single(settings, beliefs.goals[0], open_, feasible if surrogates.limits else None, rng)
    return np.exp(chance) * value if settings.acquisition == "ei" else chance + value


def _single(
    settings: Settings, goal: Belief, open_: np.ndarray, feasible: np.ndarray | None, rng: np.random.Generator
) -> np.ndarray:
    if settings.acquisition == "ucb":
        mean, deviation = goal.moments
        return mean + settings.beta * deviation
    if settings.acquisition == "thompson":
        return _sampled([goal], open_, rng)[0]
    draws = _draws(settings, goal.pending, rng)
    means, assumed = goal.shifted(draws), goal.assumed(draws)
    bests = np.full(
        means.shape[:2], goal.model.believed_best() if settings.mode.believed else goal.model.best(feasible)
    )
    if assumed.size and feasible is None:  # what is pending may turn out to be infeasible
        bests = np.maximum(bests, assumed.max(axis=2))
    weights = np.repeat(goal.weights / len(draws), len(draws))[:, None]
    shape = (-1, means.shape[2])
    deviations = np.broadcast_to(goal.deviations[:, None], means.shape).reshape(shape)
    measure = expected_improvement if settings.acquisition == "ei" else log_expected_improvement
    each = measure(means.reshape(shape), deviations, bests.reshape(-1, 1))
    if settings.acquisition == "ei":
        return np.asarray((weights * each).sum(axis=0))
    return np.asarray(logsumexp(each, axis=0, b=weights))


def _several(
    settings: Settings,
    surrogates: Surrogates,
    beliefs: Beliefs,
    open_: np.ndarray,
    feasible: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Hypervolume scalarisation in a random direction, or the expected improvement of the hypervolume.

    The mixtures count by their first two moments: every combination of the objectives' members would be too many.
    """
    goals = beliefs.goals
    observed = surrogates.targets()
    observed = observed[feasible] if feasible.any() else observed
    draws = [_draws(settings, goal.pending, rng)[:1] for goal in goals]
    mixed = [goal.moments for goal in goals]
    deviation = np.stack([one for _, one in mixed])
    mean = np.stack([np.tensordot(g.weights, g.shifted(d)[:, 0], axes=1) for g, d in zip(goals, draws, strict=True)])
    assumed = [np.tensordot(g.weights, g.assumed(d)[:, 0], axes=1) for g, d in zip(goals, draws, strict=True)]
    known = np.concatenate([observed, np.stack(assumed, axis=1)])
    if settings.several == "ehvi" and settings.acquisition in ("log_ei", "ei"):
        from xnas_ray.surrogates.ehvi import log_expected_hypervolume_improvement

        front, reference = known[pareto_mask(known)], reference_point(known)
        return log_expected_hypervolume_improvement(mean.T, deviation.T, front=front, reference=reference)
    scalarisation = Scalarisation.draw(known, rng)
    if settings.acquisition == "ucb":
        return scalarisation.value((mean + settings.beta * deviation).T)
    if settings.acquisition == "thompson":
        return scalarisation.value(_sampled(goals, open_, rng).T)
    best = max(0.0, float(scalarisation.value(known).max()))
    return scalarisation.log_expected_improvement(mean, deviation, best)


def _draws(settings: Settings, pending: int, rng: np.random.Generator) -> np.ndarray:
    """Standard normal numbers that make the fantasies, S x p; one row of zeros where they are posterior means."""
    if settings.fantasies == "samples" and pending:
        return rng.standard_normal((FANTASY_SAMPLES, pending))
    return np.zeros((1, pending))


def _sampled(goals: list[Belief], open_: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A joint posterior sample of every goal, m x N; -inf but at the open candidates with the highest upper bounds.

    A joint sample of N candidates costs O(N³), and one that is not among the ``SAMPLED_JOINTLY`` best three deviations
    above its mean does not win.
    """
    upper = np.stack([mean + 3 * deviation for mean, deviation in (goal.moments for goal in goals)]).max(axis=0)
    ranked = np.argsort(np.where(open_, -upper, np.inf), kind="stable")
    columns = np.sort(ranked[: min(SAMPLED_JOINTLY, int(open_.sum()))])
    found = np.full((len(goals), upper.size), -np.inf)
    for i, goal in enumerate(goals):
        found[i, columns] = goal.sample(columns, rng)
    return found
