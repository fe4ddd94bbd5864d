"""Profiling: what is measured, kept, resumed and fitted; and the check that holds predictions against requests."""

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_models import quiet
from typer.testing import CliRunner

from vlmplan.cli.app import app
from vlmplan.cost.roofline import Machine, machine
from vlmplan.cost.totals import cost
from vlmplan.document import plain, to_toml
from vlmplan.errors import InputError, Unavailable
from vlmplan.hardware.detect import Setup, cache_bytes, setup
from vlmplan.hardware.profile import Basis, Calibration, HardwareProfile, Kind, Part, Preprocess
from vlmplan.hardware.runtimes import Precision, Runtime
from vlmplan.hardware.surroundings import cuda_total_bytes
from vlmplan.measuring.check_profile import ROUNDS, Verdict, cases, measure_cases, verdict
from vlmplan.measuring.images import TITLE, image_makers, preprocess_of
from vlmplan.measuring.observation import Quantity
from vlmplan.measuring.profile_fit import drift_log_sd, profile, restlessness, starting_calibration
from vlmplan.measuring.rig import OnnxRig, TorchRig
from vlmplan.measuring.session import PASSES, run_trials, scratch_folder
from vlmplan.measuring.timing import Store, Timed, fill
from vlmplan.measuring.trials import CACHE_MULTIPLE, STEPS, WIDTHS, Effort, Network, Tower, Trial, Width, sweep
from vlmplan.models.spec import Compressor

HERE = Setup(
    device="cpu", runtime=Runtime.ONNXRUNTIME, title="Test", vendor="Test", threads=1, cores=1, cache_bytes=2**25,
    peak_flops_per_s={Precision.FP32: 2e11}, bandwidth_bytes_per_s=4e10, versions={"onnxruntime": "1"},
    date="2026-11-22",
)  # fmt: skip
FP32 = Precision.FP32
NARROW = Width(hidden=64, intermediate=96, heads=2, kv_heads=1, head_dim=32)
LOW = Tower(hidden=64, intermediate=96, heads=2, layers=3, side=4, clip=True)


def small_trials() -> tuple[Trial, ...]:
    network = Network(width=NARROW, layers=2, tower=LOW, compressor=Compressor.QUECC, visual_tokens=4)
    return (
        Trial(network=network, quantity=Quantity.PREFILL, tokens=7, batch=2, group="a"),
        Trial(network=network, quantity=Quantity.TPOT, tokens=9, group="a"),
        Trial(network=network, quantity=Quantity.VISION, batch=2, group="b"),
    )


class Counting:
    """A rig that counts how often a network is asked for."""

    def __init__(self, inner: OnnxRig | TorchRig) -> None:
        self.inner, self.asked = inner, 0

    def model(self, network: Network) -> Any:
        self.asked += 1
        return self.inner.model(network)

    def release(self) -> None:
        self.inner.release()


@pytest.mark.parametrize("runtime", ["onnxruntime", "transformers"])
def test_trials_run_on_the_real_runtime_and_are_not_run_again(tmp_path: Path, runtime: str) -> None:
    inner = OnnxRig(tmp_path, "cpu", 1) if runtime == "onnxruntime" else TorchRig("cpu", 1)
    rig, store = Counting(inner), Store(tmp_path / "m.jsonl", HERE)
    run_trials(rig, small_trials(), store, 2, quiet)
    assert [(one.part, one.round) for one in store.timed] == [
        ("prefill", 0), ("tpot", 0), ("vision", 0), ("prefill", 1), ("tpot", 1), ("vision", 1)
    ]  # fmt: skip
    assert all(0 < sample < 10 for one in store.timed for sample in one.samples_s)
    asked = rig.asked
    again = Store(tmp_path / "m.jsonl", HERE)
    run_trials(rig, small_trials(), again, 2, quiet)
    assert rig.asked == asked
    assert again.timed == store.timed
    assert not list(tmp_path.glob("network-*")), "graphs are removed once loaded"


def test_decode_trials_see_their_whole_context(tmp_path: Path) -> None:
    """The cache of zeros has the context's length, and grows by the steps made."""
    network = small_trials()[1].network
    model = OnnxRig(tmp_path, "cpu", 1).model(network)
    cache = model.zero_cache(3, 11)
    assert {tuple(value.shape()) for value in cache.values()} == {(3, 1, 11, 32)}
    assert TorchRig("cpu", 1).model(network).zero_cache(3, 11).get_seq_length() == 11


def test_the_sweep_covers_what_it_says() -> None:
    found = sweep(Effort.DEFAULT, (FP32, Precision.INT8, Precision.INT4), FP32, 2**25)
    assert len({trial.name for trial in found}) == len(found)
    assert {trial.quantity for trial in found} == {Quantity.VISION, Quantity.PREFILL, Quantity.TPOT}
    assert {trial.network.compressor for trial in found} == set(Compressor)
    for trial in found:
        network = trial.network
        assert trial.request.visual_tokens == (network.visual_tokens if trial.quantity is Quantity.VISION else 0)
        if trial.quantity is Quantity.TPOT and network.precision is FP32:
            assert network.layers * network.width.params * 4 >= CACHE_MULTIPLE * 2**25
            assert trial.request.workload.output_tokens == STEPS
    assert len(sweep(Effort.QUICK, (FP32,), FP32, 2**25)) < len(found) / 3


def test_the_check_asks_what_was_not_profiled() -> None:
    found = cases(FP32, 2**25)
    assert len(found) >= 60
    assert len({case.name for case in found}) == len(found)
    assert {case.network.width for case in found}.isdisjoint(WIDTHS)
    assert {case.network.compressor for case in found} == set(Compressor)
    assert {case.batch for case in found} >= {1, 2, 3}
    assert {1, 576} <= {case.network.visual_tokens for case in found}


# The store.


def test_a_line_cut_short_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    store = Store(path, HERE)
    store.add([Timed(name="x", part="tpot", round=0, samples_s=(1.0, 2.0))])
    with path.open("a") as stream:
        stream.write('{"name": "y", "part": "tp')
    again = Store(path, HERE)
    assert [one.name for one in again.timed] == ["x"]
    again.add([Timed(name="z", part="tpot", round=0, samples_s=(1.0,))])
    assert [json.loads(line).get("name") for line in path.read_text().splitlines()[1:]] == ["x", "z"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json\n", "one JSON object a line"),
        ('{"schema": "other/1"}\n', "expected a first line of schema"),
        ("[]\n", "expected a first line of schema"),
        ("", "empty file"),
        ("[" * 100_000 + "\n", "one JSON object a line"),
    ],
)
def test_what_is_no_measurements_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        Store(path, HERE)


@pytest.mark.parametrize("samples", [(), (-1.0, 1.0), (0.0,)])
def test_times_that_cannot_be_are_refused(samples: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="above zero"):
        Timed(name="x", part="tpot", round=0, samples_s=samples)


@pytest.mark.parametrize(
    "other", [{"threads": 2}, {"title": "Another"}, {"versions": {"onnxruntime": "2"}}, {"device": "cuda:0"}]
)
def test_another_machine_s_measurements_are_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    path = tmp_path / "m.jsonl"
    Store(path, HERE)
    with pytest.raises(InputError, match=f"another machine or version .{next(iter(other))}"):
        Store(path, replace(HERE, **other))
    assert Store(path, replace(HERE, **other), fresh=True).timed == []


def test_a_full_disk_keeps_what_was_measured(tmp_path: Path) -> None:
    """The process may not write beyond a few hundred bytes, as on a disk that has no more."""
    path = tmp_path / "m.jsonl"
    store = Store(path, HERE)
    first = Timed(name="x", part="tpot", round=0, samples_s=(1.0,))
    store.add([first])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, limits[1]))
    try:
        with pytest.raises(Unavailable, match=r"cannot be written .*run again to go on"):
            store.add([replace(first, name="y")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [one.name for one in Store(path, HERE).timed] == ["x"]


def test_scratch_of_killed_runs_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    stale = tmp_path / f"vlmplan-profile-{ended.pid}-abc"
    alive = tmp_path / f"vlmplan-profile-{os.getpid()}-abc"
    for folder in (stale, alive):
        folder.mkdir()
    with scratch_folder() as scratch:
        assert scratch.is_dir()
        assert not stale.exists()
        assert alive.exists()
    assert not scratch.exists()


# The fit.


def truth() -> tuple[HardwareProfile, Calibration]:
    """A machine of our own making."""
    start = starting_calibration(HERE, FP32)
    kinds = dict(start.operators)
    kinds[Kind.LINEAR] = replace(kinds[Kind.LINEAR], compute_fraction=0.7, memory_fraction=0.6, compute_pads=(3.0,))
    kinds[Kind.VISION_ATTENTION] = replace(kinds[Kind.VISION_ATTENTION], compute_fraction=0.25)
    planted = replace(start, operators=kinds, overhead_per_call_s=6e-4)
    bare = HardwareProfile(
        name="test", title="Test", vendor="Test", kind="cpu", architecture="x", bandwidth_bytes_per_s=4e10,
        peak_flops_per_s={FP32: 2e11}, confidence="high", sources=("test",), calibration=(planted,),
    )  # fmt: skip
    return bare, planted


def seconds_of(trial: Trial, ready: Machine) -> float:
    priced = cost(trial.request, ready)
    call_s = ready.base.overhead_per_call_s + ready.base.overhead_per_layer_s * trial.request.model.llm.layers
    if trial.quantity is Quantity.PREFILL:
        return priced.prefill_s + call_s
    if trial.quantity is Quantity.TPOT:
        assert priced.tpot_s is not None
        return priced.tpot_s
    return priced.ttft_s - priced.prefill_s - call_s


SENT_S, SEEN_S = 1.2e-8, 1.5e-8  # what a planted host takes for a pixel sent and for one seen


@pytest.fixture
def measured(tmp_path: Path) -> Iterator[tuple[Store, tuple[Trial, ...], Machine]]:
    """A store as the planted machine would have filled it, with noise and one slow pass."""
    bare, _ = truth()
    ready = machine(bare, (), Runtime.ONNXRUNTIME, FP32)
    trials = sweep(Effort.DEFAULT, (FP32,), FP32, 2**25)
    rng, store = random.Random(0), Store(tmp_path / "m.jsonl", HERE)
    for number in range(PASSES[Effort.DEFAULT]):
        slow = 1.06 if number == 1 else 1.0
        store.add(
            [
                Timed(
                    name=trial.name,
                    part=trial.quantity,
                    round=number,
                    samples_s=tuple(seconds_of(trial, ready) * slow * rng.lognormvariate(0, 0.02) for _ in range(3)),
                )
                for trial in trials
            ]
        )
        few_s, all_s = (SENT_S * 1280 * 720 + SEEN_S * made_px for made_px in (336 * 336, 1288 * 728))
        for name, seconds in zip(image_makers(), (few_s, all_s), strict=True):
            store.add([Timed(name=name, part="preprocess", round=number, samples_s=(seconds,))])
    yield store, trials, ready


def test_a_planted_machine_is_found(measured: tuple[Store, tuple[Trial, ...], Machine]) -> None:
    store, trials, ready = measured
    found = profile(HERE, trials, store, store.path)
    calibration = found.hardware.calibration[0]
    assert calibration.basis is Basis.MEASURED
    assert all(outside < 0.05 for _, _, outside in found.errors.values())
    assert {Part.VISION, Part.PREFILL, Part.DECODE} <= set(calibration.part_log_sd)
    assert all(0.03 <= spread < 0.08 for spread in calibration.part_log_sd.values())
    there = machine(found.hardware, (), Runtime.ONNXRUNTIME, FP32)
    for case in cases(FP32, 2**25):
        predicted, wanted = cost(case.request, there), cost(case.request, ready)
        assert predicted.ttft_s == pytest.approx(wanted.ttft_s * 1.02, rel=0.06)
        low, high = predicted.ttft_interval_s(0.99)
        assert low < wanted.ttft_s < high
    assert to_toml(found.hardware)


def test_what_images_take_here_is_in_the_profile(measured: tuple[Store, tuple[Trial, ...], Machine]) -> None:
    """It is counted before the first token; a store of before has no images, and its profile no word of them."""
    store, trials, _ = measured
    found = profile(HERE, trials, store, store.path).hardware
    images = found.calibration[0].preprocess
    assert images is not None and (images.sent_px_s, images.seen_px_s) == pytest.approx((SENT_S, SEEN_S), rel=0.01)
    ready = machine(found, (), Runtime.ONNXRUNTIME, FP32)
    request = cases(FP32, 2**25)[0].request
    side = request.workload.image[0]
    assert cost(request, ready).preprocess_s == pytest.approx(side**2 * (SENT_S + SEEN_S), rel=0.02)
    store.timed = [one for one in store.timed if one.part != "preprocess"]
    assert profile(HERE, trials, store, store.path).hardware.calibration[0].preprocess is None


def test_images_are_made_ready_for_real(tmp_path: Path) -> None:
    store = Store(tmp_path / "images.jsonl", HERE)
    fill(store, {TITLE: image_makers()}, 1, 1, quiet, lambda: None)
    found = preprocess_of(store)
    assert found is not None and 1e-10 < found.sent_px_s < 1e-6 and found.seen_px_s < 1e-6
    before = len(store.timed)
    fill(store, {TITLE: image_makers()}, 1, 1, quiet, lambda: None)
    assert len(store.timed) == before == 2


def test_drift_is_what_a_pass_has_in_common(measured: tuple[Store, tuple[Trial, ...], Machine]) -> None:
    store, trials, _ = measured
    assert 0.02 < drift_log_sd(store, trials) < 0.05
    assert restlessness(store, trials) == ()
    slower = [replace(one, samples_s=tuple(1.4 * s for s in one.samples_s)) for one in store.timed if one.round == 2]
    store.timed = [one for one in store.timed if one.round < 2] + slower
    assert "speed changes by" in restlessness(store, trials)[0]


def test_noise_is_said(tmp_path: Path) -> None:
    store = Store(tmp_path / "m.jsonl", HERE)
    store.add([Timed(name=f"{n}", part="tpot", round=0, samples_s=(1.0, 2.0, 3.0)) for n in range(9)])
    assert "restless machine: 9 of 9" in restlessness(store, ())[0]


# The check.


def judged(tmp_path: Path, factor: float = 1.0, spread: float = 0.03) -> Verdict:
    """The planted machine's profile against requests that took ``factor`` times as long as it predicts."""
    bare, planted = truth()
    parts = dict.fromkeys(Part, spread)
    hardware = replace(bare, calibration=(replace(planted, part_log_sd=parts),))
    ready = machine(hardware, (), Runtime.ONNXRUNTIME, FP32)
    images = Preprocess(sent_px_s=1e-6, seen_px_s=1e-6, log_sd=0.3, source="made up")  # which no case is timed with
    hardware = replace(bare, calibration=(replace(planted, part_log_sd=parts, preprocess=images),))
    rng, store, asked = random.Random(1), Store(tmp_path / "c.jsonl", HERE, fresh=True), cases(FP32, 2**25)
    for number in range(ROUNDS):
        for case in asked:
            priced = cost(case.request, ready)
            for part, seconds in (("ttft", priced.ttft_s), ("tpot", priced.tpot_s)):
                taken = factor * (seconds or 0.0) * rng.lognormvariate(0, 0.04)
                store.add([Timed(name=case.name, part=part, round=number, samples_s=(taken,))])
    return verdict(hardware, asked, store)


def test_a_profile_that_holds(tmp_path: Path) -> None:
    found = judged(tmp_path)
    assert len(found.rows) == 144
    assert found.median_error_fraction < 0.05
    assert 0.65 <= found.held_fraction <= 0.95
    assert [fault for fault in found.faults if "interval score" not in fault] == []


def test_a_profile_that_is_off_is_told_by_how_much(tmp_path: Path) -> None:
    found = judged(tmp_path, factor=1.5)
    assert any("median error 33" in fault for fault in found.faults)
    assert any("intervals hold 0%" in fault for fault in found.faults)


def test_intervals_too_wide_are_a_fault(tmp_path: Path) -> None:
    found = judged(tmp_path, spread=0.3)
    assert any("intervals hold 100%" in fault for fault in found.faults)
    assert any("interval width" in fault for fault in found.faults)


def test_requests_are_timed_for_real(tmp_path: Path) -> None:
    """Two small requests through the real runtime, in both rounds."""
    network = Network(width=NARROW, layers=2, tower=LOW, compressor=Compressor.QUECC, visual_tokens=4)
    pooled = replace(network, compressor=Compressor.AVERAGE_POOL, visual_tokens=1)
    one = cases(FP32, 2**25)[0]
    asked = [replace(one, network=network, batch=2), replace(one, network=pooled, batch=1)]
    store = Store(tmp_path / "c.jsonl", HERE)
    measure_cases(OnnxRig(tmp_path, "cpu", 1), asked, store, quiet)
    assert sum(one.part == Quantity.TPOT for one in store.timed) == len(asked) * ROUNDS
    found = verdict(truth()[0], asked, store)
    assert [row.quantity for row in found.rows] == [Quantity.TTFT, Quantity.TPOT] * 2
    assert json.loads(json.dumps(plain(found)))["rows"][0]["case"]["batch"] == 2


# The machine, and the command.


def test_the_machine_is_named() -> None:
    found = setup("cpu", Runtime.ONNXRUNTIME, None)
    assert found.title
    assert found.threads >= 1
    assert found.versions["onnxruntime"]
    assert 2**15 <= cache_bytes() <= 2**32
    assert found.name == found.name.lower()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--device", "cuda:0"], "no CUDA"),
        (["--device", "cuda:0", "--runtime", "transformers"], "finds no CUDA GPU"),
        (["--device", "tpu"], "--device: found 'tpu'"),
        (["--runtime", "vllm"], "expected onnxruntime or transformers"),
        (["--precision", "int4"], "the first is int4; expected fp32"),
        (["--precision", "fp32,fp7"], "expected a list of fp32, int8, int4"),
        (["--out", "/no/such/folder/x.toml"], "cannot be written"),
        (["--model", "llava"], "--model: belong to"),
    ],
)
def test_what_cannot_be_measured_is_one_line(given: list[str], message: str) -> None:
    ran = CliRunner().invoke(app, ["profile", *given])
    assert ran.exit_code == 2
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1


DRIVER = """
int cuInit(unsigned flags) { return flags != 0; }
int cuDeviceGet(int *device, int index) { *device = 40 + index; return index > 1; }
int cuDeviceTotalMem_v2(unsigned long *bytes, int device) { *bytes = 25000000000ul + device; return 0; }
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_memory_of_a_gpu_is_what_cuda_reports(tmp_path: Path) -> None:
    """A driver library with three functions stands in for NVIDIA's, which machines without a GPU lack."""
    source, library = tmp_path / "driver.c", str(tmp_path / "libdriver.so")
    source.write_text(DRIVER)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, str(source)], check=True)
    assert cuda_total_bytes(0, library) == 25_000_000_040
    assert cuda_total_bytes(1, library) == 25_000_000_041
    assert cuda_total_bytes(2, library) is None
    assert cuda_total_bytes(0, str(tmp_path / "gone.so")) is None
    assert cuda_total_bytes(0, "libc.so.6") is None


def test_two_onnxruntime_packages_are_told(tmp_path: Path) -> None:
    """Both distributions on the path, as pip leaves them."""
    folder = tmp_path / "onnxruntime_gpu-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.0\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-m", "vlmplan", "profile"], env=environment, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert ran.returncode == 2
    assert "both installed" in ran.stderr
