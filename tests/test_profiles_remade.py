"""The shipped profiles are what the tools make of the facts: memory and names of devices, and every model."""

import copy
import csv
import importlib
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import tomli_w

from vlmplan.document import to_toml
from vlmplan.errors import InputError
from vlmplan.hardware.profile import HardwareProfile
from vlmplan.inventory import catalogue
from vlmplan.inventory.catalogue import Shelf

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ModuleType:
    """A module of ``tools/``."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    return importlib.import_module(request.param)


def _rows(name: str) -> list[dict[str, str]]:
    with (ROOT / "facts" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("maker", ["make_hardware"], indirect=True)
def test_what_a_device_is_is_made_again(maker: ModuleType) -> None:
    """All but its calibrations, whose last digits are the processor's."""
    made: dict[str, HardwareProfile] = {}
    for row in _rows("accelerators.csv"):
        if (found := maker.device(row)) is not None:
            made.setdefault(found.name, found)
    assert len(made) > 50
    for name, found in made.items():
        shipped = catalogue.hardware(name)
        assert (shipped.memory_bytes, shipped.sources) == (found.memory_bytes, found.sources), name
        assert shipped.peak_flops_per_s == found.peak_flops_per_s
    named = {row["name"]: found.name for row in _rows("accelerators.csv") if (found := maker.device(row))}
    names = catalogue.profiles_folder() / "device_names.toml"
    assert {"A100 40GB SXM", "T4"} <= set(named)
    listed = maker.reported_names(
        named | {"A40": "a40", "Jetson Orin Nano 8GB (original)": "jetson-orin-nano-8gb-original"}
    )
    assert names.read_text(encoding="utf-8") == to_toml(listed)


L4 = next(row for row in _rows("accelerators.csv") if row["name"] == "L4")


@pytest.mark.parametrize("maker", ["make_hardware"], indirect=True)
@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"kind": ""}, "found nothing in kind, expected"),
        ({"memory_gib": "", "name": "L5"}, "L5: found nothing in memory_gib, expected"),
        ({"kind": "card"}, "kind: found 'card', expected gpu or soc or"),
        ({"memory_gib": "24GB"}, "memory_gib: found '24GB', expected a number"),
        ({"source_url": " ", "confidence": ""}, "found nothing in confidence, source_url"),
    ],
)
def test_what_a_device_lacks_is_said_in_a_line(maker: ModuleType, changed: dict[str, str], told: str) -> None:
    with pytest.raises(InputError, match=told) as error:
        maker.device(L4 | changed)
    assert str(error.value).startswith("facts/accelerators.csv, L")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("maker", ["make_hardware"], indirect=True)
def test_memory_that_the_owner_chooses_may_be_left_out(maker: ModuleType) -> None:
    made = maker.device(L4 | {"name": "Board", "kind": "soc", "memory_gib": ""})
    assert made is not None
    assert made.memory_bytes is None


@pytest.mark.parametrize("maker", ["make_hardware"], indirect=True)
def test_a_tool_ends_in_a_line_before_it_fits_anything(maker: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = importlib.import_module("fit_overhead")
    fitted.assumed.cache_clear()
    whole = fitted.rows
    monkeypatch.setattr(fitted, "rows", lambda name: whole(name)[:1] if name == "runtimes.csv" else whole(name))
    with pytest.raises(SystemExit, match=r"^facts/runtimes.csv: found no row of tensorrt-llm, expected one$"):
        maker.main()
    fitted.assumed.cache_clear()


@pytest.mark.parametrize("maker", ["make_hardware"], indirect=True)
def test_only_what_changed_is_written_again(maker: ModuleType, tmp_path: Path) -> None:
    """Last digits are a processor's: a runtime more leaves those of the others as they are."""
    path, there = tmp_path / "typical.toml", catalogue.profiles_folder() / "typical.toml"
    path.write_text(there.read_text(encoding="utf-8"), encoding="utf-8")
    tables = tomllib.loads(there.read_text(encoding="utf-8"))
    for one in (near := copy.deepcopy(tables))["calibration"]:
        one["overhead_log_sd"] *= 1.001
        if one["runtime"] == "vllm":
            one["reserve_bytes"] = 7
    near["calibration"].insert(0, near["calibration"][0] | {"runtime": "made-up", "reserve_bytes": 8})
    maker.write(path, tomli_w.dumps(near))
    new, *rest = tomllib.loads(path.read_text(encoding="utf-8"))["calibration"]
    assert new["runtime"] == "made-up"
    assert len(rest) == len(tables["calibration"])
    for one, before in zip(rest, tables["calibration"], strict=True):
        assert one == before | ({"reserve_bytes": 7} if one["runtime"] == "vllm" else {})


@pytest.mark.parametrize("maker", ["make_evidence"], indirect=True)
def test_a_benchmark_that_hardly_anybody_was_scored_on_is_said_in_a_line(
    maker: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maker, "BENCHMARKS", ["InfoVQA"])
    with pytest.raises(SystemExit, match=r"^facts/vlm_scores.csv, InfoVQA: found scores of 0 checkpoints .*tasks\.py$"):
        maker.main()


@pytest.mark.parametrize("maker", ["make_evidence"], indirect=True)
def test_a_benchmark_of_no_kind_or_no_task_is_told(maker: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "POPE (45 checkpoints)" in [*maker.of_no_task()]
    monkeypatch.setattr(maker, "BENCHMARKS", ["POPE"])
    monkeypatch.setattr(maker, "STUDIED", {"POPE": "POPE!"})
    assert not [one for one in maker.of_no_task() if "POPE" in one]
    with pytest.raises(SystemExit, match=r"^tools/benchmarks.py, KINDS: found no POPE!, expected"):
        maker.main()


@pytest.mark.parametrize("maker", ["fit_efficiency"], indirect=True)
def test_a_gpu_more_leaves_the_rows_drawn_of_the_others(maker: ModuleType) -> None:
    def drawn(gpus: int) -> list[float]:
        records = [(gpu, 1.0, 1.0, (1.0,), 1.0 + gpu + row / 1e5) for row in range(5000) for gpu in range(gpus)]
        return [float(one) for one in maker._samples(records).seconds]

    assert len(drawn(2)) == 2 * maker.MOST_ROWS
    assert drawn(3)[: 2 * maker.MOST_ROWS] == drawn(2)


def test_facts_about_devices_have_sources_and_known_devices() -> None:
    known = {row["name"] for row in _rows("accelerators.csv")} | {"A40"}
    for name in ("device_memory.csv", "device_names.csv"):
        for row in _rows(name):
            assert row["device"] in known, row
            assert row["source"].strip(), row
            assert row["reported_name"].strip(), row


@pytest.mark.parametrize("maker", ["make_models"], indirect=True)
def test_every_model_is_made_again_byte_for_byte(maker: ModuleType) -> None:
    known, made = maker.more_facts(), 0
    for row in maker.rows("vlms.csv"):
        if row["hf_id"] in maker.LEFT_OUT:
            continue
        path = catalogue.find(Shelf.MODELS, row["hf_id"])
        assert path.read_text(encoding="utf-8") == to_toml(maker.model(row, known.get(row["hf_id"], {}))), row["hf_id"]
        made += 1
    assert made == len(catalogue.names(Shelf.MODELS))


def test_every_model_has_a_licence_and_says_where_it_was_read() -> None:
    sourced = {row["hf_id"] for row in _rows("vlms.csv") if row["license"] and row["license_source"]}
    for row in _rows("model_facts.csv"):
        if row["license"]:
            assert "https://" in row["source"], row
            sourced.add(row["hf_id"])
    for model in catalogue.models():
        assert model.license, model.name
        assert model.name in sourced


def test_scores_of_videos_have_sources_and_shipped_models() -> None:
    known = {model.name for model in catalogue.models()}
    table = _rows("video_scores.csv")
    assert len(table) > 150
    assert len({(row["hf_id"], row["benchmark"], row["source"]) for row in table}) == len(table)
    for row in table:
        assert row["hf_id"] in known, row
        assert row["benchmark"] in {"VideoMME", "MVBench", "LongVideoBench", "MLVU"}
        assert 20 < float(row["score"]) < 100
        assert "arXiv" in row["source"] or "stored" in row["source"]
        assert row["date_read"] and row["protocol_note"]
        assert not row["frames"] or 1 <= int(row["frames"]) <= 2048
    assert all(row["source"] and row["reason"] for row in _rows("one_picture.csv"))
