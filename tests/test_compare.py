"""Several devices, prices and wishes: what each device would run, what it costs, and who was left out and why."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from test_cli import changed, run

from vlmplan.cost.totals import total_params
from vlmplan.errors import InputError
from vlmplan.hardware.prices import Prices, read_prices
from vlmplan.inventory import catalogue
from vlmplan.inventory.catalogue import Shelf

ASKED = ["recommend", "--task", "reasoning", "--text-tokens", "50", "--output-tokens", "32", "--latency", "2s"]
PRICES = """schema = "vlmplan.prices/1"
currency = "EUR"
source = "an invoice"
[hour_price]
l4 = 0.5
h100-sxm = 4.0
"""


def _json(*arguments: str) -> dict[str, Any]:
    code, out, err = run(*ASKED, *arguments, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES, encoding="utf-8")
    return path


def test_several_devices_best_first() -> None:
    found = _json("--hardware", "t4,h100-sxm,l4")
    assert found["schema"] == "vlmplan.comparison/1"
    assert {one["hardware"] for one in found["devices"]} == {"t4", "h100-sxm", "l4"}
    assert found["devices"][0]["hardware"] == "h100-sxm"
    errors = [one["predicted_error"] for one in found["devices"]]
    assert errors == sorted(errors)
    alone = _json("--hardware", "l4")["choice"]
    (beside,) = (one for one in found["devices"] if one["hardware"] == "l4")
    assert (beside["model"], beside["visual_tokens"]) == (alone["model"], alone["visual_tokens"])


def test_a_device_that_meets_no_budget_says_why() -> None:
    found = _json("--hardware", "t4,h100-sxm", "--models", "Qwen3-VL-8B")
    assert [one["model"] is None for one in found["devices"]] == [False, True]
    reason = found["devices"][1]["reason"]
    assert reason.startswith("nearest is Qwen/Qwen3-VL-8B-Instruct at ") and " exceeds " in reason


def test_none_of_the_devices_is_infeasible() -> None:
    code, _, err = run(*ASKED, "--hardware", "t4,l4", "--models", "InternVL3-78B")
    assert code == 3
    assert "none of 2 devices meets the budget" in err


def test_what_would_be_enough_on_the_nearest_of_several_is_a_command_that_works() -> None:
    code, _, err = run(*changed([*ASKED, "--hardware", "t4,l4"], latency="10ms"))
    assert code == 3
    assert "Each of these alone would be enough:" in err
    command = next(line.strip() for line in err.splitlines() if "--latency" in line and "vlmplan recommend" in line)
    code, out, _ = run(*shlex.split(command)[1:])
    assert code == 0
    assert "devices meet the budget" in out


def test_of_logged_requests_those_in_time_are_counted_on_every_device(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    rows = [{"text_tokens": 40, "output_tokens": 20, "image": "640x480"}] * 9
    rows += [{"text_tokens": 40, "output_tokens": 900, "image": "640x480"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    asked = ["recommend", "--task", "ocr", "--latency", "2s", "--hardware", "t4,l4", "--requests", str(path)]
    code, out, _ = run(*asked)
    assert code == 0
    assert re.search(r"\bin time\b", out) and len(re.findall(r"9 of 10", out)) == 2
    found = json.loads(run(*asked, "--json")[1])
    assert [one["logged"]["kept"] for one in found["devices"]] == [9, 9]


def test_one_model_is_asked_of_all_devices() -> None:
    found = _json("--model", "Qwen3-VL-8B")
    assert len(found["devices"]) == len(catalogue.names(Shelf.HARDWARE))
    meets = {one["hardware"] for one in found["devices"] if one["model"]}
    assert "h100-sxm" in meets
    assert "t4" not in meets
    assert {one["model"] for one in found["devices"]} == {"Qwen/Qwen3-VL-8B-Instruct", None}


def test_globs_and_all_name_devices() -> None:
    assert {one["hardware"] for one in _json("--hardware", "h200*")["devices"]} == {"h200-sxm", "h200-nvl"}
    assert run(*ASKED, "--hardware", "nothing*")[0] == 2


def test_no_figure_is_cut_off_where_names_are_long(prices: Path) -> None:
    code, out, _ = run(*ASKED, "--hardware", "rtx-pro-6000-blackwell-*,t4,l4", "--price", str(prices))
    assert code == 0
    assert "…" not in out
    assert "no price" in out


def test_a_device_named_twice_is_asked_once() -> None:
    assert _json("--hardware", "l4,L4")["hardware"]["name"] == "l4"


def test_an_own_profile_has_a_price(tmp_path: Path, prices: Path) -> None:
    own, mine = tmp_path / "mine.toml", tmp_path / "mine-prices.toml"
    l4 = (catalogue.profiles_folder() / "hardware" / "l4.toml").read_text(encoding="utf-8")
    own.write_text(l4.replace('name = "l4"', 'name = "mine"'), encoding="utf-8")
    mine.write_text(PRICES.replace("l4 =", "mine ="), encoding="utf-8")
    plan = _json("--hardware", str(own), "--price", str(mine))
    assert plan["choice"]["price"]["hour_price"] == 0.5
    assert "no price given for mine" in _json("--hardware", str(own), "--price", str(prices))["warnings"]


def test_prices_are_of_thousand_requests(prices: Path) -> None:
    found = _json("--hardware", "l4,h100-sxm,t4", "--price", str(prices), "--concurrency", "8")
    assert found["currency"] == "EUR"
    for one in found["devices"]:
        hour = {"l4": 0.5, "h100-sxm": 4.0}.get(one["hardware"])
        assert one["hour_price"] == hour
        expected = None if hour is None else pytest.approx(1000 * hour / 3600 / one["requests_per_s"])
        assert one["thousand_requests_price"] == expected
    assert any("no price given for t4" in warning for warning in found["warnings"])
    plan = _json("--hardware", "l4", "--price", str(prices))
    assert plan["choice"]["price"]["currency"] == "EUR"
    assert "1,000 requests cost" in run(*ASKED, "--hardware", "l4", "--price", str(prices))[1]
    assert "EUR/1000" in run(*ASKED, "--hardware", "l4,t4", "--price", str(prices))[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            PRICES.replace("h100-sxm", "h100-sxn"),
            "hour_price: no hardware named 'h100-sxn' is in the catalogue; nearest: h100-nvl, h100-pcie, h100-sxm",
        ),
        (PRICES.replace("0.5", "-1"), "expected 0 to"),
        (PRICES.replace("0.5", '"half"'), "expected float"),
        (PRICES.replace("currency", "money"), "money"),
        (PRICES.replace("EUR", ""), "currency: expected 1 to 20 printable characters"),
        (PRICES.replace("EUR", "E\\nR"), "currency: expected 1 to 20 printable characters"),
        (PRICES.partition("[hour_price]")[0], "hour_price: missing, expected a table"),
        ("x", "prices.toml"),
    ],
)
def test_bad_prices(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_prices(str(path), lambda name: catalogue.hardware(name).name)


def test_prices_may_be_stated_by_the_names_that_people_have() -> None:
    found = _json("--hardware", "l4,h100", "--price", "h100=3,NVIDIA L4=.7")
    assert {one["hardware"]: one["hour_price"] for one in found["devices"]} == {"h100-sxm": 3.0, "l4": 0.7}
    assert found["currency"] == "USD"


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("l4=cheap", "found 'l4=cheap', expected a price an hour, such as l4=0.7"),
        ("l4=0.7,l4=0.8", "found two prices of l4"),
        ("h100=3,h100-sxm=4", "found two prices of h100-sxm"),
        ("l5=0.7", "no hardware named 'l5'"),
        ("0.70", "found '0.70', an amount, expected each device's price an hour: l4=0.7,h100=3, or a file"),
    ],
)
def test_prices_stated_amiss(stated: str, message: str) -> None:
    code, _, err = run(*ASKED, "--hardware", "l4", "--price", stated)
    assert code == 2
    assert f"--price: {message}" in err


def test_the_cheapest_device_first(prices: Path) -> None:
    """By what 1,000 requests cost, not by error; without prices several devices cannot be told apart."""
    asked = ("--hardware", "l4,h100-sxm", "--max-error", "30%", "--minimise", "cost")
    found = _json(*asked, "--price", str(prices))
    costs = [one["thousand_requests_price"] for one in found["devices"]]
    assert costs == sorted(costs)
    assert found["objective"] == "cost"
    code, _, err = run(*ASKED, *asked)
    assert code == 2
    assert "--minimise cost: found several devices and no prices" in err


@pytest.mark.parametrize(("objective", "figure"), [("latency", "latency_s"), ("memory", "memory_bytes")])
def test_devices_are_ordered_by_the_objective(objective: str, figure: str) -> None:
    found = _json("--hardware", "l4,h100-sxm,t4", "--max-error", "30%", "--minimize", objective)
    figures = [one[figure] for one in found["devices"]]
    assert figures == sorted(figures)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("--minimise", "cost"), "--minimise cost: found no --max-error"),
        (("--max-error", "0.3"), "did you mean 30%?"),
        (("--max-error", "30"), "did you mean 30%?"),
        (("--max-error", "130%"), "expected a share of at most 100%"),
    ],
)
def test_objectives_that_cannot_be_asked(asked: tuple[str, ...], message: str) -> None:
    code, _, err = run(*ASKED, "--hardware", "l4", *asked)
    assert code == 2
    assert message in err


def test_more_gpus_cost_more() -> None:
    prices = Prices(currency="USD", hour_price={"l4": 1.0})
    one, two = (prices.thousand_requests("l4", gpus, 2.0) for gpus in (1, 2))
    assert one is not None
    assert two == pytest.approx(2 * one)
    assert prices.thousand_requests("t4", 1, 2.0) is None


@pytest.mark.parametrize(
    ("wish", "holds"),
    [
        (("--license", "apache*"), lambda model: (model.license or "").startswith("Apache")),
        (("--max-params", "3B"), lambda model: total_params(model) <= 3e9),
        (("--released-after", "2025-09"), lambda model: (model.release_date or "") > "2025-09"),
        (("--family", "internvl3*"), lambda model: model.family.startswith("InternVL3")),
    ],
)
def test_wishes_are_kept(wish: tuple[str, str], holds: Any) -> None:
    plan = _json("--hardware", "h100-sxm", *wish)
    names = [plan["choice"]["model"], *(one["model"] for one in (*plan["front"], *plan["runners_up"]))]
    assert len(set(names)) > 1
    assert all(holds(catalogue.model(name)) for name in names)
    assert plan["left_out"]


def test_pretrained_checkpoints_are_never_chosen() -> None:
    code, _, err = run(*ASKED, "--hardware", "h100-sxm", "--model", "paligemma2-10b-pt-448")
    assert code == 2
    assert "pretrained only" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--hardware", "l4", "--released-after", "yesterday"), "expected a date such as 2025-01-31"),
        (("--hardware", "l4", "--released-after", "2025-13"), "expected a date"),
        (("--hardware", "l4", "--max-params", "8"), "expected a number of parameters with a unit"),
        (("--hardware", "l4", "--model", "Qwen3-VL-8B", "--models", "qwen"), "exclude each other"),
        (("--hardware", "l4,t4", "--plot", "x.svg"), "draws the front of one device"),
        (("--hardware", "l4", "--family", "nobody*"), "--family: no model's matches 'nobody*'"),
        (("--hardware", "l4,,t4"), "no hardware named ''"),
        (("--hardware", "l4", "--released-after", "2025-02-31"), "expected a date"),
        (("--hardware", "l4,t4", "--precision", "bogus"), "error: --precision: found 'bogus'"),
        (("--model", "nosuch"), "error: no model named 'nosuch'"),
        (("--hardware", "l4", "--model", "Qwen3-VL-8B", "--candidates", "paper"), "expected a backbone to train"),
        (("--hardware", "l4", "--out", "x.svg", "--plot", "x.svg"), "is that of --out"),
        (("--price", "missing.toml", "--hardware", "l4"), "missing.toml"),
    ],
)
def test_bad_questions(arguments: tuple[str, ...], message: str) -> None:
    code, _, err = run(*ASKED, *arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_the_hand_over_of_a_served_plan() -> None:
    deploy = _json("--hardware", "l40s", "--model", "Qwen3-VL-4B", "--concurrency", "4", "--memory", "24GiB")["choice"][
        "deploy"
    ]
    assert deploy["command"].startswith("vllm serve Qwen/Qwen3-VL-4B-Instruct --dtype bfloat16 --max-model-len ")
    assert "--max-num-seqs 4" in deploy["command"]
    assert deploy["memory_fraction"] == pytest.approx(0.54, abs=0.011)  # 24 of 44.7 GiB
    assert f"--gpu-memory-utilization {deploy['memory_fraction']:g}" in deploy["command"]
    assert deploy["more_gpus"] == f"{deploy['command']} --tensor-parallel-size 2"
    first, second = deploy["two_machines"]
    assert first.endswith("--nnodes 2 --master-addr HEAD_ADDRESS --node-rank 0")
    assert second.endswith("--node-rank 1 --headless")
    assert "profile --endpoint" in deploy["check"]
    assert "max_pixels" in deploy["settings"]["sglang"]
    assert deploy["settings"]["llama.cpp"].startswith("--image-max-tokens ")


def test_a_model_without_pipeline_stages_is_split_over_two_machines_by_heads() -> None:
    served = _json("--hardware", "h100-sxm", "--model", "SmolVLM-Instruct")["choice"]["deploy"]["two_machines"]
    assert "--tensor-parallel-size 2 --nnodes 2" in served[0]
    assert "pipeline" not in served[0]


def test_tokens_of_an_image_and_what_sets_another_number() -> None:
    code, out, _ = run("tokens", "--model", "Qwen3-VL-8B", "--image", "1920x1080", "--images", "3", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["native"]["visual_tokens"] == 60 * 34
    assert found["native"]["request_visual_tokens"] == 3 * 60 * 34
    code, out, _ = run("tokens", "--model", "Qwen2.5-VL-7B", "--image", "1920x1080", "--visual-tokens", "256")
    assert code == 0
    assert "252 visual tokens" in out
    assert 'vllm: --mm-processor-kwargs \'{"size": {"shortest_edge": 3136, "longest_edge": 200704}}\'' in out
    assert "llama.cpp: --image-max-tokens 256" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "llava-1.5-7b", "--visual-tokens", "64"), "makes at least 576"),
        (("--model", "llava-1.5-7b", "--images", "0"), "expected 1 to 10000"),
        (("--model", "no such model"), "no model named"),
        (("--model", "llava-1.5-7b", "--image", "0x5"), "expected an image size"),
    ],
)
def test_tokens_that_cannot_be_told(arguments: tuple[str, ...], message: str) -> None:
    code, _, err = run("tokens", *arguments)
    assert code == 2
    assert message in err


def test_none_of_the_devices_says_why_of_each() -> None:
    code, _, err = run(
        *changed([*ASKED, "--hardware", "v100-sxm2-32gb,l4,v100-pcie-16gb,h100-sxm"], latency="1ms"),
        "--precision",
        "fp8",
    )
    assert code == 3
    assert "none of 4 devices meets the budget" in err
    for reason in ("v100-sxm2-32gb has no fp8 peak", "l4: nearest is ", "v100-pcie-16gb has no fp8 peak"):
        assert reason in err, err
    code, _, err = run(*ASKED, "--hardware", "all", "--models", "Qwen3-VL-235B*")
    assert code == 3
    assert re.search(r"none of \d+ devices meets the budget; .* and \d+ more; raise the budget", err), err


def test_a_device_drops_the_precisions_that_it_does_not_run() -> None:
    found = _json("--hardware", "a100-80gb-sxm", "--precision", "bf16,fp8")
    assert found["choice"]["precision"] == "bf16"
    assert "of --precision bf16,fp8: a100-80gb-sxm has no fp8 peak and multiplies" in found["left_out"][0]
    both = _json("--hardware", "a100-80gb-sxm,l40s", "--precision", "fp8,bf16")
    assert all(one["model"] for one in both["devices"])
    code, _, err = run(*ASKED, "--hardware", "v100-sxm2-32gb", "--precision", "fp8")
    assert (code, "has no fp8 peak" in err) == (2, True)
    assert _json("--hardware", "a100-80gb-sxm", "--precision", "fp8")["choice"]["precision"] == "fp8"
    code, _, err = run(*ASKED, "--hardware", "a100-80gb-sxm", "--precision", "bf16,fp9")
    assert (code, "found 'fp9'" in err) == (2, True)
