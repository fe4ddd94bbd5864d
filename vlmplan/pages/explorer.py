"""What if it were asked otherwise? A page whose sliders ask again, and the answers that it shows.

(what is offered, the API's functions) -> the page's files, and for every form that it sends a piece of JSON: the choice
in a sentence, its charts, the command that answers the same. Charts are plotly's, as on the page about a plan. A form
can name only devices, tasks and models of the page's own lists, so that none reads a file.
"""

import json
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlmplan import __version__, inert
from vlmplan.cost import Estimate, one_sided
from vlmplan.errors import Assumed, Infeasible, InputError, VlmplanError, mistyped
from vlmplan.hardware import Precision, Runtime
from vlmplan.inventory import Preference, catalogue
from vlmplan.models import Tokens
from vlmplan.pages import page_charts
from vlmplan.pages.html_page import libraries, templates
from vlmplan.pages.loopback import File
from vlmplan.planning import Kept, Outline, Plan, keeping
from vlmplan.units import format_seconds, parse_rate
from vlmplan.views import expected, percent, sentence, time_range, tokens, unsure

IMAGES = ("224x224", "336x336", "448x448", "640x480", "1024x768", "1280x720", "1920x1080", "2560x1440", "3840x2160")
_WHOLE = ("images", "text_tokens", "output_tokens", "concurrency")
_TEXTS = ("latency", "ttft", "image", "rate")
_MOST = 5000  # characters of a field; a path may be as long
_HALF = 50  # per cent: the first task's share of a mix, where nothing is said


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a page's lists hold, and what it starts with. Devices are names and titles; "" is this machine."""

    devices: Mapping[str, str]
    tasks: tuple[str, ...]
    start: Mapping[str, str]

    @property
    def lists(self) -> dict[str, tuple[str, ...]]:
        """What each field with a list may be, beside nothing."""
        return {
            "hardware": tuple(self.devices),
            "task": self.tasks,
            "second_task": self.tasks,
            "runtime": tuple(Runtime),
            "precision": tuple(Precision),
            "prefer": tuple(one for one in Preference if one is not Preference.BALANCED),  # the usual one
        }


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise mistyped(_option(name), text, "a whole number")
    return int(text)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _rate(text: str) -> str:
    """A rate, written so that it names no file. Raises InputError."""
    try:
        return f"{parse_rate(text):.6g}/s"
    except InputError as error:
        raise InputError(f"--rate: {error}") from None


def _task(form: Mapping[str, str]) -> str | None:
    """The task, or the mix of two."""
    first, second = form.get("task"), form.get("second_task")
    if not first or not second or second == first:
        return first or None
    share = _whole("share", form.get("share") or str(_HALF))
    return f"{first}={share / 100:g},{second}={(100 - share) / 100:g}"


def words(form: Mapping[str, str], offer: Offer) -> dict[str, Any]:
    """Return what the form asks in the words of ``recommend``; what is empty is left out. Raises InputError."""
    given = {name: text.strip() for name, text in form.items() if text.strip()}
    for name, listed in offer.lists.items():
        known = {inert.html(one).strip(): one for one in listed}  # as the page has them
        if name in given and given[name] not in known:
            raise mistyped(_option(name), given[name], "one of this page's list")
        given |= {name: known[given[name]]} if name in given else {}
    task = _task(given)
    asked: dict[str, Any] = {name: given[name] for name in ("hardware", "latency", "ttft") if name in given}
    asked |= {} if task is None else {"task": task}
    asked |= {name: _whole(name, given[name]) for name in _WHOLE if name in given}
    asked |= {"rate": _rate(given["rate"])} if "rate" in given else {}
    return asked | {name: given[name] for name in ("image", "runtime", "precision", "prefer") if name in given}


def command(name: str, asked: Mapping[str, Any]) -> str:
    """Return the command line that asks the same."""
    options = (f"{_option(word)} {inert.argument(str(value))}" for word, value in asked.items())
    return " ".join(["vlmplan", name, *options])


def _outlines(plan: Plan) -> list[dict[str, Any]]:
    """The rows of the front's table."""
    return [
        {
            "error": percent(one.predicted_error),
            "latency": format_seconds(one.latency_s),
            "ttft": format_seconds(one.ttft_s),
            "tokens": one.visual_tokens,
            "model": f"{one.model} {one.placed}",
            "chosen": plan.is_choice(one),
        }
        for one in plan.front
    ]


def _known_error(plan: Plan, count: int) -> str:
    """The error of the choice with another number of tokens, where the plan lists it."""
    choice, listed = plan.choice, (*plan.front, *plan.runners_up, plan.fewer_tokens, plan.more_tokens)

    def same(one: Outline | None) -> bool:
        return one is not None and (one.model, one.precision, one.gpus, one.visual_tokens) == (
            choice.model, choice.precision, choice.gpus, count,
        )  # fmt: skip

    error = next((one.predicted_error for one in listed if one is not None and same(one)), None)
    return "" if error is None else f" Predicted error {percent(error)} instead of {percent(choice.predicted_error)}."


def _told(plan: Plan, tried: Estimate, held: Estimate) -> str:
    """What another number of tokens comes to, and whether the upper ends of ``held`` keep the limits."""
    limits = plan.budget
    ends = (
        ("latency", held.latency_interval_s[1], limits.latency_s),
        ("TTFT", held.ttft_interval_s[1], limits.ttft_s),
        ("TPOT", (held.tpot_interval_s or (0.0, 0.0))[1], limits.tpot_s),
    )
    broken = [
        f"{name} up to {format_seconds(upper_s)} exceeds {format_seconds(limit_s)}"
        for name, upper_s, limit_s in ends
        if limit_s is not None and upper_s > limit_s
    ]
    keeps = f"It breaks the limits: {'; '.join(broken)}." if broken else "It keeps the limits of time."
    cannot = "".join(f" Cannot be run: {obstacle}." for obstacle in tried.obstacles)
    return (
        f"{tokens(tried.visual_tokens)} instead of {plan.choice.visual_tokens}: an answer takes "
        f"{format_seconds(tried.latency_s)} ({time_range(tried.latency_interval_s)}), the first word after "
        f"{format_seconds(tried.ttft_s)} ({time_range(tried.ttft_interval_s)}). {keeps}"
        f"{_known_error(plan, tried.visual_tokens)}{cannot}"
    )


def _inert(value: Any) -> Any:
    """The texts of an answer, for a page that shows them as texts."""
    if isinstance(value, str):
        return inert.html(value)
    if isinstance(value, dict):
        return {name: one if name in {"command", "charts"} else _inert(one) for name, one in value.items()}
    return [_inert(one) for one in value] if isinstance(value, list) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Explorer:
    """A page, and what answers it: the API's ``recommend``, ``estimate`` and ``tokens``, one form at a time.

    Profiles are ``read`` once; what is ``kept`` spares pricing all again where only limits moved.
    """

    offer: Offer
    recommend: Callable[..., Plan]
    estimate: Callable[..., Estimate]
    count: Callable[..., Tokens]
    read: dict[tuple[str, str, str], Any] = field(default_factory=dict, repr=False, compare=False)
    kept: Kept = field(default_factory=Kept, repr=False, compare=False)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    last: dict[str, tuple[Plan, list[str]]] = field(default_factory=dict, repr=False, compare=False)

    def files(self) -> dict[str, File]:
        """Return the page's files, by their paths. Raises Unavailable where the extra is missing."""
        jinja2, plotly = libraries()
        page = templates(jinja2).get_template("explore.html.jinja").render(
            offer=self.offer, images=IMAGES, version=__version__, start=self.offer.start, lists=self.offer.lists
        )  # fmt: skip
        here = Path(__file__).parent
        script = "".join((here / name).read_text(encoding="utf-8") for name in ("charts.js", "explore.js"))
        return {
            "": File(kind="text/html; charset=utf-8", content=page.encode()),
            "explore.js": File(kind="text/javascript; charset=utf-8", content=script.encode()),
            "plotly.js": File(kind="text/javascript; charset=utf-8", content=plotly.offline.get_plotlyjs().encode()),
        }

    def check(self) -> None:
        """Raise InputError where what the page starts with cannot be asked; what nothing keeps can."""
        lists = self.offer.lists
        shown = self.answer({name: inert.html(one) if name in lists else one for name, one in self.offer.start.items()})
        if shown["outcome"] == "refused":
            raise InputError(shown["message"].removesuffix("."))

    def answer(self, form: Any) -> dict[str, Any]:
        """Return what the page shows for a form. Raises InputError for what is no form; other errors are answers."""
        fields = {*self.offer.lists, *_WHOLE, *_TEXTS, "share", "visual_tokens"}
        if not isinstance(form, dict) or not all(isinstance(text, str) for text in form.values()):
            raise InputError("expected an object of texts")
        if unknown := set(form) - fields or {name for name, text in form.items() if len(text) > _MOST}:
            raise InputError(f"{min(unknown)[:40]}: expected a field of the page, of at most {_MOST} characters")
        started_s = time.perf_counter()
        with self.lock, catalogue.held(self.read), keeping(self.kept):
            shown = self._answered(form)
        shown["elapsed_s"] = time.perf_counter() - started_s
        return {name: one if name in {"command", "charts"} else _inert(one) for name, one in shown.items()}

    def _plan(self, asked: Mapping[str, Any]) -> tuple[Plan, list[str]]:
        """The plan and what was assumed; the last ones again where another number of tokens is all that is new."""
        key = command("recommend", asked)
        if key not in self.last:
            with warnings.catch_warnings(record=True) as heard:  # the process's own, hence the lock
                warnings.simplefilter("always", Assumed)
                plan = self.recommend(**asked)
            assumed = (str(one.message) for one in heard if issubclass(one.category, Assumed))
            self.last.clear()
            self.last[key] = plan, list(dict.fromkeys(assumed))
        return self.last[key]

    def _answered(self, form: Mapping[str, str]) -> dict[str, Any]:
        try:
            asked = words(form, self.offer)
            plan, assumed = self._plan(asked)
        except VlmplanError as error:
            outcome = "infeasible" if isinstance(error, Infeasible) else "refused"
            message = str(error)
            return {"outcome": outcome, "message": f"{message[:1].upper()}{message[1:]}.", "assumed": []}
        tried, options = self._tried(plan, asked, form.get("visual_tokens", ""))
        choice = plan.choice
        charts = {
            "front": page_charts.front_chart(plan),
            "parts": page_charts.parts_chart(plan),
            "knee": page_charts.knee_chart(plan, tried),
            "load": page_charts.load_chart(plan),
        }
        return {
            "outcome": "plan",
            "sentence": sentence(plan),
            "assumed": assumed,
            "expected": list(expected(plan)),
            "unsure": unsure(plan),
            "choice": {
                "model": choice.model, "precision": choice.precision, "visual_tokens": choice.visual_tokens,
                "gpus": choice.gpus,
            },
            "counted": f"{plan.candidates_considered} configurations were priced, {plan.candidates_feasible} keep the "
            "limits.",
            "command": command("recommend", asked),
            "front": _outlines(plan),
            "tokens": options,
            "charts": {name: None if one is None else json.loads(one.to_json()) for name, one in charts.items()},
        }  # fmt: skip

    def _tried(self, plan: Plan, asked: Mapping[str, Any], wanted: str) -> tuple[Estimate | None, dict[str, Any]]:
        """Price the choice with another number of visual tokens, where one is wanted that an image can have."""
        choice, image = plan.choice, "x".join(map(str, plan.workload.image))
        counted = self.count(model=plan.model, image=image, images=plan.workload.images)
        reached = (one.visual_tokens for one in (*counted.reachable, counted.native))
        counts = sorted({choice.visual_tokens, *reached})
        options: dict[str, Any] = {"counts": counts, "own": choice.visual_tokens, "at": choice.visual_tokens}
        if wanted not in {str(count) for count in counts} or int(wanted) == choice.visual_tokens:
            return None, options
        same = {name: asked[name] for name in (*_WHOLE, "image") if name in asked}
        same |= {} if plan.frames is None else {"image": image, "images": plan.frames}  # told or not
        request = {"model": choice.model, "visual_tokens": int(wanted), **same}
        request |= {"runtime": plan.runtime.value, "precision": choice.precision.value}
        whole = {**request, "model": plan.model, "hardware": asked.get("hardware", plan.hardware)}
        level = plan.interval_level_fraction
        tried, held = (self.estimate(**whole, confidence=one) for one in (level, one_sided(level)))
        options |= {"at": int(wanted), "told": _told(plan, tried, held)}
        if "hardware" in asked:  # this machine has no name that a command could say
            options["command"] = command("estimate", {"hardware": asked["hardware"], **request})
        return tried, options
