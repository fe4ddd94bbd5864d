"""What does a machine or a server do? Measured here, by a server, or by others -> a hardware profile to plan with."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vlmplan.api.given import File, device, must_be_one_of, one_of, spec, within
from vlmplan.errors import InputError, mistyped, printable
from vlmplan.hardware import HardwareProfile, Precision, Runtime
from vlmplan.inventory import catalogue as shelves
from vlmplan.models import ModelSpec
from vlmplan.progress import Progress, silent
from vlmplan.units import parse_seconds

if TYPE_CHECKING:
    from vlmplan.measuring import Adjusted, Endpoint, Profiled, ProfileOrder, Verdict


def _order(  # noqa: PLR0917 - the words, in order
    where: str, runtime: str | None, threads: int | None, precision: str | None, quick: bool, fresh: bool,
    out: File | None,
) -> "ProfileOrder":  # fmt: skip
    """What is to be measured here. Raises InputError or Unavailable."""
    from vlmplan.hardware import setup
    from vlmplan.inventory import own_path
    from vlmplan.measuring import Effort, ProfileOrder, precisions_asked, precisions_of

    within("--threads", threads, 1, 256)
    here = setup(where, one_of(Runtime, runtime, "--runtime") or Runtime.ONNXRUNTIME, threads)
    effort = Effort.QUICK if quick else Effort.DEFAULT
    return ProfileOrder(
        setup=here,
        effort=effort,
        precisions=precisions_asked(precision, precisions_of(here), effort),
        out=own_path(here.name) if out is None else Path(out),
        fresh=fresh,
    )


def profile(
    *,
    device: str = "cpu",
    runtime: str | None = None,
    threads: int | None = None,
    precision: str | None = None,
    quick: bool = False,
    fresh: bool = False,
    out: File | None = None,
    progress: Progress = silent,
) -> "Profiled":
    """Measure this machine: many small networks, timed. Takes minutes; needs the extra ``deploy``.

    Measurements go beside ``out``, to a file that ends in ``.measurements.jsonl``, as they are made; the same call goes
    on from there. The profile itself is not written: ``vlmplan.save(found.hardware, "my-machine.toml")`` does that.

    Args:
        device: ``"cpu"`` or ``"cuda:0"``.
        runtime: ``"onnxruntime"`` or ``"transformers"``.
        threads: Threads of an operator; all cores unless told.
        precision: With commas, the first gets all trials; all that the runtime has unless told.
        quick: Fewer trials: under two minutes, wider intervals.
        fresh: Whether to measure anew what the measurements file has.
        out: Where the profile will stand; in the user's folder for data, named after the device, unless told.
        progress: Hears (what, done, in all).

    Returns:
        The profile as ``hardware``, where it belongs as ``out``, how well it explains what it was fitted on as
        ``errors``, and ``warnings``.

    Raises:
        InputError: For a precision or a destination that cannot be.
        Unavailable: Where a library or the device is missing.

    Example:
        >>> import vlmplan
        >>> found = vlmplan.profile(quick=True, threads=1, out="here.toml")  # doctest: +SKIP
        >>> vlmplan.save(found.hardware, "here.toml")  # doctest: +SKIP
    """
    from vlmplan.measuring import profile_here

    return profile_here(_order(device, runtime, threads, precision, quick, fresh, out), progress)


def check_profile(
    *,
    hardware: File | HardwareProfile,
    device: str = "cpu",
    runtime: str | None = None,
    threads: int | None = None,
    precision: str | None = None,
    quick: bool = False,
    fresh: bool = False,
    out: File | None = None,
    progress: Progress = silent,
) -> "Verdict":
    """Measure requests here that a profile never saw, and hold its predictions against them. Takes minutes.

    Args:
        hardware: The profile, or its path.
        device: As for ``profile``.
        runtime: As for ``profile``.
        threads: As for ``profile``.
        precision: As for ``profile``.
        quick: As for ``profile``.
        fresh: As for ``profile``.
        out: As for ``profile``; the measurements go to a file beside it that ends in ``.check.jsonl``.
        progress: Hears (what, done, in all).

    Returns:
        Every case predicted and measured, in seconds, and ``faults``: why the profile does not hold, if so.

    Raises:
        InputError: As ``profile``.
        Unavailable: As ``profile``.
    """
    from vlmplan.measuring import check_here

    held = shelves.hardware(str(hardware)) if isinstance(hardware, str | Path) else hardware
    return check_here(_order(device, runtime, threads, precision, quick, fresh, out), held, progress)


def profile_measurements(
    *,
    from_measurements: File,
    hardware: File | HardwareProfile,
    model: str | None = None,
    precision: str | None = None,
    told: Mapping[str, str] | None = None,
    runtime: str | None = None,
) -> "Adjusted":
    r"""Move a device's profile to times of one's own.

    Args:
        from_measurements: A CSV with model, text_tokens and one of ttft_s, tpot_s, latency_s, or what a benchmark
            wrote: ``vllm bench serve`` and ``latency``, SGLang, GuideLLM, AIPerf, GenAI-Perf, onnxruntime-genai,
            llama-bench, MLPerf, or the text of vLLM's ``/metrics``. Five times already matter.
        hardware: The device they were measured on.
        model: The model that was served, where the file does not say or says what the catalogue does not know.
        precision: What it was served in, where the file does not say; as stored or the device's usual one unless told.
        told: Other cells of the table, by column, that the file lacks: ``{"visual_tokens": "576", "gpus": "2"}``.
        runtime: The engine; by the device unless told.

    Returns:
        The profile as ``hardware``, each measurement beside its prediction before and without it as ``compared``, and
        what was left out as ``notes``.

    Raises:
        InputError: For a file that cannot be read, naming the line or the run.

    Example:
        >>> import vlmplan
        >>> from pathlib import Path
        >>> rows = [f"llava-1.5-7b,{q},576,{(80 + q / 10) / 1000}" for q in (20, 50, 100, 200, 400)]
        >>> _ = Path("times.csv").write_text("\n".join(["model,text_tokens,visual_tokens,ttft_s", *rows]))
        >>> found = vlmplan.profile_measurements(from_measurements="times.csv", hardware="l40s", runtime="vllm")
        >>> len(found.compared), found.hardware.name
        (5, 'l40s-measured')
    """
    from vlmplan.measuring import adjusted, read_measurements

    base, path = device(hardware), Path(from_measurements)
    engine = one_of(Runtime, runtime, "--runtime") or base.default_runtime
    given = {name: text for name, text in (("model", model), ("precision", precision)) if text is not None}
    read = read_measurements(path, base, engine, shelves.model, {**(told or {}), **given})
    source = f"{len(read.observed)} times of {path.name}"
    return replace(adjusted(base, shelves.typical(), engine, read.observed, source), notes=read.notes)


def profile_endpoint(
    *,
    endpoint: str,
    hardware: File | HardwareProfile,
    model: File | ModelSpec,
    served_model: str | None = None,
    precision: str | None = None,
    runtime: str | None = None,
    images: bool = True,
    concurrency: str | None = None,
    timeout: str = "60s",
    progress: Progress = silent,
) -> "Adjusted":
    """Time a server that speaks OpenAI's protocol, and move its device's profile to what it does.

    A key, where the server wants one, is read from the environment: ``OPENAI_API_KEY``.

    Args:
        endpoint: ``"http://HOST:PORT/v1"``.
        hardware: The device it runs on.
        model: The model it serves, as for ``estimate``.
        served_model: The model's name there; the only one it lists unless told.
        precision: What it is served in; as stored, or the device's usual one, unless told.
        runtime: The engine; by the device unless told.
        images: Whether to send pictures, too.
        concurrency: Also so many requests at once, levels with commas: ``"4,16"``; each is bounded in number and time.
        timeout: Longest time of a whole answer, with its unit.
        progress: Hears (what, done, in all).

    Returns:
        As ``profile_measurements``; ``notes`` say which caches the server has, and what could not be told apart.

    Raises:
        InputError: For an address, a model or a precision that cannot be.
        Unavailable: Where the server does not answer.
    """
    from vlmplan.measuring import (
        adjusted,
        caches,
        crowded,
        crowded_observations,
        interrogate,
        observations_of,
        probes,
    )

    levels = _levels(concurrency)

    base, model_spec = device(hardware), spec(model)
    engine = one_of(Runtime, runtime, "--runtime") or base.default_runtime
    chosen = _served_precision(model_spec, precision, base, engine)
    asked = server(endpoint, served_model, parse_seconds(str(timeout)))
    seeing = images and model_spec.vision is not None
    posed = probes(seeing)
    observed = observations_of(interrogate(asked, posed, progress), model_spec, chosen)
    notes = caches(asked, seeing, progress)
    if levels:
        probe = next(one for one in posed if (one.image is not None) is seeing)
        more, told = crowded_observations(crowded(asked, probe, levels, progress), observed)
        observed, notes = [*observed, *more], (*notes, *told)
    source = printable(asked.hidden(f"{asked.model} at {asked.host}: {len(observed)} times"))
    return replace(adjusted(base, shelves.typical(), engine, observed, source), notes=notes)


def _levels(text: str | None) -> list[int]:
    """How many requests at once, level by level, fewest first. Raises InputError."""
    from vlmplan.measuring import MOST_AT_ONCE, MOST_LEVELS

    words = [] if text is None else [word.strip() for word in str(text).split(",")]
    if not all(word.isascii() and word.isdigit() and 2 <= int(word) <= MOST_AT_ONCE for word in words):
        raise mistyped("--concurrency", str(text), f"2 to {MOST_AT_ONCE} requests at once, with commas, such as 4,16")
    if len(words) > MOST_LEVELS:
        raise InputError(f"--concurrency: found {len(words)} levels, expected at most {MOST_LEVELS}")
    return sorted({int(word) for word in words})


def _served_precision(model: ModelSpec, text: str | None, base: HardwareProfile, engine: Runtime) -> Precision:
    """The precision asked for, else the checkpoint's own or the device's usual one. Raises InputError."""
    from vlmplan.models import check_own, own_precision

    known = [one for one in Precision if one in base.peak_flops_per_s or one in (Precision.INT8, Precision.INT4)]
    if text is not None and text not in known:
        raise mistyped("--precision", text, f"one of {', '.join(known)}")
    asked = None if text is None else must_be_one_of(Precision, text, "--precision")
    check_own(model, asked)
    return asked or own_precision(model) or base.default_precision(engine) or Precision.BF16


def server(
    url: str, name: str | None, timeout_s: float, option: str = "--served-model", key_of: str = "OPENAI_API_KEY"
) -> "Endpoint":
    """The server, asked for the model that is named or the only one it lists; ``key_of`` is the variable with its key.

    Raises InputError, by ``option``, or Unavailable.
    """
    from vlmplan.measuring import Endpoint

    key = os.environ.get(key_of, "").strip() or None
    asked = Endpoint(url=url, model=name or "", timeout_s=timeout_s, key=key)
    listed = asked.served_models()
    if name is None and len(listed) != 1:
        shown = asked.hidden(", ".join(listed[:6]))
        raise InputError(f"{option}: the server lists {shown or 'none'}; name one")
    return Endpoint(url=url, model=name or listed[0], timeout_s=timeout_s, key=key)
