"""Validation rejects what is wrong, naming the check, and accepts what is right; the rest of its contract."""

import json
import mmap
import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from forgeries import agree_in_all
from mutants import NothingChanged, mutant
from small_models import KINDS, checkpoint, exported, foreign, order, quiet
from small_plans import plan_for

from vlmplan.checkpoints.regions import compression
from vlmplan.checkpoints.small_checkpoint import SmallModel, write_checkpoint
from vlmplan.cost.roofline import machine
from vlmplan.cost.totals import cost, request_of
from vlmplan.document import from_plain, plain, to_json
from vlmplan.errors import InputError
from vlmplan.exporting.manifest import FILE_NAME, GRAPH_REVISION, read_manifest
from vlmplan.exporting.orders import ExportOrder
from vlmplan.exporting.write import export
from vlmplan.hardware.profile import HardwareProfile
from vlmplan.hardware.runtimes import Precision, Runtime
from vlmplan.inventory import catalogue
from vlmplan.inventory.budget import Budget
from vlmplan.measuring.calibrate import recalibrated
from vlmplan.measuring.timing import Samples
from vlmplan.models.spec import Compressor
from vlmplan.planning.plan import Plan
from vlmplan.proof import latency as check_latency
from vlmplan.proof.folder import astray, integrity, links
from vlmplan.proof.options import Options
from vlmplan.proof.report import Check, Outcome, Report, failed, junit_xml, report_markdown
from vlmplan.proof.trust import claims
from vlmplan.proof.validate import Validator

QUICK = Options(threads=2, repeats=1)
_LATE = "running every token"


def _hunt(seeds: range, tmp_path: Path, given: dict[str, ExportOrder] | None = None) -> tuple[Counter[str], int]:
    """Validate a mutant a seed; (first check that failed, how often), and how many faults changed nothing."""
    orders = given or {
        "fp32": order(),
        "quecc": order(visual_tokens=4, compressor=Compressor.QUECC, random_weights=True),
        "int4": order(visual_tokens=16, precision=Precision.INT4, external_above_bytes=10**6),
    }
    goods = []
    for name, made in orders.items():
        export(made, tmp_path / name, quiet)
        goods.append((tmp_path / name, Validator(QUICK, quiet)))
    caught: Counter[str] = Counter()
    nothing = 0
    for seed in seeds:
        good, validator = goods[seed // 2 % len(goods)]
        try:
            said = mutant(good, tmp_path / "mutant", seed)
        except NothingChanged:
            nothing += 1
            continue
        failed = validator.validate(tmp_path / "mutant").report.failed
        assert failed, f"seed {seed} passed: {said}"
        hidden = "recomputed" in said
        assert not (hidden and failed[0].name == "integrity"), f"seed {seed}: {said}"
        caught[failed[0].name] += 1
    return caught, nothing


def _as_downloaded(folder: Path) -> Path:
    """A folder with what a hub and its own library lay in it; its cache is returned."""
    from huggingface_hub import _local_folder

    names = [str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file()]
    for name in (*names, "README.md", ".gitattributes"):
        _local_folder.write_download_metadata(
            folder, name, "0123456789abcdef0123456789abcdef01234567", f"{len(name):x}"
        )
        _local_folder.get_local_download_paths(folder, name).lock_path.touch()
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    (folder / ".gitattributes").write_text("*.onnx filter=lfs diff=lfs merge=lfs -text\n")
    return folder / ".cache" / "huggingface"


def test_what_a_hub_lays_beside_is_no_stranger(tmp_path: Path) -> None:
    """Written by the hub's own library."""
    shutil.copytree(exported(), folder := tmp_path / "made")
    cache = _as_downloaded(folder)
    assert (cache / "download" / "onnx" / "decoder_model_merged.onnx.metadata").is_file()
    good = integrity(folder, read_manifest(folder), 2**30)
    assert good.outcome is Outcome.PASSED, good.detail
    assert "of a model hub, and not judged: .cache/huggingface/" in good.detail and ", README.md" not in good.detail


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("README.md", b"x" * 2**17),
        ("README.md", b"\x7fELF\x02\x01\x01"),
        ("LICENSE", b"\x00"),
        (".gitattributes/run.py", b"text"),
        (".cache/huggingface/download/code.py", b"text"),
        (".cache/huggingface/download/payload7.lock", b""),
        (".cache/huggingface/download/config.json.lock", b"payload"),
        (".cache/huggingface/download/config.json.metadata", b"0" * 40 + b"\n" + b"payload " * 9 + b"\n1.5\n"),
        (".cache/huggingface/download/evil/modeling.py.metadata", b""),
        (".cache/huggingface/download/more/", b""),
        (".cache/huggingface/evil/", b""),
        (".cache/evil.metadata", b""),
        (".cache/huggingface/.gitignore", b"* and more"),
        (".cache/huggingface/CACHEDIR.TAG", b"payload"),
    ],
)
def test_nothing_hides_among_what_a_hub_lays_beside(name: str, content: bytes, tmp_path: Path) -> None:
    shutil.copytree(exported(), folder := tmp_path / "made")
    _as_downloaded(folder)
    path = folder / name
    if path.parent.is_file():
        path.parent.unlink()
    if name.endswith("/"):
        path.mkdir(parents=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    fault = integrity(folder, read_manifest(folder), 2**30)
    assert fault.outcome is Outcome.FAILED and "not in the manifest" in fault.detail


def test_a_deep_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    shutil.copytree(exported(), folder := tmp_path / "made")
    (folder / "/".join("d" * 30)).mkdir(parents=True)
    with pytest.raises(InputError, match="folders more than 16 deep"):
        astray(folder)


def test_mutants_are_rejected(tmp_path: Path) -> None:
    caught, nothing = _hunt(range(46), tmp_path)
    assert sum(caught.values()) + nothing == 46
    assert nothing < 5
    assert {"integrity", "structure", "weights", "configuration"} <= set(caught)


@pytest.mark.slow
def test_two_hundred_more_mutants_are_rejected(tmp_path: Path) -> None:
    caught, nothing = _hunt(range(1000, 1220), tmp_path)
    assert sum(caught.values()) >= 200
    assert nothing <= 20


@pytest.mark.slow
def test_fifty_good_exports_are_accepted(tmp_path: Path) -> None:
    compressors = [(c, v) for c in Compressor for v in (1, 36, 576) if c is not Compressor.NONE or v == 576]
    kinds = ["clip-qwen2", "clip-llama", "next-qwen3"]
    for number in range(50):
        compressor, visual_tokens = compressors[number % len(compressors)]
        if compressor is Compressor.PIXEL_SHUFFLE:
            visual_tokens = max(visual_tokens, 36)
        if compressor.selects:
            visual_tokens = min(max(visual_tokens, 3), 192)
        precision = (Precision.FP32, Precision.FP32, Precision.FP16, Precision.INT8, Precision.INT4)[number % 5]
        made = order(kinds[number % 3], visual_tokens=visual_tokens, compressor=compressor, precision=precision)
        learned = compression(compressor, 24, visual_tokens).learned
        query = "read all text" if compressor is Compressor.QUECC and number % 2 else None
        made = replace(made, random_weights=learned, query=query)
        export(made, tmp_path / "good", quiet, overwrite=True)
        report = Validator(QUICK, quiet).validate(tmp_path / "good").report
        assert not report.failed, (number, made, report.failed)


@pytest.mark.slow
def test_mutants_of_selections_are_rejected(tmp_path: Path) -> None:
    """Exports that choose among an image's tokens."""
    orders = {
        "divprune": order(visual_tokens=20, compressor=Compressor.DIVPRUNE),
        "visionzip": order("clip-llama", visual_tokens=20, compressor=Compressor.VISIONZIP),
        "of a Gemma": order("gemma3", visual_tokens=5, compressor=Compressor.DIVPRUNE, precision=Precision.INT8),
    }
    caught, nothing = _hunt(range(2000, 2060), tmp_path, orders)
    assert sum(caught.values()) + nothing == 60
    assert nothing < 10


def _outcome(report: Report, name: str) -> Outcome:
    return next(check.outcome for check in report.checks if check.name == name)


def test_saving_again_is_no_fault(tmp_path: Path) -> None:
    """Writers of JSON lay it as they like; a graph that is saved again is the same to the byte."""
    import onnx

    shutil.copytree(exported(), tmp_path / "again")
    path = tmp_path / "again" / "onnx" / "vision_encoder.onnx"
    onnx.save(onnx.load(path), path)
    assert not Validator(QUICK, quiet).validate(tmp_path / "again").report.failed
    for name in ("config.json", "processor_config.json"):
        content = json.loads((tmp_path / "again" / name).read_text())
        (tmp_path / "again" / name).write_text(json.dumps(content, indent=4))
    agree_in_all(tmp_path / "again")
    assert not Validator(QUICK, quiet).validate(tmp_path / "again").report.failed


def test_data_beside_a_small_graph_do_not_belong(tmp_path: Path) -> None:
    """Where an export of that size has them within, whatever the configuration and the manifest say."""
    import onnx

    shutil.copytree(exported(), tmp_path / "apart")
    path = tmp_path / "apart" / "onnx" / "embed_tokens.onnx"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="embed_tokens.onnx_data")
    agree_in_all(tmp_path / "apart")
    report = Validator(QUICK, quiet).validate(tmp_path / "apart").report
    assert {"manifest", "configuration", "structure"} <= {check.name for check in report.failed}


def test_hard_links_are_left_open(tmp_path: Path) -> None:
    """A copy by ``cp -l`` is good; whoever holds the other name can change it. Within the folder it is nobody else."""
    shutil.copytree(
        exported(), tmp_path / "first"
    )  # not what other tests validate, which would have links from then on
    shutil.copytree(tmp_path / "first", tmp_path / "made", copy_function=os.link)
    report = Validator(QUICK, quiet).validate(tmp_path / "made").report
    assert not report.failed
    (found,) = [check for check in report.reservations if check.name == "links"]
    assert "config.json" in found.detail and "copy the folder" in found.detail
    shutil.copytree(exported(), tmp_path / "own")
    twin = tmp_path / "own" / "preprocessor_config.json"
    (tmp_path / "own" / "more").mkdir()
    os.link(twin, tmp_path / "own" / "more" / "twin")
    assert list(links(tmp_path / "own")) == []


@pytest.mark.parametrize("when", ["comparing decoder", "comparing numbers", "timing"])
def test_what_changes_meanwhile_is_not_good(when: str, tmp_path: Path) -> None:
    """The same size, and the time of the last change set back."""
    shutil.copytree(exported(), tmp_path / "made")
    path = tmp_path / "made" / "tokenizer.json"

    def change(what: str, *_: Any) -> None:
        if what == when:
            before = path.stat()
            path.write_bytes(path.read_bytes().replace(b"e", b"f"))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    found = Validator(QUICK, change).validate(tmp_path / "made")
    assert [check.name for check in found.report.failed] == ["unchanged"]
    assert "tokenizer.json changed while" in found.report.failed[0].detail
    assert found.timings is None


def _mapped(path: Path) -> Callable[[], None]:
    """A file held open in memory by another, whose writes move none of its times; what is returned writes."""
    mapped = mmap.mmap(os.open(path, os.O_RDWR), 0)
    for place in range(0, len(mapped), mmap.PAGESIZE):
        mapped[place] = mapped[place]

    def write() -> None:
        mapped[-1] ^= 0x40

    return write


@pytest.mark.parametrize("name", ["onnx/decoder_model_merged.onnx", "manifest.json"])
def test_what_changes_without_a_time_of_its_own_is_not_good(name: str, tmp_path: Path) -> None:
    shutil.copytree(exported(), tmp_path / "made")
    write = _mapped(tmp_path / "made" / name)
    found = Validator(QUICK, lambda what, *_: write() if what == "timing" else None).validate(tmp_path / "made")
    assert [check.name for check in found.report.failed] == ["unchanged"]
    assert name in found.report.failed[0].detail and found.timings is None


def test_a_decoder_by_others_that_changes_without_a_time_of_its_own_is_not_good(tmp_path: Path) -> None:
    foreign(tmp_path, positions=True)
    write = _mapped(tmp_path / "foreign" / "model.onnx")
    options = replace(QUICK, checkpoint=str(tmp_path / "text"), by_samples=True)
    found = Validator(options, lambda what, *_: write() if what == _LATE else None).validate(tmp_path / "foreign")
    assert [check.name for check in found.report.failed] == ["unchanged"]


def test_data_outside_the_folder_is_refused(tmp_path: Path) -> None:
    import onnx

    export(order(external_above_bytes=1000), tmp_path / "made", quiet)
    path = tmp_path / "made" / "onnx" / "decoder_model_merged.onnx"
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../../secret"
    onnx.save(model, path)
    report = Validator(QUICK, quiet).validate(tmp_path / "made").report
    assert _outcome(report, "structure") is Outcome.FAILED


def _doubled(folder: Path) -> None:
    """A second tensor of a name, before the first: one library reads the one, another the other."""
    import onnx
    from onnx import numpy_helper

    path = folder / "onnx" / "embed_tokens.onnx"
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    values = numpy_helper.to_array(tensor).copy()
    values[299] += 9
    kept = [numpy_helper.from_array(values, tensor.name), *model.graph.initializer]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    onnx.save(model, path)


def _rewritten(name: str, before: str, after: str) -> Any:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert before in text
        (folder / name).write_text(text.replace(before, after, 1))

    return change


def _file(name: str, content: bytes) -> Any:
    return lambda folder: (folder / name).write_bytes(content)


def _listed(name: str) -> Any:
    """The manifest lists a file outside the export, or not of it."""

    def change(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"][name] = manifest["files"]["config.json"]
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return change


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (_doubled, "interface"),
        (_rewritten("processor_config.json", "35", "35.0"), "configuration"),
        (_rewritten("config.json", '"num_hidden_layers": 2', '"num_hidden_layers": 2.0'), "configuration"),
        (_file("special_tokens_map.json", b'{"eos_token": "A"}'), "integrity"),
        (_file("modeling_evil.py", b"import os"), "integrity"),
        (_listed("../good/config.json"), "manifest"),
        (_listed("special_tokens_map.json"), "manifest"),
        (_rewritten("manifest.json", f'"graph_revision": {GRAPH_REVISION}', '"graph_revision": 99'), "manifest"),
        (lambda folder: (folder / "config.json").write_bytes(
            b"\xef\xbb\xbf" + (folder / "config.json").read_bytes()), "configuration"),
    ],
    ids=["doubled", "float count", "float layers", "tokens", "code", "outside", "listed", "revision", "bom"],
)  # fmt: skip
def test_what_an_attacker_tried_is_rejected(change: Any, check: str, tmp_path: Path) -> None:
    """Found by a helper let loose on validate: each of these passed once."""
    shutil.copytree(exported(), tmp_path / "bad")
    change(tmp_path / "bad")
    report = Validator(QUICK, quiet).validate(tmp_path / "bad").report
    assert check in {one.name for one in report.failed}, report.failed


def test_another_checkpoint_is_told_apart(tmp_path: Path) -> None:
    other = write_checkpoint(replace(KINDS["clip-qwen2"], seed=9), tmp_path / "other")
    report = Validator(replace(QUICK, checkpoint=str(other)), quiet).validate(exported()).report
    assert {"weights", "vision", "logits"} <= {check.name for check in report.failed}
    assert _outcome(report, "structure") is Outcome.PASSED


def test_folders_that_are_no_export(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        Validator(QUICK, quiet).validate(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"neither manifest.json nor model.onnx"):
        Validator(QUICK, quiet).validate(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    report = Validator(QUICK, quiet).validate(tmp_path).report
    assert [check.name for check in report.failed] == ["manifest"]


# Latency against the plan.


def _plan(limit_s: float, kind: str = "clip-qwen2") -> Plan:
    """A plan for a small checkpoint on a CPU, by the reasoning law."""
    return plan_for(checkpoint(kind), limit_s)


def _samples(seconds: float) -> Samples:
    return Samples(samples_s=(seconds, seconds, seconds))


def _judged(plan: Plan, factor: float, provider: str = "cpu") -> dict[str, Outcome]:
    choice = plan.choice
    tpot_s, ready_s = choice.tpot_s or 0.0, choice.preprocess_s  # the runner is given images that are ready
    times = {
        "ttft": _samples((choice.ttft_s - ready_s) * factor),
        "tpot": _samples(tpot_s * factor),
        "latency": _samples((choice.latency_s - ready_s) * factor),
    }
    return {check.name: check.outcome for check in check_latency.latency(times, plan, provider)}


def test_times_are_held_against_prediction_and_budget() -> None:
    plan = _plan(10.0)
    assert plan.choice.precision is Precision.FP32
    assert plan.choice.deploy is not None
    assert plan.choice.deploy.command == "vlmplan export PLAN.json --checkpoint clip-qwen2 --out clip-qwen2-576"
    assert plan.choice.deploy.check == "vlmplan validate clip-qwen2-576 --plan PLAN.json --checkpoint clip-qwen2"
    names = {"latency: ttft", "latency: tpot", "latency: request"}
    assert _judged(plan, 1.0) == dict.fromkeys(names, Outcome.PASSED)
    assert _judged(plan, 0.01) == dict.fromkeys(names, Outcome.PASSED)
    assert _judged(plan, 50.0) == dict.fromkeys(names, Outcome.FAILED)
    tight = replace(plan, budget=Budget(ttft_s=plan.choice.ttft_s * 0.9))
    assert _judged(tight, 1.0)["latency: ttft"] is Outcome.FAILED
    lenient = check_latency.latency(
        {"ttft": _samples(plan.choice.ttft_s * 9), "latency": _samples(9.0)}, plan, "cpu", True
    )
    assert {check.outcome for check in lenient} == {Outcome.PASSED}
    assert _judged(plan, 1.0, provider="cuda") == {"latency": Outcome.SKIPPED}
    elsewhere = replace(plan, runtime=Runtime.VLLM)
    assert _judged(elsewhere, 1.0) == {"latency": Outcome.SKIPPED}


@pytest.mark.parametrize(("ttft_factor", "tpot_factor"), [(3.0, 2.0), (0.4, 0.3), (20.0, 1.5)])
def test_recalibration_predicts_what_was_measured(ttft_factor: float, tpot_factor: float) -> None:
    plan = _plan(10.0)
    ready_s = plan.choice.preprocess_s
    ttft_s, tpot_s = (plan.choice.ttft_s - ready_s) * ttft_factor, (plan.choice.tpot_s or 0.0) * tpot_factor
    profile = recalibrated(plan, _samples(ttft_s), _samples(tpot_s))
    again = from_plain(HardwareProfile, plain(profile), "recalibrated")
    request = request_of(plan.model, plan.workload, plan.choice.visual_tokens, plan.choice.precision)
    found = cost(request, machine(again, catalogue.typical(), Runtime.ONNXRUNTIME, plan.choice.precision))
    assert found.ttft_s - ready_s == pytest.approx(ttft_s, rel=2e-3)
    assert found.tpot_s == pytest.approx(tpot_s, rel=2e-3)
    assert found.ttft_interval_s(0.9)[0] < ttft_s + ready_s < found.ttft_interval_s(0.9)[1]


def test_a_noisy_measurement_widens_the_interval() -> None:
    plan = _plan(10.0)
    choice, tpot_s = plan.choice, plan.choice.tpot_s or 0.0
    noisy = Samples(samples_s=(tpot_s * 0.7, tpot_s * 0.8, tpot_s, tpot_s * 1.4, tpot_s * 1.6))
    widths = []
    for tpot in (_samples(tpot_s), noisy):
        profile = recalibrated(plan, _samples(choice.ttft_s), tpot)
        request = request_of(plan.model, plan.workload, choice.visual_tokens, choice.precision)
        interval = cost(request, machine(profile, (), Runtime.ONNXRUNTIME, choice.precision)).tpot_interval_s(0.9)
        assert interval is not None
        widths.append(interval[1] / interval[0])
    assert widths[0] < 2
    assert widths[0] * 1.2 < widths[1] < 4


def test_recalibration_comes_near_what_it_cannot_meet() -> None:
    """A prefill five times faster with a decode as slow as ever: the rates alone cannot, but they come nearer."""
    plan = _plan(10.0)
    before_s = plan.choice.ttft_s - plan.choice.preprocess_s
    ttft_s = before_s / 5
    profile = recalibrated(plan, _samples(ttft_s), _samples(plan.choice.tpot_s or 0.0))
    request = request_of(plan.model, plan.workload, plan.choice.visual_tokens, plan.choice.precision)
    found = cost(request, machine(profile, (), Runtime.ONNXRUNTIME, plan.choice.precision))
    assert ttft_s < found.ttft_s - found.preprocess_s < before_s


def test_a_plan_goes_through_export_and_validate(tmp_path: Path) -> None:
    plan = _plan(10.0)
    made = order(visual_tokens=plan.choice.visual_tokens, compressor=Compressor.NONE, plan=plan)
    export(made, tmp_path / "made", quiet)
    found = Validator(QUICK, quiet).validate(tmp_path / "made")
    names = {check.name for check in found.report.checks}
    assert {"plan", "latency: ttft", "latency: tpot", "latency: request"} <= names
    assert {check.name for check in found.report.failed} <= {"latency: ttft", "latency: tpot", "latency: request"}
    of_plan = [check for check in found.report.checks if check.name.startswith(("plan", "latency"))]
    assert len(of_plan) == 4
    assert all(check.detail.endswith("by the export's own plan: not proved") for check in of_plan)
    again = Validator(replace(QUICK, plan=plan), quiet).validate(tmp_path / "made").report
    of_plan = [check for check in again.checks if check.name.startswith(("plan", "latency"))]
    assert all(check.detail.endswith("by the plan given") for check in of_plan)
    profile = found.recalibrated()
    mended = replace(plan, hardware=profile)
    assert found.timings is not None
    request = request_of(mended.model, mended.workload, mended.choice.visual_tokens, mended.choice.precision)
    mended_cost = cost(request, machine(profile, (), Runtime.ONNXRUNTIME, mended.choice.precision))
    took_s = mended_cost.ttft_s - mended_cost.preprocess_s
    assert took_s == pytest.approx(found.timings["ttft"].median_s, rel=2e-3)


def test_a_plan_for_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"llm\.\w+ is .*; expected that model's checkpoint"):
        export(order("next-qwen3", plan=_plan(10.0)), tmp_path / "made", quiet)


# Reports.


def _report(*outcomes: Outcome) -> Report:
    checks = tuple(Check(name=f"check {n}", outcome=one, detail="a < b | c") for n, one in enumerate(outcomes))
    good = Outcome.FAILED not in outcomes
    return Report(export="x", checkpoint="y", provider="cpu", threads=2, versions={}, passed=good, checks=checks)


def test_reports_for_ci() -> None:
    report = _report(Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED)
    suite = ElementTree.fromstring(junit_xml(report))
    assert suite.attrib["tests"] == "3"
    assert suite.attrib["failures"] == suite.attrib["skipped"] == "1"
    assert [len(case) for case in suite] == [1, 1, 1]
    assert suite.find("testcase/failure[@message='a < b | c']") is not None
    assert "| failed | check 1 | a < b / c |" in report_markdown(report)
    assert report_markdown(_report(Outcome.PASSED)).startswith("### vlmplan validate: passed")
    again = from_plain(Report, json.loads(json.dumps(plain(report))), "report")
    assert again == report


def test_any_finding_can_be_written() -> None:
    """Names out of a broken file, and differences that are no numbers."""
    found = failed("weights", "bad \x01 name\nof two lines", largest_difference=float("inf"), margin=1.0)
    assert found.detail == "bad \\x01 name\\nof two lines"
    assert found.figures == {"margin": 1.0}
    report = replace(_report(Outcome.FAILED), checks=(found,))
    ElementTree.fromstring(junit_xml(report))
    assert json.loads(to_json(report))["checks"][0]["figures"] == {"margin": 1.0}


def test_a_good_report_has_figures_and_no_failure() -> None:
    found: Any = Validator(QUICK, quiet).validate(exported())
    assert found.report.failed == ()
    assert found.timings is not None
    with pytest.raises(InputError, match="no plan to compare with"):
        Validator(replace(QUICK, recalibrate=True), quiet).validate(exported())


@pytest.mark.parametrize(("key", "text"), [("checkpoint", "x" * 2000), ("weights", "w" * 2000)])
def test_a_name_in_the_manifest_holds_a_path_and_no_more(key: str, text: str) -> None:
    named: Any = {key: text}
    manifest = replace(read_manifest(exported()), **named)
    given = replace(order(), weights=Path("given.safetensors"))
    assert any(line.startswith(f"{key}: expected at most 1024") for line in claims(manifest, given))


def test_a_name_that_no_file_can_have_is_no_file(tmp_path: Path) -> None:
    shutil.copytree(exported(), folder := tmp_path / "made")
    said = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    said["files"]["x" * 5000] = {"size_bytes": 1, "sha256": "0" * 64}
    (folder / FILE_NAME).write_text(json.dumps(said), encoding="utf-8")
    assert "integrity" in {
        check.name for check in Validator(Options(threads=1, repeats=1), quiet).validate(folder).report.failed
    }


def test_an_image_that_the_checkpoint_cannot_see_says_nothing_of_the_export(tmp_path: Path) -> None:
    """A window of three tokens in one layer ends before the image: both models' logits stay as they are."""
    blind = SmallModel(llm="mistral", text={"sliding_window": 3, "num_hidden_layers": 1}, seed=21)
    given = str(write_checkpoint(blind, tmp_path / "blind"))
    export(replace(order(), checkpoint=given), tmp_path / "made", quiet)
    report = Validator(replace(QUICK, checkpoint=given), quiet).validate(tmp_path / "made").report
    assert not report.failed
    assert _outcome(report, "control: no image") is Outcome.SKIPPED


def test_texts_beyond_what_growing_frequencies_were_trained_for_are_proved(tmp_path: Path) -> None:
    """Transformers keeps the frequencies of the longest text before; a reference forgets them with each prompt."""
    grown = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    short = SmallModel(text={"max_position_embeddings": 64, "rope_parameters": grown})
    given = str(write_checkpoint(short, tmp_path / "short"))
    export(replace(order(), checkpoint=given), tmp_path / "made", quiet)
    report = Validator(replace(QUICK, checkpoint=given), quiet).validate(tmp_path / "made").report
    assert not report.failed
    assert _outcome(report, "logits") is Outcome.PASSED
    assert _outcome(report, "padding") is Outcome.SKIPPED
