"""The smallest difference of accuracy that so many videos can show, and the sentence that says so under a table."""

from __future__ import annotations

import numpy as np
from scipy import optimize, stats

from migstudy.emotion.small_sample import Answers

DESIGNS = ("chance", "paired", "unpaired")


def detectable_difference(
    n: int, design: str = "paired", base: float = 0.5, discordant: float | None = None, effect: float = 1.0, power: float = 0.8,
    alpha: float = 0.05,
) -> float:  # fmt: skip
    """The least difference of accuracies that n videos show with this power; NaN where none above `base` suffices.

    design: "chance" = one model against accuracy `base`, one-sided as `chance_test`; "paired" = two models on the same n videos,
    two-sided (McNemar; Connor 1987), one alone of which is right on the share `discordant` of them (None: on as many as when
    they err independently, the worse at accuracy `base`); "unpaired" = two models on n other videos each, two-sided, the worse
    at `base`. effect: design effect of people (`design_effect`), by which n counts less. Normal approximation.
    """
    if design not in DESIGNS or n < 1 or not 0 < base < 1 or not 0 < alpha < power < 1 or effect <= 0:
        raise ValueError(
            f"design {design!r}, n {n}, base {base}, power {power}, alpha {alpha}, effect {effect}: give one of "
            f"{', '.join(DESIGNS)}, n >= 1, 0 < base < 1, 0 < alpha < power < 1 and an effect above 0"
        )
    z_alpha = stats.norm.isf(alpha if design == "chance" else alpha / 2)
    z_power, size, var = stats.norm.ppf(power), n / effect, lambda p: p * (1 - p)
    if discordant is not None and not 0 <= discordant <= 1:
        raise ValueError(f"discordant share {discordant} must lie in [0, 1]")

    def lacking(d: float) -> float:
        if design == "chance":
            needed = z_alpha * np.sqrt(var(base)) + z_power * np.sqrt(var(base + d))
        elif design == "paired":
            differ = base + (base + d) - 2 * base * (base + d) if discordant is None else discordant
            needed = z_alpha * np.sqrt(differ) + z_power * np.sqrt(max(differ - d * d, 0.0))
        else:
            needed = z_alpha * np.sqrt(2 * var(base + d / 2)) + z_power * np.sqrt(var(base) + var(base + d))
        return needed - d * np.sqrt(size)

    most = 1 - base if design != "paired" or discordant is None else discordant
    if most <= 0 or lacking(most) > 0:
        return float("nan")
    return float(optimize.brentq(lacking, 0, most))


def design_effect(answers: Answers) -> float:
    """How much more the accuracy varies than of as many independent videos, at least 1 (Kish 1965).

    The variance between people of their right answers, over the binomial one; 1 where there is nothing to estimate it from.
    """
    right = ((answers.probabilities >= answers.thresholds) == (answers.labels == 1)).mean(0)
    people, mean = int(answers.clusters.max()) + 1, right.mean()
    if people < 2 or not right.var():
        return 1.0
    excess = np.bincount(answers.clusters, right - mean)
    return float(max(1.0, people / (people - 1) * (excess @ excess) / (right.var() * len(right))))


def discordant_share(a: Answers, b: Answers) -> float:
    """Share of videos that exactly one of two models answers rightly, averaged over all pairs of their runs."""
    right = [((x.probabilities >= x.thresholds) == (x.labels == 1)).astype(np.float64) for x in (a, b)]
    return float(np.mean([np.abs(one - two).mean() for one in right[0] for two in right[1]]))


def mdd_note(
    n_videos: int, n_subjects: int, discordant: float | None = None, effect: float = 1.0, base: float = 0.5,
    power: float = 0.8, alpha: float = 0.05, majority: float = 0.5,
) -> str:  # fmt: skip
    """One sentence for under a table: which differences of accuracy these videos can show, against chance and between models.

    Arguments as of `detectable_difference`; base: accuracy of the models compared; majority: of always answering the commoner
    result, which is what a model without knowledge reaches.
    """
    shared = {"effect": effect, "power": power, "alpha": alpha}
    chance = detectable_difference(n_videos, "chance", majority, **shared)
    paired = detectable_difference(n_videos, "paired", base, discordant, **shared)
    apart = detectable_difference(n_videos, "unpaired", base, **shared)
    models = "err independently" if discordant is None else f"differ in the rightness of {discordant:.0%}"
    above = "chance" if majority == 0.5 else f"always the commoner result, {majority:.1%}"
    people = f" (design effect of people {effect:.2f})" if effect > 1 else ""
    return (
        f"Minimum detectable difference of accuracy, {n_videos} videos of {n_subjects} people{people}, power {power:.0%}, "
        f"level {alpha:.0%}: {_points(chance)} above {above} (one-sided); {_points(paired)} between two models on these videos "
        f"that {models}; {_points(apart)} between models tested on different videos."
    )


def _points(share: float) -> str:
    return "more than there is room for" if np.isnan(share) else f"{100 * share:.1f} points"
