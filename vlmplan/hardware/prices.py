"""What does a device cost, and so a thousand requests? A table of one's own: vlmplan ships no prices.

prices.toml, or ``l4=0.7,h100=3`` -> price an hour by device; with throughput -> cost of 1,000 requests. GPUs are
counted, idle time is not.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from vlmplan.document import Document, load
from vlmplan.errors import InputError, check_name, check_range
from vlmplan.records import dataclass

_HOUR_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices(Document):
    """Prices of one GPU (or machine without one) an hour, by device name; ``source`` says whose and when."""

    SCHEMA: ClassVar[str] = "vlmplan.prices/1"

    currency: str
    source: str | None = None
    hour_price: Mapping[str, float]

    def __post_init__(self) -> None:
        """Prices at least 0 and finite; a currency and a source that can be shown."""
        check_name("currency", self.currency, 20)
        if self.source is not None:
            check_name("source", self.source)
        for name, price in self.hour_price.items():
            check_range(f"hour_price.{name}", price, 0, 1e9)

    def thousand_requests(self, device: str, gpus: int, requests_per_s: float) -> float | None:
        """Return what 1,000 requests cost on ``gpus`` such devices kept busy; None where the price is not known."""
        price = self.hour_price.get(device)
        return None if price is None else 1000 * gpus * price / (_HOUR_S * requests_per_s)


def read_prices(given: str, meant: Callable[[str], str]) -> Prices:
    """Read prices: a file's table, or ``l4=0.7,h100=3`` (in USD). ``meant`` gives the device that a name means.

    Raises InputError, also for a device that is priced twice, by two of its names.
    """
    stated = re.fullmatch(r"\s*[^=,]+=\s*[^=,]+(?:,[^=,]+=[^=,]+)*,?\s*", given) and not Path(given).exists()
    if not stated and re.fullmatch(r"\W*[0-9][0-9.,]*\s*[^\s/.]*(/h\w*)?", given) and not Path(given).exists():
        raise InputError(
            f"--price: found '{given}', an amount, expected each device's price an hour: l4=0.7,h100=3, or a file "
            "(docs/prices.toml shows the format)"
        )
    table = _stated(given) if stated else load(Prices, Path(given))
    prices: dict[str, float] = {}
    for name, price in table.hour_price.items():
        where = "--price" if stated else f"{given}: hour_price"
        try:
            device = meant(name)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        if device in prices:
            raise InputError(f"{where}: found two prices of {device}; give one")
        prices[device] = price
    return replace(table, hour_price=prices)


def _stated(text: str) -> Prices:
    """Prices as words state them. Raises InputError."""
    prices: dict[str, float] = {}
    for part in text.strip().rstrip(",").split(","):
        name, _, amount = (word.strip() for word in part.partition("="))
        if not re.fullmatch(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", amount):
            raise InputError(f"--price: found '{part.strip()}', expected a price an hour, such as {name}=0.7")
        if name in prices:
            raise InputError(f"--price: found two prices of {name}; give one")
        prices[name] = float(amount)
    return Prices(currency="USD", source="--price", hour_price=prices)
