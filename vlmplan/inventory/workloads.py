"""What is usual of a kind of request? A workload by name, or in a file of one's own -> what it sets.

A request in tokens and pixels, limits in seconds and bytes, a task. Shipped ones lie in ``profiles/workloads``, a
source beside each number.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from vlmplan.document import Document
from vlmplan.errors import InputError, check_name, check_range, nearest
from vlmplan.inventory.budget import Budget, Preference
from vlmplan.models import Workload

LARGEST_SIDE = 65_536  # pixels, as of --image
_REQUEST = tuple(one.name for one in fields(Workload))
_LIMITS = tuple(one.name for one in fields(Budget))
_HEAD = ("name", "title", "also", "sources")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedWorkload(Document):
    """A request, the limits of its answer and what it is about; None is left to the usual case.

    The fields are those of :class:`Workload` and of :class:`Budget`, then ``task``, and ``prefer``: what error speed is
    worth. A video is ``images`` frames of one size. ``also`` are other words that people have for it. ``sources`` says
    of each field that is set where it comes from.
    """

    SCHEMA: ClassVar[str] = "vlmplan.workload/1"

    name: str
    title: str
    also: tuple[str, ...] = ()
    task: str | None = None
    text_tokens: int | None = None
    output_tokens: int | None = None
    images: int | None = None
    image: tuple[int, int] | None = None
    text_height_px: float | None = None
    cached_text_tokens: int | None = None
    cached_images: bool | None = None
    batch: int | None = None
    concurrency: int | None = None
    latency_s: float | None = None
    ttft_s: float | None = None
    tpot_s: float | None = None
    flops: float | None = None
    memory_bytes: float | None = None
    error_fraction: float | None = None
    prefer: Preference | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """A request that can be asked, limits that can be kept, and sources of what is set. Raises InputError."""
        for key in ("name", "title"):
            check_name(key, getattr(self, key))
        for word in self.also:
            check_name("also", word)
        for side in self.image or ():
            check_range("image", side, 1, LARGEST_SIDE)
        Workload(**{"text_tokens": self.cached_text_tokens or 0} | self.request)
        _ = self.budget
        known = [one.name for one in fields(self) if one.name not in _HEAD]
        for key in self.sources:
            if key not in known:
                raise InputError(f"sources: found '{key[:40]}', which is no field; nearest: {nearest(key, known)}")
            if getattr(self, key) is None:
                raise InputError(f"sources: found '{key}', which is not set; set it, or leave its source out")

    def _set(self, names: tuple[str, ...]) -> dict[str, Any]:
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @property
    def request(self) -> dict[str, Any]:
        """What it sets of a :class:`Workload`, by the field's name."""
        return self._set(_REQUEST)

    @property
    def budget(self) -> Budget | None:
        """Its limits; None where it sets none."""
        limits = self._set(_LIMITS)
        return Budget(**limits) if limits else None
