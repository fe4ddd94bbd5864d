"""The shipped profiles are what the tools make of the facts: memory and names of devices, and every model."""

import csv
import importlib
from pathlib import Path
from types import ModuleType

import pytest

from vlmplan.document import to_toml
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
