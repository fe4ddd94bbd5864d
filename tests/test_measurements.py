"""Measurements of one's own: a few rows move a profile to them, and what cannot be read is named by its line."""

import math
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vlmplan.cli.app import app
from vlmplan.cost.roofline import Machine, machine
from vlmplan.cost.totals import cost, request_of
from vlmplan.document import load
from vlmplan.errors import InputError
from vlmplan.hardware.profile import Basis, HardwareProfile
from vlmplan.hardware.runtimes import Precision, Runtime
from vlmplan.inventory import catalogue
from vlmplan.measuring.observation import Observation, Quantity
from vlmplan.measuring.table import COLUMNS, adjusted, read_measurements
from vlmplan.models.spec import Workload

MODEL = "llava-hf/llava-1.5-7b-hf"
DEVICE = catalogue.hardware("l4")
HEAD = "model,visual_tokens,text_tokens,output_tokens,ttft_ms,tpot_ms\n"


def read(tmp_path: Path, text: str) -> tuple[Observation, ...]:
    path = tmp_path / "own.csv"
    path.write_text(text, encoding="utf-8")
    return read_measurements(path, DEVICE, Runtime.VLLM, catalogue.model).observed


def ready(device: HardwareProfile = DEVICE) -> Machine:
    return machine(device, catalogue.typical(), Runtime.VLLM, Precision.BF16)


def slower(seed: int = 0) -> list[Observation]:
    """Ten requests on a server that is slower than the profile says: prefill by 1.5, steps by 1.2, 9 ms a request."""
    rng = random.Random(seed)
    found = []
    for text, output in ((20, 16), (100, 64), (400, 32), (900, 128), (60, 8), (250, 50), (700, 20), (1500, 90)):
        request = request_of(catalogue.model(MODEL), Workload(text_tokens=text, output_tokens=output), 0,
                             Precision.BF16)  # fmt: skip
        priced = cost(request, ready())
        for quantity, seconds in ((Quantity.TTFT, 1.5 * priced.ttft_s + 9e-3), (Quantity.TPOT, 1.2 * priced.tpot_s)):  # type: ignore[operator]
            noisy = seconds * math.exp(rng.gauss(0, 0.02))
            found.append(Observation(request=request, quantity=quantity, measured_s=noisy, group=f"{text}"))
    return found


def test_five_points_predict_the_rest() -> None:
    points = slower()
    five, rest = points[:10], points[10:]  # five requests of two times each
    found = adjusted(DEVICE, catalogue.typical(), Runtime.VLLM, five, "test").hardware
    before = [abs(_error(one, ready())) for one in rest]
    after = [abs(_error(one, ready(found))) for one in rest]
    assert sum(after) / len(after) < 0.05 < sum(before) / len(before)


def _error(one: Observation, here: Machine) -> float:
    priced = cost(one.request, here)
    seconds = priced.ttft_s if one.quantity is Quantity.TTFT else priced.tpot_s
    assert seconds is not None
    return seconds / one.measured_s - 1


def test_intervals_narrow_with_points_and_hold() -> None:
    points = slower()
    request = points[-1].request
    widths = []
    for count in (2, 6, 16):
        found = adjusted(DEVICE, catalogue.typical(), Runtime.VLLM, points[:count], "test").hardware
        widths.append(cost(request, ready(found)).tpot_spread.usual_log_sd)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < cost(request, ready()).tpot_spread.usual_log_sd / 2


def test_parts_that_nobody_timed_stay_unsure() -> None:
    """Text-only points say nothing of the vision tower."""
    found = adjusted(DEVICE, catalogue.typical(), Runtime.VLLM, slower(), "test").hardware
    spreads = found.calibration[0].part_log_sd
    assert spreads["vision"] > 2 * spreads["decode"]  # type: ignore[index]


def test_each_precision_is_moved_alone() -> None:
    rows = [
        Observation(
            request=request_of(catalogue.model(MODEL), Workload(text_tokens=50, output_tokens=9), 0, precision),
            quantity=Quantity.TPOT,
            measured_s=seconds,
            group=precision,
        )
        for precision, seconds in ((Precision.BF16, 0.08), (Precision.INT4, 0.03))
    ]
    found = adjusted(DEVICE, catalogue.typical(), Runtime.VLLM, rows, "test").hardware
    for one in rows:
        there = machine(found, catalogue.typical(), Runtime.VLLM, one.request.precision)
        assert there.basis is Basis.MEASURED
        assert cost(one.request, there).tpot_s == pytest.approx(one.measured_s, rel=0.1)


def test_a_table_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, HEAD + f"{MODEL},576,50,32,120,70.5\n{MODEL},0,20,1,33,\n")
    assert [one.quantity for one in found] == [Quantity.TTFT, Quantity.TPOT, Quantity.TTFT]
    assert found[1].measured_s == pytest.approx(0.0705)
    assert found[0].request.visual_tokens == 576
    assert found[2].request.precision is Precision.BF16


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty file"),
        (HEAD, "found 0 rows"),
        ("model,ttft_ms\nx,1\n", "no column text_tokens"),
        ("model,text_tokens,speed\nx,1,2\n", "unknown column 'speed'"),
        (HEAD + f"{MODEL},576,50,32,fast,70\n", "line 2: ttft_ms is 'fast'"),
        (HEAD + f"{MODEL},576,50,32,-3,70\n", "line 2: ttft_ms is '-3'"),
        (HEAD + f"{MODEL},576,50,32,nan,70\n", "line 2: ttft_ms is 'nan'"),
        (HEAD + f"{MODEL},576,50,32,,\n", "line 2: found no time"),
        (HEAD + f"{MODEL},576,many,32,1,\n", "line 2: text_tokens is 'many'"),
        (HEAD + f"{MODEL},576,50,1,,70\n", "line 2: a time per output token needs"),
        (HEAD + f"{MODEL},577,50,8,70,\n", "line 2: .*577"),
        (HEAD + "no-such-model-at-all,0,50,8,70,\n", "line 2: no model"),
        (HEAD + f"{MODEL},0,50,8\n", "line 2: found another number of cells"),
        ("model,text_tokens,precision,tpot_ms,output_tokens\n" + f"{MODEL},50,fp7,8,7\n", "precision is 'fp7'"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


def test_the_command_writes_a_profile(tmp_path: Path) -> None:
    path, out = tmp_path / "own.csv", tmp_path / "mine.toml"
    path.write_text(HEAD + "".join(f"{MODEL},576,{text},32,{90 + text / 5},65\n" for text in (20, 80, 300)))
    given = ["profile", "--from-measurements", str(path), "--hardware", "l4", "--out", str(out)]
    ran = CliRunner().invoke(app, given)
    assert ran.exit_code == 0, ran.output
    assert load(HardwareProfile, out).name == "l4-measured"
    assert "own.csv line 2" in ran.stdout


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--from-measurements", "x.csv"], "--hardware: found none"),
        (["--from-measurements", "x.csv", "--endpoint", "http://x/v1", "--hardware", "l4"], "exclude each other"),
        (["--from-measurements", "x.csv", "--hardware", "l4", "--quick"], "--quick: are for measuring this machine"),
        (["--hardware", "l4"], "--hardware: belong to"),
        (["--with", "gpus=2"], "--with: belong to"),
        (["--from", "x.csv", "--hardware", "l4", "--with", "gpus"], "--with: found 'gpus', expected NAME=VALUE"),
        (["--endpoint", "http://x/v1", "--hardware", "l4", "--with", "gpus=2"], "--with: belong to --from"),
        (["--endpoint", "http://x/v1", "--hardware", "l4"], "--model: found none"),
        (["--from-measurements", "no-such.csv", "--hardware", "l4"], "no-such.csv: cannot be read"),
    ],
)
def test_wrong_combinations_are_one_line(given: list[str], message: str) -> None:
    ran = CliRunner().invoke(app, ["profile", *given])
    assert ran.exit_code == 2
    assert message in ran.stderr


def test_the_page_names_the_columns() -> None:
    page = (Path(__file__).parents[1] / "docs" / "howto" / "measure.md").read_text(encoding="utf-8")
    assert ", ".join(f"`{column}`" for column in COLUMNS) in page


def test_one_row_is_compared_with_what_was_predicted_before() -> None:
    found = adjusted(DEVICE, catalogue.typical(), Runtime.VLLM, slower()[:1], "test").compared[0]
    assert found.left_out_s == pytest.approx(found.before_s)
