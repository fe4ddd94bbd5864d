"""What is asked of a service under load, and what it does: documents that estimates and plans hold.

Rates are requests a second, times seconds. ``vlmplan.serving`` works them out.
"""

import enum

from vlmplan.errors import InputError, check_range
from vlmplan.records import dataclass

PERCENTS = (50, 95, 99)
LEAST_RATE_PER_S, MOST_RATE_PER_S = 1e-4, 1e5
MOST_REPLICAS = 100_000
BEYOND_S = 1e9  # the end of an interval of times in which the replicas no longer bear the rate


class Timed(enum.StrEnum):
    """A time of a request that limits are of."""

    LATENCY = "latency"
    TTFT = "ttft"
    TPOT = "tpot"


@dataclass(frozen=True, slots=True, kw_only=True)
class PercentileLimit:
    """What ``percent`` of 100 requests keep to."""

    of: Timed
    percent: int
    limit_s: float

    def __post_init__(self) -> None:
        """A percentile that is told, a limit above zero."""
        if self.percent not in PERCENTS:
            raise InputError(f"percent: expected one of {', '.join(map(str, PERCENTS))}, found {self.percent}")
        check_range("limit_s", self.limit_s, 1e-9, 1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadAsked:
    """Requests that come at a mean rate, as a Poisson process or as a ``trace`` has them, and what they are to keep.

    ``replicas`` is None where as few as keep the limits are asked for.
    """

    rate_per_s: float
    trace: str | None = None
    replicas: int | None = None
    limits: tuple[PercentileLimit, ...] = ()

    def __post_init__(self) -> None:
        """A rate that can be, replicas from 1 on."""
        check_range("rate_per_s", self.rate_per_s, LEAST_RATE_PER_S, MOST_RATE_PER_S)
        check_range("replicas", self.replicas, 1, MOST_REPLICAS)

    def least_s(self, of: Timed) -> float | None:
        """The shortest limit of a time, which a request alone has to keep, too; None without one."""
        return min((one.limit_s for one in self.limits if one.of is of), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """A time of requests by percentile, with the interval that holds the 95th."""

    p50_s: float
    p95_s: float
    p99_s: float
    p95_interval_s: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPoint:
    """One replica at one rate."""

    rate_per_s: float
    utilisation_fraction: float
    batch_in_flight: float
    ttft_p95_s: float
    latency_p50_s: float
    latency_p95_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FewerTokens:
    """What one replica bears where an image has fewer visual tokens."""

    visual_tokens: int
    capacity_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A rate on so many replicas: what each bears, how busy it is, and what requests see.

    ``capacity_per_s`` is the most that one replica bears, ``by_host`` where the host's work on images sets it;
    utilisation is the rate over it. ``batch_in_flight`` is the mean number of requests that one replica works on, of
    ``slots``. ``kept_fraction`` of requests keep all limits, by the medians; the times are None where the replicas do
    not bear the rate. ``sizes`` is of how many logged requests those that were simulated are, 0 where they are alike.
    ``least_replicas`` is how many keep the limits with the confidence asked for, or bear the rate
    where there are none; None where no number does; ``median_replicas`` how many do where the medians hold.
    """

    asked: LoadAsked
    requests: int
    seed: int
    replicas: int
    least_replicas: int | None
    median_replicas: int | None
    gpu_rate_per_s: float
    capacity_per_s: float
    capacity_interval_per_s: tuple[float, float]
    by_host: bool
    utilisation_fraction: float
    batch_in_flight: float | None = None
    slots: int
    sizes: int = 0
    kept_fraction: float | None = None
    ttft: Percentiles | None = None
    tpot: Percentiles | None = None
    latency: Percentiles | None = None
    knee_rate_per_s: float
    curve: tuple[LoadPoint, ...] = ()
    fewer_tokens: tuple[FewerTokens, ...] = ()

    @property
    def stable(self) -> bool:
        """Whether the replicas bear the rate."""
        return self.latency is not None

    @property
    def goodput_per_s(self) -> float | None:
        """Requests a second that keep all limits; None where the replicas do not bear the rate."""
        return None if self.kept_fraction is None else self.asked.rate_per_s * self.kept_fraction
