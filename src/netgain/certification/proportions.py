"""Proportions of samples with exact binomial intervals."""

from scipy.stats import beta

from netgain.core.record import Rate


def rate(count: int, samples: int, *, epsilon: float | None = None, label: int | None = None) -> Rate:
    """A proportion with its Clopper-Pearson 95 % interval.

    The interval is about other samples from the same source; the count itself is exact.

    Args:
        count: how many samples have the property.
        samples: how many were looked at, at least one.
        epsilon: the radius that the property is about.
        label: the class it is restricted to.

    Source:
        Clopper and Pearson (1934); the beta-quantile form is in Brown, Cai, DasGupta (2001), section 2.
    """
    low = 0.0 if count == 0 else float(beta.ppf(0.025, count, samples - count + 1))
    high = 1.0 if count == samples else float(beta.ppf(0.975, count + 1, samples - count))
    return Rate(value=count / samples, low=low, high=high, count=count, samples=samples, epsilon=epsilon, label=label)
