"""Names of devices: what drivers report, what people type, and names of devices that the catalogue does not list."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from test_cli import run

from vlmplan.errors import Assumed, InputError
from vlmplan.hardware import Runtime
from vlmplan.inventory import catalogue
from vlmplan.inventory.catalogue import Shelf

FACTS = Path(__file__).resolve().parents[1] / "facts"


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb-sxm"),
        ("NVIDIA A100 80GB PCIe", "a100-80gb-pcie"),
        ("NVIDIA A100-PCIE-40GB", "a100-40gb-pcie"),
        ("Tesla T4", "t4"),
        ("Tesla V100-SXM2-16GB", "v100-sxm2-16gb"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA GH200 480GB", "gh200"),
        ("NVIDIA B300 SXM6 AC", "b300-sxm"),
        ("NVIDIA GeForce RTX 4070", "geforce-rtx-4070"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx-6000-ada-generation"),
        ("NVIDIA Thor", "jetson-agx-thor-t5000"),
        ("AMD Instinct MI300X OAM", "instinct-mi300x"),
        ("Intel(R) Arc(TM) B580 Graphics", "intel-arc-b580"),
        ("AMD EPYC 9654 96-Core Processor", "amd-epyc-9654"),
        ("Apple M4 Max", "apple-m4-max"),
    ],
)
def test_what_drivers_report_means_its_device(name: str, device: str) -> None:
    assert catalogue.hardware(name).name == device
    assert catalogue.hardware(name.lower()).name == device


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("a10", "a10"),
        ("A10G", "a10g"),
        ("4090", "geforce-rtx-4090"),
        ("rtx4090", "geforce-rtx-4090"),
        ("rtx 6000", "rtx-6000-ada-generation"),
        ("RTX 4070", "geforce-rtx-4070"),
        ("4060 ti", "geforce-rtx-4060-ti-16gb"),
        ("h100 sxm5", "h100-sxm"),
        ("a100 sxm 80gb", "a100-80gb-sxm"),
        ("agx orin 64gb", "jetson-agx-orin-64gb"),
        ("mi300x", "instinct-mi300x"),
        ("H100 SXM5 80GB", "h100-sxm"),
        ("H100 NVL 94GB", "h100-nvl"),
        ("A10 24GB", "a10"),
        ("RTX 4090 24GB", "geforce-rtx-4090"),
        ("H200 141GB HBM3e", "h200-sxm"),
        ("H100 94GB", "h100-nvl"),
        ("RTX-4090", "geforce-rtx-4090"),
        ("rtx_4090", "geforce-rtx-4090"),
        ("rtx 4090", "geforce-rtx-4090"),
        ("GeForce 4090", "geforce-rtx-4090"),
        ("rtx-4060", "geforce-rtx-4060"),
        ("4060", "geforce-rtx-4060"),
        ("4060ti", "geforce-rtx-4060-ti-16gb"),
        ("3060", "geforce-rtx-3060-12gb"),
        ("rtx3090ti", "geforce-rtx-3090-ti"),
        ("4070 ti super", "geforce-rtx-4070-ti-super"),
        ("4080 super", "geforce-rtx-4080-super"),
        ("5090", "geforce-rtx-5090"),
        ("6000 ada", "rtx-6000-ada-generation"),
        ("a6000", "rtx-a6000"),
        ("rtx pro 6000 server", "rtx-pro-6000-blackwell-server"),
        ("m4 max", "apple-m4-max"),
        ("m4max", "apple-m4-max"),
        ("M3-Max", "apple-m3-max"),
        ("L4 GPU", "l4"),
        ("l4 tensor core", "l4"),
        ("l40", "l40"),
        ("l40s", "l40s"),
        ("t4", "t4"),
        ("h200", "h200-sxm"),
        ("nvidia t4", "t4"),
        ("b200", "b200-sxm"),
        ("gb200", "gb200"),
        ("h200 nvl", "h200-nvl"),
        ("h100 pcie", "h100-pcie"),
        ("gh200", "gh200"),
        ("AMD Instinct MI300X VF", "instinct-mi300x"),
        ("mi325x", "instinct-mi325x"),
        ("orin nx", "jetson-orin-nx-16gb"),
        ("orin nano super", "jetson-orin-nano-8gb"),
        ("jetson thor", "jetson-agx-thor-t5000"),
        ("arc b580", "intel-arc-b580"),
        ("13900k", "intel-core-i9-13900k"),
        ("epyc 9654", "amd-epyc-9654"),
        ("xeon 8480+", "intel-xeon-platinum-8480+"),
    ],
)
def test_short_names_mean_one_device(name: str, device: str) -> None:
    assert catalogue.hardware(name).name == device


def test_a_mac_has_the_memory_that_its_name_says() -> None:
    whole, bought = catalogue.hardware("m4 max"), catalogue.hardware("m4-max-64gb")
    assert (bought.name, bought.memory_bytes) == ("apple-m4-max-64gb", 64 * 2**30)
    assert bought.usable_bytes(Runtime.LLAMA_CPP) == 48 * 2**30
    assert bought == replace(whole, name=bought.name, memory_bytes=bought.memory_bytes, memory_is_most=None)
    assert catalogue.devices("m4-max-64gb,apple-m4-max-64gb,m4-max-32gb", None) == ["m4-max-64gb", "m4-max-32gb"]
    with pytest.warns(Assumed, match="taken with 128 GiB, the most that is sold; for less: --hardware apple-m4-max-64"):
        catalogue.devices("m4-max", None)
    for size in ("256gb", "2gb"):
        with pytest.raises(InputError, match="no hardware named"):
            catalogue.hardware(f"m4-max-{size}")


def test_a_jetson_of_another_size_is_another_module() -> None:
    with pytest.raises(InputError, match="no hardware named"):
        catalogue.hardware("jetson-orin-nano-4gb")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("H20", "h200-sxm"),
        ("NVIDIA H20", "h200-sxm"),
        ("H800", "h100-sxm"),
        ("NVIDIA A800-SXM4-80GB", "a100-80gb-sxm"),
        ("A16", "a10"),
        ("L2", "l4"),
        ("B100", "b200-sxm"),
        ("GB300", "gb200"),
        ("RTX 4090 D", "geforce-rtx-4090"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "geforce-rtx-4090"),
        ("RTX 3070 Ti", "geforce-rtx-3070"),
        ("GeForce RTX 4060 Ti 8GB", "geforce-rtx-4060-ti-16gb"),
        ("H20 96GB", "h200-sxm"),
        ("RTX 3080 12GB", "geforce-rtx-3060-12gb"),
        ("MI300A", "instinct-mi300x"),
        ("Apple M5", "apple-m4"),
        ("Quadro RTX 6000", "rtx-6000-ada-generation"),
        ("h10", "h100-sxm"),
        ("a1", "a100-80gb-sxm"),
        ("l4s", "l4"),
        ("MI300", "instinct-mi300x"),
        ("m5 pro", "apple-m4-pro"),
        ("rtx 4090 laptop", "geforce-rtx-4090"),
        ("4090 ti", "geforce-rtx-4090"),
        ("gtx 1080", "geforce-rtx-4080"),
    ],
)
def test_another_device_is_not_taken_for_one_of_the_catalogue(name: str, near: str) -> None:
    with pytest.raises(InputError, match=r"no hardware named .* is in the catalogue") as caught:
        catalogue.hardware(name)
    assert "ambiguous" not in str(caught.value)
    assert near in str(caught.value)


@pytest.mark.parametrize(("name", "count"), [("Orin", 5), ("jetson", 6), ("RTX PRO 6000", 2)])
def test_a_name_of_several_devices_lists_them(name: str, count: int) -> None:
    with pytest.raises(InputError, match="is ambiguous; it could be") as caught:
        catalogue.hardware(name)
    assert str(caught.value).partition("could be ")[2].count(",") == count - 1


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("h100", "h100-sxm"),
        ("H100 80GB", "h100-sxm"),
        ("NVIDIA H100 Tensor Core GPU", "h100-sxm"),
        ("a100", "a100-80gb-sxm"),
        ("nvidia a100", "a100-80gb-sxm"),
        ("A100 40GB", "a100-40gb-sxm"),
        ("A100 80GB", "a100-80gb-sxm"),
        ("a100 pcie", "a100-80gb-pcie"),
        ("a100-sxm", "a100-80gb-sxm"),
        ("v100", "v100-sxm2-16gb"),
        ("v100 32gb", "v100-sxm2-32gb"),
        ("v100 pcie", "v100-pcie-16gb"),
        ("orin nano", "jetson-orin-nano-8gb"),
        ("NVIDIA Jetson AGX Orin Developer Kit", "jetson-agx-orin-64gb"),
    ],
)
def test_of_variants_the_usual_one_is_taken_and_said(name: str, device: str) -> None:
    with pytest.warns(Assumed, match=f"'{name}' is taken for {device}, .+; it could be "):
        assert catalogue.hardware(name).name == device


def test_what_is_assumed_is_one_line_on_stderr() -> None:
    code, out, err = run("estimate", "--model", "SmolVLM-256M", "--hardware", "a100", "--visual-tokens", "64",
                         "--text-tokens", "50", "--output-tokens", "32", "--json")  # fmt: skip
    assert code == 0
    assert '"name": "a100-80gb-sxm"' in out
    said = [line for line in err.splitlines() if line.startswith("note: ")]
    assert len(said) == 1
    assert said[0].startswith("note: 'a100' is taken for a100-80gb-sxm, the one of ")
    assert said[0].endswith("; it could be a100-40gb-pcie, a100-40gb-sxm, a100-80gb-pcie")
    assert "note:" not in run("catalogue", "hardware", "a100-80gb-sxm")[2]


def test_variants_are_devices_of_the_catalogue_best_first() -> None:
    with (FACTS / "usual_variants.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"A100", "H100", "V100"} <= {row["family"] for row in rows}
    for row in rows:
        assert row["why"] == "what is left" or row["source"].strip(), row


def test_every_reported_name_is_known() -> None:
    """Names of one device mean it; names of several are said to be ambiguous."""
    with (FACTS / "device_names.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 50
    for row in rows:
        alike = [one for one in rows if one["reported_name"] == row["reported_name"]]
        if len(alike) == 1:
            assert catalogue.find(Shelf.HARDWARE, row["reported_name"]).is_file()


def test_memory_is_what_a_program_finds() -> None:
    """Figures as PyTorch prints them (GiB), far below the nominal ones."""
    found = {
        "a100-40gb-sxm": 39.4,
        "a100-80gb-sxm": 79.3,
        "h100-sxm": 79.2,
        "h200-sxm": 139.8,
        "geforce-rtx-3090": 23.6,
        "geforce-rtx-4090": 23.6,
        "t4": 14.7,
        "l4": 22.1,
    }
    for name, gib in found.items():
        device = catalogue.hardware(name)
        assert device.memory_bytes is not None
        assert device.memory_bytes / 2**30 == pytest.approx(gib, abs=0.1), name
        assert any(source.startswith("memory: ") for source in device.sources)


def test_a_name_on_the_command_line() -> None:
    code, _, err = run("catalogue", "hardware", "H20")
    assert code == 2
    assert (
        "no hardware named 'H20' is in the catalogue; nearest: h200-nvl, h200-sxm; 'vlmplan catalogue hardware' lists"
        in err
    )
    code, _, err = run("recommend", "--hardware", "l44")
    assert code == 2
    assert "no hardware named 'l44' is in the catalogue; nearest: l4, l40" in err
    for slice_ in ("NVIDIA A100-SXM4-80GB MIG 3g.40gb", "NVIDIA H100 80GB HBM3 MIG 1g.10gb"):
        code, _, err = run("recommend", "--hardware", slice_)
        assert (code, "is a slice of a GPU, of which no profile is shipped; leave --hardware out" in err) == (2, True)
    code, _, err = run("estimate", "--model", "SmolVLM-256M", "--hardware", "NVIDIA H100 96GB HBM3")
    assert (code, "is taken for h100-sxm, " in err, "it could be h100-nvl" in err) == (0, True, True), err
    code, out, _ = run("catalogue", "hardware", "NVIDIA H100 80GB HBM3", "--json")
    assert code == 0
    assert '"name": "h100-sxm"' in out
