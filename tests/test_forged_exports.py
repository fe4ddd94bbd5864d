"""What decides comes from outside the folder: forged exports are refused, whatever they say of themselves."""

import contextlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from forgeries import FORGERIES, forge
from mutants import FAULTS, NothingChanged
from safetensors.torch import save_file
from small_models import (
    GRIDDED,
    KINDS,
    PICTURED,
    POOLED,
    SHAPED,
    TILE_TOKENS,
    TILED,
    USUAL_IMAGE,
    checkpoint,
    exported,
    order,
    quiet,
)
from small_plans import plan_for
from small_training import trained

from vlmplan.checkpoints.checkpoint import open_checkpoint
from vlmplan.checkpoints.compressors import RandomWeights, parameter_shapes
from vlmplan.checkpoints.regions import compression
from vlmplan.errors import InputError
from vlmplan.exporting.manifest import read_manifest
from vlmplan.exporting.orders import ExportChoices, ExportOrder
from vlmplan.exporting.orders import export_order as chosen
from vlmplan.exporting.write import export
from vlmplan.hardware.runtimes import Precision
from vlmplan.models.spec import Compressor
from vlmplan.proof.options import Options
from vlmplan.proof.report import Outcome, Report
from vlmplan.proof.validate import Validator

QUICK = Options(threads=2, repeats=1)


@pytest.fixture(scope="module")
def packer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that was trained with TokenPacker for four visual tokens."""
    folder = tmp_path_factory.mktemp("trained") / "packer"
    trained(folder)
    return folder


def _own_order(folder: Path, **given: Any) -> ExportOrder:
    return replace(chosen(ExportChoices(checkpoint=str(folder)), None), **given)


def _weights(kind: str, compressor: Compressor, visual_tokens: int, path: Path, sign: float = 1.0) -> Path:
    """A compressor's file for one of KINDS, its output perhaps negated."""
    import torch

    opened = open_checkpoint(str(checkpoint(kind)))
    shapes = parameter_shapes(opened, compression(compressor, opened.grid_side, visual_tokens))
    drawn = RandomWeights(shapes=shapes, seed=7)
    signs = {name: sign if "out_proj" in name else 1.0 for name in shapes}
    save_file({name: torch.from_numpy(drawn.array(name) * signs[name]).contiguous() for name in shapes}, path)
    return path


def _judged(folder: Path, **given: Any) -> Report:
    return Validator(replace(QUICK, **given), quiet).validate(folder).report


def _failed(report: Report) -> set[str]:
    return {check.name for check in report.failed}


def test_a_trained_checkpoint_brings_its_own_compressor(packer: Path, tmp_path: Path) -> None:
    """Exports of it with another compressor's weights agree with themselves: they are still no exports of it."""
    export(_own_order(packer), tmp_path / "good", quiet)
    report = _judged(tmp_path / "good", checkpoint=str(packer))
    assert not report.failed and not report.reservations, report.failed
    export(_own_order(packer, random_weights=True), tmp_path / "random", quiet)
    assert {"manifest", "weights", "vision"} <= _failed(_judged(tmp_path / "random", checkpoint=str(packer)))
    assert {"manifest", "weights", "vision"} <= _failed(_judged(tmp_path / "random"))
    opened = open_checkpoint(str(packer))
    shapes = parameter_shapes(opened, compression(Compressor.TOKEN_PACKER, opened.grid_side, 4))
    import torch

    own = {name: torch.from_numpy(opened.tensors.array(name)).clone() for name in shapes}
    negated = {name: -value if "out_proj" in name else value for name, value in own.items()}
    save_file(negated, tmp_path / "negated.safetensors")
    other = tmp_path / "negated.safetensors"
    with pytest.raises(
        InputError, match=r"negated\.safetensors holds another token-packer than .* \(trained with it\)"
    ):
        export(_own_order(packer, weights=other), tmp_path / "negated", quiet)
    shutil.copytree(packer, plain := tmp_path / "plain")
    config = json.loads((plain / "config.json").read_text())
    config.pop("vlmplan")
    (plain / "config.json").write_text(json.dumps(config))
    asked = replace(_own_order(packer, weights=other), checkpoint=str(plain))
    export(asked, tmp_path / "negated", quiet)
    assert {"manifest", "weights", "vision"} <= _failed(_judged(tmp_path / "negated", checkpoint=str(packer)))
    with pytest.raises(InputError, match="holds another token-packer"):
        _judged(tmp_path / "negated", checkpoint=str(packer), weights=other)
    for name, given in (
        ("pooled", {"compressor": Compressor.AVERAGE_POOL}),
        ("more", {"visual_tokens": 16, "random_weights": True}),
    ):
        export(_own_order(packer, **given), tmp_path / name, quiet)
        report = _judged(tmp_path / name, checkpoint=str(packer))
        assert _failed(report) == {"manifest"}
        assert "was trained with token-packer for 4 visual tokens" in report.failed[0].detail


def test_the_checkpoints_own_compressor_may_have_been_named(packer: Path, tmp_path: Path) -> None:
    """A file of the same tensors is the same compressor; where it is not here any more, nobody can tell."""
    opened = open_checkpoint(str(packer))
    shapes = parameter_shapes(opened, compression(Compressor.TOKEN_PACKER, opened.grid_side, 4))
    import torch

    path = tmp_path / "own.safetensors"
    save_file({name: torch.from_numpy(opened.tensors.array(name)).clone() for name in shapes}, path)
    export(_own_order(packer, weights=path), tmp_path / "named", quiet)
    assert not _failed(_judged(tmp_path / "named", checkpoint=str(packer)))
    assert not _failed(_judged(tmp_path / "named", checkpoint=str(packer), weights=path))
    export(_own_order(packer), tmp_path / "unnamed", quiet)
    assert not _failed(_judged(tmp_path / "unnamed", checkpoint=str(packer), weights=path))
    manifest = (tmp_path / "named" / "manifest.json").read_text()
    digest = json.loads(manifest)["weights_sha256"]
    (tmp_path / "named" / "manifest.json").write_text(manifest.replace(digest, "0" * 64))
    assert _failed(_judged(tmp_path / "named", checkpoint=str(packer))) == {"manifest"}
    (tmp_path / "named" / "manifest.json").write_text(manifest)
    path.unlink()
    report = _judged(tmp_path / "named", checkpoint=str(packer))
    assert _failed(report) == {"manifest"}
    assert "or a file of the same tensors" in report.failed[0].detail


def test_what_only_the_export_says_is_named(tmp_path: Path) -> None:
    made = order(precision=Precision.INT8, base_precision=Precision.FP16, all_logits=True)
    export(made, tmp_path / "made", quiet)
    known: dict[str, Any] = {"visual_tokens": 36, "compressor": Compressor.AVERAGE_POOL, "precision": Precision.INT8}
    own = "over fp16, logits of every position"
    for given, words in (
        (known, f"and as expected: 36 visual tokens by average-pool, int8; asked for, by the export's own word: {own}"),
        ({"precision": Precision.INT8}, f"expected: int8; asked for, by the export's own word: 36 visual tokens by "
         f"average-pool {own}"),
        ({}, f"own word: 36 visual tokens by average-pool, int8 {own}"),
    ):  # fmt: skip
        report = _judged(tmp_path / "made", checkpoint=str(checkpoint()), **given)
        assert words in next(check.detail for check in report.checks if check.name == "judge")
    path = tmp_path / "made" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"checkpoint": "forged/other"}))
    report = _judged(tmp_path / "made", checkpoint=str(checkpoint()), **known)
    assert "it calls its checkpoint forged/other" in next(one.detail for one in report.checks if one.name == "judge")
    assert "versions it was made by are its own word" in next(
        one.detail for one in report.checks if one.name == "manifest"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vlmplan_version": "9.9.9-totally-different"}, "vlmplan_version: expected a version"),
        ({"vlmplan_version": "1!0"}, "vlmplan_version: expected a version"),
        ({"vlmplan_version": "99.1"}, "newer than this vlmplan"),
        ({"versions": {"torch": "2.9.0"}}, "versions: expected those of torch, transformers"),
        ({"torch": "0.0.0"}, "versions.torch: vlmplan does not run with 0.0.0; it needs"),
        ({"onnx_ir": "1" + "0" * 50}, "versions.onnx_ir: expected a version"),
    ],
)
def test_versions_that_cannot_have_made_it(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    shutil.copytree(exported(), tmp_path / "made")
    path = tmp_path / "made" / "manifest.json"
    manifest = json.loads(path.read_text())
    libraries = manifest["versions"] | {key: value for key, value in change.items() if key in manifest["versions"]}
    rest = {key: value for key, value in change.items() if key in manifest}
    path.write_text(json.dumps(manifest | {"versions": libraries} | rest))
    report = _judged(tmp_path / "made", checkpoint=str(checkpoint()))
    assert _failed(report) == {"manifest"}
    assert message in report.failed[0].detail


def test_a_compressors_file_is_named_by_who_validates(tmp_path: Path) -> None:
    kind, compressor = "clip-llama", Compressor.TOKEN_PACKER
    right = _weights(kind, compressor, 4, tmp_path / "right.safetensors")
    wrong = _weights(kind, compressor, 4, tmp_path / "wrong.safetensors", sign=-1.0)
    for name, path in (("good", right), ("bad", wrong)):
        export(order(kind, visual_tokens=4, compressor=compressor, weights=path), tmp_path / name, quiet)
    given: dict[str, Any] = {"checkpoint": str(checkpoint(kind))}
    assert not _failed(_judged(tmp_path / "good", **given, weights=right))
    assert {"manifest", "weights", "vision"} <= _failed(_judged(tmp_path / "bad", **given, weights=right))
    assert _failed(_judged(tmp_path / "bad", **given)) == {"judge"}
    report = _judged(tmp_path / "bad")
    assert not report.failed
    assert "wrong.safetensors: a forger would name his own" in report.reservations[0].detail
    export(order(kind, visual_tokens=4), tmp_path / "pooled", quiet)
    assert _failed(_judged(tmp_path / "pooled", **given, weights=right)) == {"manifest"}


def test_weights_that_the_export_calls_otherwise_are_said(tmp_path: Path) -> None:
    kind, compressor = "clip-llama", Compressor.TOKEN_PACKER
    right = _weights(kind, compressor, 4, tmp_path / "right.safetensors")
    other = _weights(kind, compressor, 4, tmp_path / "other.safetensors", sign=-1.0)
    export(order(kind, visual_tokens=4, compressor=compressor, weights=right), tmp_path / "made", quiet)
    path = tmp_path / "made" / "manifest.json"
    given: dict[str, Any] = {"checkpoint": str(checkpoint(kind)), "weights": right}

    def judged(name: str) -> Report:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"weights": name}))
        return _judged(tmp_path / "made", **given)

    gone = judged(str(tmp_path / "gone.safetensors"))
    assert not gone.failed and not gone.reservations
    assert "gone.safetensors" in next(check.detail for check in gone.checks if check.name == "judge")
    assert "other.safetensors, another file" in judged(str(other)).reservations[0].detail
    assert not judged(str(right)).reservations


def test_a_file_beside_the_checkpoint_is_not_replaced(tmp_path: Path) -> None:
    kind, compressor = "clip-llama", Compressor.TOKEN_PACKER
    shutil.copytree(checkpoint(kind), mine := tmp_path / "mine")
    beside = _weights(kind, compressor, 4, mine / "compressor.safetensors")
    other = _weights(kind, compressor, 4, tmp_path / "other.safetensors", sign=-1.0)
    made = replace(order(kind, visual_tokens=4, compressor=compressor), checkpoint=str(mine))
    with pytest.raises(
        InputError, match=r"other\.safetensors holds another token-packer than .*compressor\.safetensors\)"
    ):
        export(replace(made, weights=other), tmp_path / "made", quiet)
    export(made, tmp_path / "made", quiet)
    with pytest.raises(InputError, match="holds another token-packer"):
        _judged(tmp_path / "made", checkpoint=str(mine), weights=other)
    assert not _failed(_judged(tmp_path / "made", checkpoint=str(mine), weights=beside))


def test_a_random_compressor_is_said_to_be_one(tmp_path: Path) -> None:
    made = order(visual_tokens=4, compressor=Compressor.TOKEN_PACKER, random_weights=True)
    export(made, tmp_path / "random", quiet)
    report = _judged(tmp_path / "random", checkpoint=str(checkpoint()))
    assert not report.failed
    assert "only the export says that its compressor is random" in report.reservations[0].detail
    path = _weights("clip-qwen2", Compressor.TOKEN_PACKER, 4, tmp_path / "own.safetensors")
    assert "manifest" in _failed(_judged(tmp_path / "random", checkpoint=str(checkpoint()), weights=path))


def test_what_was_expected_can_be_said(tmp_path: Path) -> None:
    """A smaller export of the same checkpoint is a good one, and may yet be another than was asked for."""
    export(order(precision=Precision.INT4), tmp_path / "int4", quiet)
    given: dict[str, Any] = {"checkpoint": str(checkpoint())}
    assert not _failed(_judged(tmp_path / "int4", **given, precision=Precision.INT4))
    assert _failed(_judged(tmp_path / "int4", **given, precision=Precision.FP32)) == {"judge"}
    assert _failed(_judged(tmp_path / "int4", **given, visual_tokens=64)) == {"judge"}
    assert _failed(_judged(tmp_path / "int4", **given, compressor=Compressor.NONE)) == {"judge"}


def test_the_plan_given_counts(tmp_path: Path) -> None:
    plan = plan_for(checkpoint(), 10.0)
    made = order(visual_tokens=plan.choice.visual_tokens, compressor=Compressor.NONE, plan=plan)
    export(made, tmp_path / "made", quiet)
    given: dict[str, Any] = {"checkpoint": str(checkpoint()), "plan": plan, "budget_only": True}
    assert not _failed(_judged(tmp_path / "made", **given))
    path = tmp_path / "made" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["plan"]["budget"]["latency_s"] = 1e3
    path.write_text(json.dumps(manifest))
    report = _judged(tmp_path / "made", **given)
    assert _failed(report) == {"manifest"}
    assert "plan.budget.latency_s: the plan given says 10.0, the one in the manifest 1000.0" in report.failed[0].detail


def test_a_plan_names_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the plan calls it; an export of a checkpoint by another name names its own judge."""
    monkeypatch.chdir(checkpoint().parent)
    plan = plan_for(checkpoint(), 10.0)
    made = order(visual_tokens=plan.choice.visual_tokens, compressor=Compressor.NONE, plan=plan)
    for name, asked in (("named", replace(made, checkpoint=plan.choice.model)), ("other", made)):
        export(asked, tmp_path / name, quiet)
        report = _judged(tmp_path / name, plan=plan, budget_only=True)
        assert not _failed(report)
        assert bool(report.reservations) is (name == "other")


def test_nothing_is_read_through_a_link(tmp_path: Path) -> None:
    export(order(), tmp_path / "made", quiet)
    shutil.copytree(tmp_path / "made", tmp_path / "elsewhere")
    for name in ("manifest.json", "config.json", "onnx"):
        shutil.rmtree(tmp_path / "bad", ignore_errors=True)
        shutil.copytree(tmp_path / "made", tmp_path / "bad")
        path = tmp_path / "bad" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        path.symlink_to(tmp_path / "elsewhere" / name)
        report = _judged(tmp_path / "bad")
        assert [check.name for check in report.checks] == ["integrity"]
        assert f"{name} is a symbolic link" in report.failed[0].detail
        assert report.checks[0].outcome is Outcome.FAILED


def test_graphs_of_other_operators_are_not_run(tmp_path: Path) -> None:
    """What a forger drew could run for ever."""
    import onnx

    export(order(), tmp_path / "made", quiet)
    path = tmp_path / "made" / "onnx" / "decoder_model_merged.onnx"
    model = onnx.load(path)
    model.graph.node[5].op_type = "Loop"
    onnx.save(model, path)
    report = _judged(tmp_path / "made")
    assert "structure" in _failed(report)
    assert next(check for check in report.checks if check.name == "run").outcome is Outcome.SKIPPED


# Many of them: over families, compressors, precisions, data inside and beside, trained and planned.


def _goods(packer: Path, folder: Path) -> Iterator[tuple[Path, Options]]:
    """Exports to forge, and what whoever validates them knows."""
    plan = plan_for(checkpoint(), 10.0)
    file = _weights("clip-llama", Compressor.TOKEN_PACKER, 4, folder / "own.safetensors")
    small: dict[str, Any] = {"external_above_bytes": 10_000}
    quecc: dict[str, Any] = {"visual_tokens": 4, "compressor": Compressor.QUECC, "random_weights": True}
    orders: list[tuple[ExportOrder, dict[str, Any]]] = [
        (order(plan=plan, visual_tokens=576, compressor=Compressor.NONE), {"plan": plan, "budget_only": True}),
        (order("clip-llama", visual_tokens=4, compressor=Compressor.TOKEN_PACKER, weights=file), {"weights": file}),
        (order("siglip-mistral", visual_tokens=81, precision=Precision.FP16, **small), {}),
        (order("next-qwen3", precision=Precision.INT4, base_precision=Precision.FP16), {}),
        (_own_order(packer), {}),
        (order("smolvlm"), {"image": USUAL_IMAGE}),
        (
            order("idefics3", precision=Precision.INT4, visual_tokens=13 * TILE_TOKENS["idefics3"], **small),
            {"image": USUAL_IMAGE},
        ),
        (order("internvl-large", precision=Precision.INT8, **small), {"image": USUAL_IMAGE}),
        (order("qwen2.5-vl"), {"image": USUAL_IMAGE}),
        (order("qwen2-vl", precision=Precision.INT4, **small), {"image": USUAL_IMAGE}),
        (order("qwen3-vl"), {"image": USUAL_IMAGE}),
        (order("mistral3"), {"image": USUAL_IMAGE}),
        (order("gemma3", precision=Precision.INT4, visual_tokens=4, **small), {}),
        (order("paligemma2"), {}),
        (order("clip-llama", **quecc, query="how many?", precision=Precision.INT8), {}),
        (order("next-qwen3", **quecc, **small), {}),
        (_own_order(packer, precision=Precision.INT8, **small), {}),
    ]
    for number, (made, given) in enumerate(orders):
        path = folder / f"good-{number}"
        export(made, path, quiet)
        known: dict[str, Any] = {
            "visual_tokens": made.visual_tokens, "compressor": made.compressor, "precision": made.precision,
        }  # fmt: skip
        yield path, replace(QUICK, checkpoint=made.checkpoint, **known, **given)


def _hunt(goods: list[tuple[Path, Options]], wanted: int, folder: Path) -> tuple[Counter[str], Counter[str]]:
    """Forge so many, all to be refused; (how often each kind, how often each check said so first)."""
    validators = [(path, Validator(options, quiet)) for path, options in goods]
    kinds: Counter[str] = Counter()
    caught: Counter[str] = Counter()
    total = len(FORGERIES) + len(set(FAULTS))
    passed = []
    seed = 0
    while sum(kinds.values()) < wanted:
        for shift in range(len(validators)):  # some forgeries need a plan, or data beside the graph
            good, validator = validators[(seed // total + seed + shift) % len(validators)]
            with contextlib.suppress(NothingChanged):
                kind, done = forge(good, folder / "forged", seed)
                break
        else:
            seed += 1
            continue
        failed = validator.validate(folder / "forged").report.failed
        kinds[kind] += 1
        if failed:
            caught[failed[0].name] += 1
        else:
            passed.append(f"seed {seed}, {good.name}: {kind}: {done}")
        seed += 1
    print(f"{wanted - len(passed)} of {wanted} forgeries refused: {dict(kinds)}; first said by {dict(caught)}")  # noqa: T201
    assert not passed
    return kinds, caught


def test_forgeries_are_refused(packer: Path, tmp_path: Path) -> None:
    goods = list(_goods(packer, tmp_path))
    for path, options in goods:
        report = Validator(options, quiet).validate(path).report
        assert not report.failed, (path, report.failed)
    kinds, _ = _hunt([*goods[2:6], *goods[7:14]], len(FORGERIES), tmp_path)
    assert len(kinds) > 20


@pytest.mark.slow
def test_three_hundred_forgeries_are_refused(packer: Path, tmp_path: Path) -> None:
    kinds, _ = _hunt(list(_goods(packer, tmp_path)), 320, tmp_path)
    assert set(kinds) == {one.__name__ for one in (*FORGERIES, *FAULTS)}


@pytest.mark.slow
def test_a_hundred_good_exports_are_accepted(tmp_path: Path) -> None:
    """Compressors x visual tokens x precisions x families, validated against the checkpoint given."""
    precisions = (Precision.FP32, Precision.FP16, Precision.INT8, Precision.INT4)
    refused, number = [], 0
    while number < 100:
        kind = list(KINDS)[number % len(KINDS)]
        side = open_checkpoint(str(checkpoint(kind))).grid_side
        compressor = list(Compressor)[number // len(KINDS) % len(Compressor)]
        counts = [(side // factor) ** 2 for factor in range(1, side + 1) if side % factor == 0]
        fitting = [count for count in counts if compressor is not Compressor.NONE or count == side**2]
        if compressor is Compressor.PIXEL_SHUFFLE:
            fitting = [count for count in fitting if 1 < (side**2 // count) <= 16]
        if compressor.selects:
            fitting = [3, side, side**2 // 2]
        visual_tokens = fitting[number // 20 % len(fitting)]
        made = order(
            kind,
            visual_tokens=visual_tokens,
            compressor=compressor,
            precision=precisions[(number + number // 4) % 4],
            base_precision=(Precision.FP32, Precision.FP16)[number // 8 % 2],
            random_weights=compression(compressor, side, visual_tokens).learned,
            query="read all text" if compressor is Compressor.QUECC and number % 2 else None,
            external_above_bytes=10_000 if number % 3 == 0 else 2**28,
        )
        export(made, tmp_path / "good", quiet, overwrite=True)
        report = _judged(tmp_path / "good", checkpoint=made.checkpoint, precision=made.precision)
        if report.failed:
            refused.append((number, read_manifest(tmp_path / "good").compressor, report.failed))
        number += 1
    print(f"{len(refused)} of {number} good exports refused")  # noqa: T201
    assert not refused


@pytest.mark.slow
def test_good_exports_of_grids_are_accepted(tmp_path: Path) -> None:
    """Kinds x precisions x numbers of squares, validated against the checkpoint, the tokens and the image given."""
    refused, number = [], 0
    counts = {"mistral3": (24, 88, 192), "mistral3-wide": (35, 70, 176)}
    for kind in (*GRIDDED, *PICTURED):
        for precision in (Precision.FP32, Precision.FP16, Precision.INT8, Precision.INT4):
            for squares in counts.get(kind, (12, 88, 192)):
                base = Precision.FP16 if precision is Precision.INT8 and squares in (70, 88) else Precision.FP32
                made = order(kind, precision=precision, base_precision=base, visual_tokens=squares)
                export(made, tmp_path / "good", quiet, overwrite=True)
                known: dict[str, Any] = {"visual_tokens": squares, "image": USUAL_IMAGE}
                report = _judged(tmp_path / "good", checkpoint=made.checkpoint, precision=precision, **known)
                number += 1
                if report.failed or report.reservations:
                    refused.append((kind, precision, squares, report.failed))
    print(f"{len(refused)} of {number} good exports refused")  # noqa: T201
    assert not refused


@pytest.mark.slow
def test_good_exports_of_tiles_are_accepted(tmp_path: Path) -> None:
    """Families x precisions x numbers of views, validated against the checkpoint, the tokens and the image given."""
    refused, number = [], 0
    for kind in TILED:
        for precision in (Precision.FP32, Precision.FP16, Precision.INT8, Precision.INT4):
            for views in (1, 5, 13):
                base = Precision.FP16 if precision is Precision.INT8 and views == 5 else Precision.FP32
                made = order(kind, precision=precision, base_precision=base, visual_tokens=views * TILE_TOKENS[kind])
                export(made, tmp_path / "good", quiet, overwrite=True)
                known: dict[str, Any] = {"visual_tokens": made.visual_tokens, "image": USUAL_IMAGE}
                report = _judged(tmp_path / "good", checkpoint=made.checkpoint, precision=precision, **known)
                number += 1
                if report.failed or report.reservations:
                    refused.append((kind, precision, views, report.failed))
    print(f"{len(refused)} of {number} good exports refused")  # noqa: T201
    assert not refused


@pytest.mark.slow
def test_good_exports_of_views_are_accepted(tmp_path: Path) -> None:
    """Kinds x precisions x views as they are, one alone, or pooled, validated against checkpoint, tokens and image."""
    refused, number = [], 0
    for kind in SHAPED:
        for precision in (Precision.FP32, Precision.FP16, Precision.INT8, Precision.INT4):
            for tokens in (182, 12, 108):
                base = Precision.FP16 if precision is Precision.INT8 and tokens == 12 else Precision.FP32
                pooled = Compressor.AVERAGE_POOL if tokens == 108 else Compressor.NONE
                made = order(kind, precision=precision, base_precision=base, visual_tokens=tokens, compressor=pooled)
                export(made, tmp_path / "good", quiet, overwrite=True)
                known: dict[str, Any] = {"visual_tokens": tokens, "compressor": pooled, "image": USUAL_IMAGE}
                report = _judged(tmp_path / "good", checkpoint=made.checkpoint, precision=precision, **known)
                number += 1
                if report.failed or report.reservations:
                    refused.append((kind, precision, tokens, report.failed))
    print(f"{len(refused)} of {number} good exports refused")  # noqa: T201
    assert not refused


@pytest.mark.slow
def test_good_exports_that_pool_are_accepted(tmp_path: Path) -> None:
    """Kinds of Gemma x precisions x numbers of tokens, validated against the checkpoint and the tokens given."""
    refused, number = [], 0
    for kind in POOLED:
        for precision in (Precision.FP32, Precision.FP16, Precision.INT8, Precision.INT4):
            for count in (1, 4, 16, 64):
                base = Precision.FP16 if precision is Precision.INT8 and count == 4 else Precision.FP32
                made = order(kind, precision=precision, base_precision=base, visual_tokens=count)
                export(made, tmp_path / "good", quiet, overwrite=True)
                report = _judged(
                    tmp_path / "good", checkpoint=made.checkpoint, precision=precision, visual_tokens=count
                )
                number += 1
                if report.failed or report.reservations:
                    refused.append((kind, precision, count, report.failed))
    print(f"{len(refused)} of {number} good exports refused")  # noqa: T201
    assert not refused
