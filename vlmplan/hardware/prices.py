"""What does a device cost, and so a thousand requests? A table of one's own: vlmplan ships no prices.

prices.toml -> price an hour by device; with throughput -> cost of 1,000 requests. GPUs are counted, idle time is not.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from vlmplan.document import Document, load
from vlmplan.errors import InputError, check_name, check_range, nearest
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


def read_prices(path: Path, known: tuple[str, ...]) -> Prices:
    """Read a table of prices whose devices are all ``known``. Raises InputError."""
    if re.fullmatch(r"\W*[0-9][0-9.,]*\s*[^\s/.]*(/h\w*)?", str(path)) and not path.exists():
        raise InputError(
            f"--price: found '{path}', an amount, expected a file with the price of each device an hour; three lines: "
            'schema = "vlmplan.prices/1", currency = "USD", hour_price = { l4 = 0.8 }'
        )
    found = load(Prices, path)
    for name in found.hour_price:
        if name not in known:
            close = nearest(name, known)
            raise InputError(f"{path}: hour_price.{name}: no such device" + (f"; nearest: {close}" if close else ""))
    return found
