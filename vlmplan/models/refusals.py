"""Which precisions does an engine refuse, or break in, and why? Asked of the model, its family, engine and device.

(model, precision, device, runtime) -> the reason in one line, or None. What a device has no peak of it does not run at
all (bf16 on NVIDIA GPUs before Ampere).
"""

from collections.abc import Iterable, Iterator

from vlmplan.errors import InputError
from vlmplan.hardware import SERVING, HardwareProfile, Precision, Runtime
from vlmplan.models.spec import ModelSpec, QuantisedCheckpoint


def _fp16_refused(model: ModelSpec, runtime: Runtime) -> str | None:
    """Why a runtime does not run the model in fp16.

    Mended since, and so not in the families' files: Qwen2.5-VL (vLLM PR 13968), Gemma 4's towers (vLLM issue 40290,
    from 0.22 on).
    """
    from vlmplan.models.families import overflows  # planning in bf16 needs none of them

    known, serving = overflows(model.architecture), SERVING[runtime]
    for row in known:
        if row.runtime in (runtime, serving.like) and (row.always or not model.fp16):
            return row.why
    return None if model.fp16 or known else serving.refuses_fp16


def _method_refused(model: ModelSpec, hardware: HardwareProfile, runtime: Runtime) -> str | None:
    """Why a runtime does not run a quantised checkpoint here."""
    stored = model.quantisation
    if stored is None:
        return None
    serving = SERVING[runtime]
    if serving.exported:
        return (
            f"the checkpoint is quantised ({stored.method}), and vlmplan exports and quantises whole ones for "
            f"{runtime}; give the checkpoint it was made from"
        )
    if stored.method not in serving.methods:
        by = [one.value for one, other in SERVING.items() if stored.method in other.methods]
        reads = f"--runtime {' or '.join(by)}" if by else "the checkpoint it was made from: no --runtime reads it"
        return f"{runtime} does not read {stored.method} checkpoints; expected {reads}"
    if why := _unfit(stored.method, hardware, runtime):
        return f"{stored.method} does not run on {hardware.name}: {why}"
    return None


def _unfit(method: str, hardware: HardwareProfile, runtime: Runtime) -> str | None:
    """Why a device does not run what a method stores."""
    for row in SERVING[runtime].unfit:
        if hardware.architecture in row.devices and method in row.methods:
            return row.why
    return None


def published(
    model: ModelSpec, precision: Precision, hardware: HardwareProfile, runtime: Runtime
) -> QuantisedCheckpoint | None:
    """Return the published checkpoint of ``model`` in ``precision`` that runs here; None where none is known."""
    for one in model.quantised or ():
        fits = one.method in SERVING[runtime].methods and _unfit(one.method, hardware, runtime) is None
        if one.precision is precision and fits:
            return one
    return None


def _without_kernels(precision: Precision, hardware: HardwareProfile, runtime: Runtime) -> str | None:
    """Why a runtime has no kernels of a precision here, though the device may have a peak of it."""
    serving = SERVING[runtime]
    if serving.exported and precision not in serving.exported:
        return f"{runtime} runs what vlmplan exports, which is {', '.join(serving.exported)}, not {precision}"
    if serving.command and serving.command.stored and precision not in serving.command.stored:
        return f"{runtime} has files of {', '.join(serving.command.stored)}, not of {precision}"
    for row in serving.unfit:
        if hardware.architecture in row.devices and precision in row.precisions:
            return f"{precision} does not run on {hardware.name}: {row.why}"
    return None


def _sixteen(model: ModelSpec, precision: Precision, hardware: HardwareProfile, runtime: Runtime) -> Precision:
    """The precision of what is not quantised, and of weight-only products."""
    if model.quantisation and (beside := SERVING[runtime].method_precisions.get(model.quantisation.method)):
        return beside
    if precision in (Precision.FP32, Precision.BF16, Precision.FP16):
        return precision
    return hardware.default_precision(runtime) or precision


def refusal(model: ModelSpec, precision: Precision, hardware: HardwareProfile, runtime: Runtime) -> str | None:
    """Return why ``runtime`` does not run ``model`` at ``precision`` on ``hardware``; None where it does."""
    if reason := _method_refused(model, hardware, runtime) or _without_kernels(precision, hardware, runtime):
        return reason
    try:
        hardware.compute_precision(precision, runtime)
    except InputError as error:
        return str(error)
    sixteen = _sixteen(model, precision, hardware, runtime)
    if sixteen is Precision.FP16 and (why := _fp16_refused(model, runtime)):
        beside = "" if precision is Precision.FP16 else f", in which {precision} multiplies on {hardware.name}"
        return f"{model.name} does not run in fp16{beside}: {why}"
    return None


def _working(model: ModelSpec, hardware: HardwareProfile, runtime: Runtime) -> Iterator[Precision]:
    """The precisions of whole checkpoints that do run."""
    for precision in (Precision.BF16, Precision.FP16, Precision.FP32):
        if refusal(model, precision, hardware, runtime) is None:
            yield precision


def with_what_works(why: str, model: ModelSpec, hardware: HardwareProfile, runtime: Runtime) -> str:
    """Return a reason with what to do about it, where it does not say so itself."""
    if any(said in why for said in ("expected ", "give ", "its profile lists")):
        return why
    works = [] if model.quantisation else list(_working(model, hardware, runtime))
    hint = f"--precision {' or '.join(works)}" if works else "another --hardware or --runtime"
    if " in fp16" in why and Precision.BF16 not in hardware.peak_flops_per_s:
        hint = f"{hint}, or a device with bf16" if works else "a device with bf16"
    return f"{why}; expected {hint}"


def own_precision(model: ModelSpec) -> Precision | None:
    """Return the precision that a quantised checkpoint has and nothing changes."""
    return model.quantisation.precision if model.quantisation else None


def check_own(model: ModelSpec, asked: Precision | None) -> None:
    """Raise InputError for a precision that a quantised checkpoint does not have."""
    own = own_precision(model)
    if model.quantisation and own and asked not in (None, own):
        raise InputError(
            f"--precision: found {asked}, but {model.name} is stored in {own} ({model.quantisation.title}); expected "
            f"{own} or no --precision, or the checkpoint before it was quantised"
        )


def precision_for(model: ModelSpec, asked: Precision | None, hardware: HardwareProfile, runtime: Runtime) -> Precision:
    """Return the precision to price: as asked, as stored, or the device's usual. Raises InputError if refused."""
    hardware.check_runtime(runtime)
    check_own(model, asked)
    chosen = asked or own_precision(model) or hardware.default_precision(runtime) or Precision.FP32
    if why := refusal(model, chosen, hardware, runtime):
        raise InputError(with_what_works(why, model, hardware, runtime))
    return chosen


def runnable(
    model: ModelSpec, precisions: Iterable[Precision], hardware: HardwareProfile, runtime: Runtime
) -> tuple[Precision, ...]:
    """The ``precisions`` that the runtime runs ``model`` in: a quantised checkpoint has its own and no other."""
    own = own_precision(model)
    return tuple(p for p in precisions if own in (None, p) and refusal(model, p, hardware, runtime) is None)
