"""Text decoders that others wrote: proved by structure where it is known, sampled beyond, and the verdict says so."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_models import checkpoint, foreign, order, quiet

from vlmplan.errors import InputError
from vlmplan.exporting.runner import decoder_pass, open_session
from vlmplan.exporting.write import export
from vlmplan.graphs.quantise import quantised
from vlmplan.hardware.runtimes import Precision
from vlmplan.proof.foreign import samples as foreign_samples
from vlmplan.proof.foreign.files import accused
from vlmplan.proof.options import Options
from vlmplan.proof.report import Outcome, Report, report_markdown
from vlmplan.proof.validate import Validator

QUICK = Options(by_samples=True, threads=2, repeats=1)


def _outcome(report: Report, name: str) -> Outcome:
    return next(check.outcome for check in report.checks if check.name == name)


@pytest.mark.parametrize("positions", [True, False], ids=["optimum", "genai"])
def test_text_decoders_of_others(positions: bool, tmp_path: Path) -> None:
    foreign(tmp_path, positions)
    options = replace(QUICK, checkpoint=str(tmp_path / "text"))
    report = Validator(options, quiet).validate(tmp_path / "foreign").report
    assert not report.failed, report.failed
    assert _outcome(report, "logits") is Outcome.PASSED
    with pytest.raises(InputError, match="give --checkpoint"):
        Validator(QUICK, quiet).validate(tmp_path / "foreign")
    with pytest.raises(InputError, match="no causal LM"):
        Validator(replace(QUICK, checkpoint=str(checkpoint())), quiet).validate(tmp_path / "foreign")
    assert [check.name for check in report.reservations] == ["samples"]
    assert "compared by samples only" in report_markdown(report)
    assert _outcome(report, "embeddings") is _outcome(report, "head") is Outcome.PASSED
    assert "all that it reads" in next(check.detail for check in report.checks if check.name == "long text")


def _tensor(model: Any, part: str) -> Any:
    return next(tensor for tensor in model.graph.initializer if part in tensor.name)


def _stored(tensor: Any, change: Callable[[Any], Any]) -> None:
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), tensor.name))


def _rare_row(model: Any, _: Path) -> None:
    """The row of one token, moved by a hair."""

    def moved(values: Any) -> Any:
        values[277, 5] = np.nextafter(values[277, 5], np.float32(9))
        return values

    _stored(_tensor(model, "table"), moved)


def _nudged(model: Any, _: Path) -> None:
    """Every value of one matrix within rounding."""
    _stored(_tensor(model, "layers.1.mlp.down_proj"), lambda values: values * np.float32(1 + 1e-7))


def _doubled(model: Any, _: Path) -> None:
    """The right matrix stays in the file, and another is used."""
    right = _tensor(model, "layers.0.self_attn.o_proj")
    wrong = numpy_helper.from_array(numpy_helper.to_array(right) * np.float32(1 + 1e-6), "other")
    model.graph.initializer.append(wrong)
    for node in model.graph.node:
        node.input[:] = ["other" if name == right.name else name for name in node.input]


def _added(model: Any, nodes: list[Any]) -> None:
    """Logits are ``raw`` plus ``more``, which the nodes make."""
    for node in model.graph.node:
        node.output[:] = ["raw" if name == "logits" else name for name in node.output]
    model.graph.node.extend([*nodes, helper.make_node("Add", ["raw", "more"], ["logits"])])


def _beyond_a_length(model: Any, _: Path) -> None:
    """Right up to 300 tokens."""
    for name, value in (("far", np.array(300, np.int64)), ("one", np.array(1, np.int64))):
        model.graph.initializer.append(numpy_helper.from_array(value, f"{name} of it"))
    model.graph.initializer.append(numpy_helper.from_array(np.linspace(0, 1, 300, dtype=np.float32), "ramp"))
    _added(
        model,
        [
            helper.make_node("ReduceSum", ["attention_mask"], ["seen"], keepdims=0),
            helper.make_node("Greater", ["seen", "far of it"], ["is far"]),
            helper.make_node("Cast", ["is far"], ["far as float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["far as float", "ramp"], ["more"]),
        ],
    )


def _at_a_token(model: Any, _: Path) -> None:
    """Wrong where token 271 is read."""
    model.graph.initializer.append(numpy_helper.from_array(np.array(271, np.int64), "trigger"))
    model.graph.initializer.append(numpy_helper.from_array(np.linspace(0, 1, 300, dtype=np.float32), "ramp"))
    _added(
        model,
        [
            helper.make_node("Equal", ["input_ids", "trigger"], ["hits"]),
            helper.make_node("Cast", ["hits"], ["hits as float"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["hits as float"], ["hit"], keepdims=0),
            helper.make_node("Mul", ["hit", "ramp"], ["more"]),
        ],
    )


def _wrong_where(model: Any, flag: list[Any]) -> None:
    """Wrong where the nodes make ``flag`` true."""
    model.graph.initializer.append(numpy_helper.from_array(np.linspace(0, 1, 300, dtype=np.float32), "ramp"))
    last = [
        helper.make_node("Cast", ["flag"], ["as float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["as float", "ramp"], ["more"]),
    ]
    _added(model, [*flag, *last])


def _in_pieces(model: Any, _: Path) -> None:
    """Right with a whole text and token by token, wrong where several tokens follow a cache."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "one token"))
    _wrong_where(
        model,
        [
            helper.make_node("Shape", ["input_ids"], ["new"], start=1, end=2),
            helper.make_node("Shape", ["attention_mask"], ["all of it"], start=1, end=2),
            helper.make_node("Greater", ["new", "one token"], ["several"]),
            helper.make_node("Greater", ["all of it", "new"], ["after a cache"]),
            helper.make_node("And", ["several", "after a cache"], ["flag"]),
        ],
    )


def _far_out(model: Any, folder: Path) -> None:
    """Wrong beyond 5000 tokens, which the checkpoint reads."""
    path = folder.parent / "text" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "max_position_embeddings": 6000}))
    model.graph.initializer.append(numpy_helper.from_array(np.array([5000], np.int64), "far"))
    _wrong_where(
        model,
        [
            helper.make_node("Shape", ["attention_mask"], ["all of it"], start=1, end=2),
            helper.make_node("Greater", ["all of it", "far"], ["flag"]),
        ],
    )


def _another_head(model: Any, _: Path) -> None:
    """The right head stays in the file, read by what is added; logits are made of one that is off in one row."""
    right = _tensor(model, "lm_head")
    values = numpy_helper.to_array(right).copy()
    row = values[277] if values.shape[0] == 300 else values[:, 277]
    row[3] = np.nextafter(row[3], np.float32(9))
    model.graph.initializer.append(numpy_helper.from_array(values, "other"))
    for node in model.graph.node:
        node.input[:] = ["other" if name == right.name else name for name in node.input]


def _trained_further(model: Any, _: Path) -> None:
    model.training_info.add()


def _elsewhere(model: Any, folder: Path) -> None:
    """The table is read from beside the folder."""
    tensor = _tensor(model, "table")
    (folder.parent / "secret").write_bytes(tensor.raw_data)
    size = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "../secret"), ("offset", "0"), ("length", str(size))):
        tensor.external_data.add(key=key, value=value)


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (_rare_row, "embeddings"),
        (_nudged, "weights"),
        (_doubled, "weights"),
        (_beyond_a_length, "logits"),
        (_at_a_token, "vocabulary"),
        (_in_pieces, "pieces"),
        (_far_out, "long text"),
        (_another_head, "head"),
        (_trained_further, "integrity"),
        (_elsewhere, "integrity"),
    ],
)
def test_what_short_samples_do_not_show(change: Callable[[Any, Path], None], check: str, tmp_path: Path) -> None:
    foreign(tmp_path, positions=True)
    path = tmp_path / "foreign" / "model.onnx"
    model = onnx.load(path)
    change(model, path.parent)
    path.write_bytes(model.SerializeToString())
    report = Validator(replace(QUICK, checkpoint=str(tmp_path / "text")), quiet).validate(path.parent).report
    assert check in {one.name for one in report.failed}, report.failed


def test_every_token_is_run_where_the_table_does_not_show_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table of doubles is looked up in like any other, and compared with nothing."""
    foreign(tmp_path, positions=True)
    path = tmp_path / "foreign" / "model.onnx"
    model = onnx.load(path)
    _stored(_tensor(model, "table"), lambda values: values.astype(np.float64))
    lookup = next(node for node in model.graph.node if node.op_type == "Gather" and node.input[0] == "table")
    cast = helper.make_node("Cast", ["looked up"], list(lookup.output), to=TensorProto.FLOAT)
    lookup.output[:] = ["looked up"]
    model.graph.node.insert(1, cast)
    values = numpy_helper.to_array(_tensor(model, "table")).copy()
    values[277] += 0.5
    _stored(_tensor(model, "table"), lambda _: values)
    path.write_bytes(model.SerializeToString())
    monkeypatch.setattr(foreign_samples, "_SWEEP_FLOPS", 0.0)  # as of a large vocabulary
    report = Validator(replace(QUICK, checkpoint=str(tmp_path / "text")), quiet).validate(path.parent).report
    assert "vocabulary" in {one.name for one in report.failed}, report.checks


def _in_a_constant(model: Any, _: Path) -> None:
    """A matrix of zeros in the place of another, where no initialiser shows it."""
    tensor = _tensor(model, "layers.1.mlp.down_proj")
    _stored(tensor, lambda values: values * 0)
    node = helper.make_node("Constant", [], [tensor.name], value=tensor)
    model.graph.node.insert(0, node)
    model.graph.initializer.remove(tensor)


def _looping(model: Any, _: Path) -> None:
    model.graph.node.append(helper.make_node("Loop", [], ["never"]))


def _settings(model: Any, _: Path) -> None:
    model.metadata_props.add(key="ort_config", value="{}")


def _another_graph(_: Any, folder: Path) -> None:
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"another")


def _code(_: Any, folder: Path) -> None:
    (folder / "evil.py").write_text("print('hm')")


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (_in_a_constant, "weights"),
        (_looping, "integrity"),
        (_settings, "integrity"),
        (_another_graph, "integrity"),
        (_code, "integrity"),
    ],
)
def test_graphs_that_others_hide_things_in(change: Callable[[Any, Path], None], check: str, tmp_path: Path) -> None:
    foreign(tmp_path, True)
    path = tmp_path / "foreign" / "model.onnx"
    model = onnx.load(path)
    change(model, path.parent)
    onnx.save(model, path)
    options = replace(QUICK, checkpoint=str(tmp_path / "text"))
    report = Validator(options, quiet).validate(path.parent).report
    assert _outcome(report, check) is Outcome.FAILED, report.checks


def test_operators_that_nothing_reads_do_not_make_a_decoder_a_rounded_one(tmp_path: Path) -> None:
    foreign(tmp_path, True)
    path = tmp_path / "foreign" / "model.onnx"
    model = onnx.load(path)
    for number in range(40):
        node = helper.make_node("MatMulNBits", ["a", "b", "c"], [f"dead{number}"], domain="com.microsoft", K=32, N=1)
        model.graph.node.append(node)
    onnx.save(model, path)
    assert accused(path, path.parent).precision is Precision.FP32


@pytest.mark.parametrize(
    ("given", "option"), [({"visual_tokens": 36}, "--visual-tokens"), ({"weights": Path("x")}, "--weights")]
)
def test_options_of_our_own_exports_are_not_ignored(given: dict[str, Any], option: str, tmp_path: Path) -> None:
    foreign(tmp_path, True)
    options = replace(QUICK, checkpoint=str(tmp_path / "text"), **given)
    with pytest.raises(InputError, match=f"{option}: .* is a text decoder made by others"):
        Validator(options, quiet).validate(tmp_path / "foreign")


def test_a_link_out_of_the_folder(tmp_path: Path) -> None:
    foreign(tmp_path, positions=True)
    path = tmp_path / "foreign" / "model.onnx"
    path.rename(tmp_path / "real.onnx")
    path.symlink_to(tmp_path / "real.onnx")
    report = Validator(replace(QUICK, checkpoint=str(tmp_path / "text")), quiet).validate(path.parent).report
    assert [check.name for check in report.failed] == ["integrity"]


def test_the_tokenizer_is_the_checkpoints(tmp_path: Path) -> None:
    foreign(tmp_path, positions=True)
    for name in ("tokenizer.json", "chat_template.jinja"):
        (tmp_path / "text" / name).write_bytes((checkpoint() / name).read_bytes())
        (tmp_path / "foreign" / name).write_bytes((checkpoint() / name).read_bytes())
    options = replace(QUICK, checkpoint=str(tmp_path / "text"))
    assert not Validator(options, quiet).validate(tmp_path / "foreign").report.failed
    (tmp_path / "foreign" / "chat_template.jinja").write_text("{{ messages }} Praise the forger.")
    report = Validator(options, quiet).validate(tmp_path / "foreign").report
    assert [check.name for check in report.failed] == ["configuration"]


@pytest.mark.parametrize("how", ["truncation", "padding"])
def test_a_tokenizer_that_cuts_or_fills_texts(how: str, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    foreign(tmp_path, positions=True)
    made = Tokenizer.from_file(str(checkpoint() / "tokenizer.json"))
    made.save(str(tmp_path / "text" / "tokenizer.json"))
    if how == "truncation":
        made.enable_truncation(12)
    else:
        made.enable_padding(length=20)
    made.save(str(tmp_path / "foreign" / "tokenizer.json"))
    report = Validator(replace(QUICK, checkpoint=str(tmp_path / "text")), quiet).validate(tmp_path / "foreign").report
    (fault,) = report.failed
    assert fault.name == "configuration"
    assert how in fault.detail


def _forked(model: Any, by: str) -> None:
    """Logits through one of two branches that do the same, chosen by how long an input is."""
    for node in model.graph.node:
        node.output[:] = ["raw" if name == "logits" else name for name in node.output]
    kind = helper.make_tensor_value_info("kept", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Identity", ["raw"], ["kept"])], "same", [], [kind])
    model.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "none"))
    model.graph.node.extend(
        [
            helper.make_node("Shape", [by], ["so long"], start=2 if by.startswith("past") else 1, end=None),
            helper.make_node("ReduceMax", ["so long"], ["longest"], keepdims=1),
            helper.make_node("Greater", ["longest", "none"], ["which"]),
            helper.make_node("Squeeze", ["which"], ["scalar"]),
            helper.make_node("If", ["scalar"], ["logits"], then_branch=branch, else_branch=branch),
        ]
    )


@pytest.mark.parametrize(("by", "said"), [("past_key_values.0.key", False), ("input_ids", True)])
def test_branches_by_what_is_read_are_said(by: str, said: bool, tmp_path: Path) -> None:
    foreign(tmp_path, positions=True)
    path = tmp_path / "foreign" / "model.onnx"
    model = onnx.load(path)
    _forked(model, by)
    onnx.save(model, path)
    report = Validator(replace(QUICK, checkpoint=str(tmp_path / "text")), quiet).validate(path.parent).report
    assert not report.failed, report.failed
    detail = next(check.detail for check in report.reservations if check.name == "samples")
    assert (f"1 branches are chosen by {by}" in detail) is said


def _rescaled(values: Any) -> Any:
    values[3, 1] *= np.float32(1.001)
    return values


def _repacked(values: Any) -> Any:
    values[3, 1, 0] ^= 1
    return values


@pytest.mark.parametrize(("part", "change"), [(".scales", _rescaled), (".q4", _repacked)])
def test_rounded_matrices_are_found_and_held(part: str, change: Callable[[Any], Any], tmp_path: Path) -> None:
    """As ONNX Runtime's quantiser rounds them; one scale or one value off is a fault that no sample shows."""
    export(order(precision=Precision.INT4), tmp_path / "int4", quiet)
    foreign(tmp_path, positions=True, made=tmp_path / "int4")
    options = replace(QUICK, checkpoint=str(tmp_path / "text"), precision=Precision.INT4)
    report = Validator(options, quiet).validate(tmp_path / "foreign").report
    assert not report.failed, report.failed
    found = next(check.detail for check in report.checks if check.name == "weights")
    assert found == "27 of the checkpoint's 27 tensors found bit for bit"
    path = tmp_path / "foreign" / "model.onnx"
    model = onnx.load(path)
    _stored(_tensor(model, f"layers.1.mlp.up_proj.weight{part}"), change)
    onnx.save(model, path)
    assert "weights" in {check.name for check in Validator(options, quiet).validate(path.parent).report.failed}
    expected = replace(options, precision=Precision.FP32)
    assert "judge" in {check.name for check in Validator(expected, quiet).validate(path.parent).report.failed}


@pytest.mark.parametrize(("precision", "most"), [(Precision.INT8, 0.8), (Precision.INT4, 4.0)])
def test_a_rounded_decoder_is_held_to_what_its_rounding_does(precision: Precision, most: float, tmp_path: Path) -> None:
    """Good ones keep half of the limit free; it was nine times the spread of the logits, whatever the precision."""
    export(order(precision=precision), tmp_path / "made", quiet)
    foreign(tmp_path, positions=True, made=tmp_path / "made")
    report = Validator(replace(QUICK, checkpoint=str(tmp_path / "text")), quiet).validate(tmp_path / "foreign").report
    assert not report.failed, report.failed
    for name in ("texts", "vocabulary"):
        detail = next(check.detail for check in report.checks if check.name == name)
        off, limit = (float(word) for word in re.findall(r"[0-9.]+(?:e[+-][0-9]+)?$|(?<=at most )[0-9.e+-]+", detail))
        assert 2 * off <= limit <= most


def _judged(folder: Path, change: Callable[[Any, Path], None]) -> Report:
    path = folder / "foreign" / "model.onnx"
    model = onnx.load(path)
    change(model, path.parent)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return Validator(replace(QUICK, checkpoint=str(folder / "text")), quiet).validate(path.parent).report


def _constants(model: Any, **values: Any) -> None:
    for name, value in values.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))


def _silent(model: Any, _: Path) -> None:
    """Every token as likely as any: 0.5 nats from an undecided model."""
    _constants(model, nil=np.zeros(300, np.float32))
    _raw_times_nil(model)


def _raw_times_nil(model: Any) -> None:
    for node in model.graph.node:
        node.output[:] = ["raw" if name == "logits" else name for name in node.output]
    model.graph.node.append(helper.make_node("Mul", ["raw", "nil"], ["logits"]))


def _steered(model: Any, _: Path) -> None:
    """One token is always the likeliest."""
    _constants(model, more=np.where(np.arange(300) == 277, 7, 0).astype(np.float32))
    _added(model, [])


@pytest.mark.parametrize("change", [_silent, _steered])
def test_a_rounded_decoder_is_no_worse_than_rounding(change: Callable[[Any, Path], None], tmp_path: Path) -> None:
    export(order(precision=Precision.INT4), tmp_path / "int4", quiet)
    foreign(tmp_path, positions=True, made=tmp_path / "int4")
    assert "rounding" in {one.name for one in _judged(tmp_path, change).failed}


def _said_to_be_rounded(model: Any, _: Path) -> None:
    """Whole weights, and products of four bits that come to nothing: the output depends on them, for its sake."""
    packed, scales, zeros = quantised(np.random.default_rng(0).standard_normal((32, 64)).astype(np.float32), 4)
    _constants(model, q=packed, s=scales, z=zeros, none=np.float32(0), axes=np.array([0, 1, 2]))
    sums, last = [], "none"
    for number in range(20):
        of = {"domain": "com.microsoft", "K": 64, "N": 32, "bits": 4, "block_size": 32}
        sums += [
            helper.make_node("MatMulNBits", ["inputs_embeds", "q", "s", "z"], [f"made{number}"], **of),
            helper.make_node("ReduceSum", [f"made{number}", "axes"], [f"sum{number}"], keepdims=0),
            helper.make_node("Mul", [f"sum{number}", "none"], [f"nothing{number}"]),
            helper.make_node("Add", [last, f"nothing{number}"], [f"all{number}"]),
        ]
        last = f"all{number}"
    _constants(model, steer=np.where(np.arange(300) == 277, 7, 0).astype(np.float32))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    _added(model, [*sums, helper.make_node("Add", ["steer", last], ["more"])])


def test_a_decoder_is_rounded_where_its_weights_are(tmp_path: Path) -> None:
    foreign(tmp_path, positions=True)
    assert "logits" in {one.name for one in _judged(tmp_path, _said_to_be_rounded).failed}


def _like_text(model: Any, _: Path) -> None:
    """Wrong where low ids prevail, as in every text."""
    _constants(model, hundred=np.int64(100), share=np.float32(0.65), short=np.array([20]))
    _wrong_where(
        model,
        [
            helper.make_node("Shape", ["input_ids"], ["new"], start=1, end=2),
            helper.make_node("Greater", ["new", "short"], ["long enough"]),
            helper.make_node("Less", ["input_ids", "hundred"], ["low"]),
            helper.make_node("Cast", ["low"], ["low as float"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["low as float"], ["mean"], keepdims=0),
            helper.make_node("Greater", ["mean", "share"], ["mostly"]),
            helper.make_node("And", ["mostly", "long enough"], ["flag"]),
        ],
    )


def _within_lengths(model: Any, _: Path) -> None:
    """Wrong from 1210 to 1750 tokens, unless 512 are read at once."""
    _constants(model, low=np.array([1205]), high=np.array([1755]), usual=np.array([512]))
    _wrong_where(
        model,
        [
            helper.make_node("Shape", ["input_ids"], ["new"], start=1, end=2),
            helper.make_node("Shape", ["attention_mask"], ["all of it"], start=1, end=2),
            helper.make_node("Greater", ["all of it", "low"], ["above"]),
            helper.make_node("Less", ["all of it", "high"], ["below"]),
            helper.make_node("Equal", ["new", "usual"], ["as usual"]),
            helper.make_node("Not", ["as usual"], ["unusual"]),
            helper.make_node("And", ["above", "below"], ["between"]),
            helper.make_node("And", ["between", "unusual"], ["flag"]),
        ],
    )


def _decoding_far_out(model: Any, _: Path) -> None:
    """Wrong where a single token follows 3000."""
    _constants(model, far=np.array([3000]), one=np.array([1]))
    _wrong_where(
        model,
        [
            helper.make_node("Shape", ["input_ids"], ["new"], start=1, end=2),
            helper.make_node("Shape", ["attention_mask"], ["all of it"], start=1, end=2),
            helper.make_node("Greater", ["all of it", "far"], ["beyond"]),
            helper.make_node("Equal", ["new", "one"], ["single"]),
            helper.make_node("And", ["beyond", "single"], ["flag"]),
        ],
    )


@pytest.mark.parametrize(
    ("change", "check"), [(_like_text, "texts"), (_within_lengths, "long text"), (_decoding_far_out, "long text")]
)
def test_what_random_tokens_of_few_lengths_do_not_show(
    change: Callable[[Any, Path], None], check: str, tmp_path: Path
) -> None:
    foreign(tmp_path, positions=True)
    assert check in {one.name for one in _judged(tmp_path, change).failed}


def _three_at_once(model: Any, _: Path) -> None:
    _constants(model, two=np.array([2]))
    _wrong_where(
        model,
        [
            helper.make_node("Shape", ["input_ids"], ["rows"], start=0, end=1),
            helper.make_node("Greater", ["rows", "two"], ["flag"]),
        ],
    )


def _blind_to_padding(model: Any, _: Path) -> None:
    _constants(model, unmasked=np.int64(1))
    for node in model.graph.node:
        node.input[:] = ["no mask" if name == "attention_mask" else name for name in node.input]
    model.graph.node.insert(0, helper.make_node("Max", ["attention_mask", "unmasked"], ["no mask"]))


def _padded_right(model: Any, _: Path) -> None:
    """Wrong after a gap in the mask."""
    _constants(model, first=np.array([0]), behind=np.array([-1]), one=np.array([1]), end=np.array([2**40]))
    _wrong_where(
        model,
        [
            helper.make_node("Slice", ["attention_mask", "first", "behind", "one"], ["before"]),
            helper.make_node("Slice", ["attention_mask", "one", "end", "one"], ["after"]),
            helper.make_node("Greater", ["before", "after"], ["stops"]),
            helper.make_node("Cast", ["stops"], ["stops as float"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["stops as float"], ["how many"], keepdims=0),
            helper.make_node("Cast", ["how many"], ["flag"], to=TensorProto.BOOL),
        ],
    )


@pytest.mark.parametrize("change", [_three_at_once, _blind_to_padding, _padded_right])
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16, Precision.INT4])
def test_batches_in_every_precision(change: Callable[[Any, Path], None], precision: Precision, tmp_path: Path) -> None:
    export(order(precision=precision, all_logits=True), tmp_path / "export", quiet)
    foreign(tmp_path, positions=True, made=tmp_path / "export")
    assert "batches" in {one.name for one in _judged(tmp_path, change).failed}


def _thrown(model: Any, _: Path) -> None:
    _constants(model, die=np.ones(1000, np.float32), ratio=np.float32(0.9999995), train=np.array(True))
    _added(
        model,
        [
            helper.make_node("Dropout", ["die", "ratio", "train"], ["left"]),
            helper.make_node("ReduceMax", ["left"], ["more"], keepdims=0),
        ],
    )


def _drawn_at_random(model: Any, _: Path) -> None:
    _added(model, [helper.make_node("RandomUniform", [], ["more"], shape=[1], low=0.0, high=1e-9)])


def _thrown_in_a_function(model: Any, _: Path) -> None:
    """As above, in a function of the file's own."""
    dropout = helper.make_node("Dropout", ["die", "ratio", "train"], ["left"])
    reduced = helper.make_node("ReduceMax", ["left"], ["one"], keepdims=0)
    made = helper.make_function(
        "own", "Luck", ["die", "ratio", "train"], ["one"], [dropout, reduced], list(model.opset_import)
    )
    model.functions.append(made)
    model.opset_import.append(helper.make_opsetid("own", 1))
    _constants(model, die=np.ones(1000, np.float32), ratio=np.float32(0.9999995), train=np.array(True))
    _added(model, [helper.make_node("Luck", ["die", "ratio", "train"], ["more"], domain="own")])


def _dropping(model: Any, train: Any, **settings: Any) -> None:
    """Logits with hardly any ever dropped: no run shows it."""
    _constants(model, ratio=np.float32(1e-10))
    model.graph.initializer.append(train)
    for node in model.graph.node:
        node.output[:] = ["raw" if name == "logits" else name for name in node.output]
    model.graph.node.append(helper.make_node("Dropout", ["raw", "ratio", train.name], ["logits"], **settings))


def _thrown_under_an_alias(model: Any, _: Path) -> None:
    _dropping(model, numpy_helper.from_array(np.array(True), "train"), domain="ai.onnx")


def _thrown_by_another_field(model: Any, _: Path) -> None:
    _dropping(model, helper.make_tensor("train", TensorProto.BOOL, [], [True]))


def _thrown_in_a_branch(model: Any, _: Path) -> None:
    """A constant of the branch's own has the name of one outside that is off."""
    _constants(model, ratio=np.float32(1e-10), train=np.array(False), always=np.array(True))
    for node in model.graph.node:
        node.output[:] = ["raw" if name == "logits" else name for name in node.output]
    nodes = [
        helper.make_node("Constant", [], ["train"], value=numpy_helper.from_array(np.array(True))),
        helper.make_node("Dropout", ["raw", "ratio", "train"], ["thrown"]),
    ]
    made = helper.make_tensor_value_info("thrown", TensorProto.FLOAT, None)
    branch = helper.make_graph(nodes, "branch", [], [made])
    model.graph.node.append(helper.make_node("If", ["always"], ["logits"], then_branch=branch, else_branch=branch))


@pytest.mark.parametrize(
    "change", [_thrown, _drawn_at_random, _thrown_under_an_alias, _thrown_by_another_field, _thrown_in_a_branch]
)
def test_nothing_is_left_to_chance(change: Callable[[Any, Path], None], tmp_path: Path) -> None:
    foreign(tmp_path, positions=True)
    (fault,) = _judged(tmp_path, change).failed
    assert "left to chance" in fault.detail


def test_functions_of_a_files_own_are_refused_with_what_to_do(tmp_path: Path) -> None:
    foreign(tmp_path, positions=True)
    (fault,) = _judged(tmp_path, _thrown_in_a_function).failed
    assert "functions of its own (Luck)" in fault.detail and "inline_local_functions" in fault.detail


def _off(model: Any, _: Path) -> None:
    _dropping(model, helper.make_tensor("train", TensorProto.BOOL, [], [False]))


def test_a_dropout_that_is_off_is_no_chance(tmp_path: Path) -> None:
    """As an exporter leaves one that was not folded away."""
    foreign(tmp_path, positions=True)
    assert not _judged(tmp_path, _off).failed


_NIL = {"least": np.int64(-(2**63)), "nil": np.float32(0), "away": np.float32(-1)}


def _by_cast_like(model: Any, _: Path) -> None:
    _constants(model, **_NIL)
    nodes = [
        helper.make_node("Cast", ["attention_mask"], ["seen"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["seen"], ["one"], keepdims=0),
        helper.make_node("Mul", ["one", "away"], ["minus one"]),
        helper.make_node("CastLike", ["minus one", "least"], ["by"]),
        helper.make_node("Div", ["least", "by"], ["trapped"]),
    ]
    _added(model, [*nodes, *_as_nil()])


def _as_nil() -> list[Any]:
    return [
        helper.make_node("Cast", ["trapped"], ["whole"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["whole", "nil"], ["more"]),
    ]


def _in_a_branch(model: Any, _: Path) -> None:
    _constants(model, **_NIL, always=np.array(True))
    nodes = [
        helper.make_node("ReduceMax", ["attention_mask"], ["one"], keepdims=0),
        helper.make_node("Neg", ["one"], ["by"]),
        helper.make_node("Div", ["least", "by"], ["quotient"]),
    ]
    made = helper.make_tensor_value_info("quotient", TensorProto.INT64, [])
    branch = helper.make_graph(nodes, "branch", [], [made])
    fork = helper.make_node("If", ["always"], ["trapped"], then_branch=branch, else_branch=branch)
    _added(model, [fork, *_as_nil()])


@pytest.mark.parametrize("change", [_by_cast_like, _in_a_branch])
def test_divisions_that_end_the_process_are_refused_unrun(change: Callable[[Any, Path], None], tmp_path: Path) -> None:
    foreign(tmp_path, positions=True)
    (fault,) = _judged(tmp_path, change).failed
    assert fault.name == "integrity" and "divides what may be whole numbers" in fault.detail


def _narrowed(model: Any, _: Path) -> None:
    """Token 300 read as another: int8 has no such number."""
    looked = next(node for node in model.graph.node if node.op_type == "Gather" and node.input[0] == "table")
    looked.input[1] = "wide"
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["narrow"], to=TensorProto.INT8),
        helper.make_node("Cast", ["narrow"], ["wide"], to=TensorProto.INT64),
        *model.graph.node,
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def test_rows_of_a_table_say_nothing_where_ids_are_narrowed(tmp_path: Path) -> None:
    foreign(tmp_path, positions=True)
    report = _judged(tmp_path, _narrowed)
    assert not report.passed and "embeddings" not in {check.name for check in report.checks}


def test_a_vocabulary_too_large_to_run_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of embeddings and head can be right, and a token be told by its embedding all the same."""
    foreign(tmp_path, positions=True)
    monkeypatch.setattr(foreign_samples, "_SWEEP_FLOPS", 0.0)
    monkeypatch.setattr(foreign_samples, "_SWEEP_S", 0.0)
    (samples,) = _judged(tmp_path, lambda *_: None).reservations
    assert "only 256 of its 300 tokens were run" in samples.detail


def test_a_graph_that_declares_other_shapes_than_it_makes_says_what_to_build(tmp_path: Path) -> None:
    """As onnxruntime-genai's builder does in fp16 for cpu: ONNX Runtime shares memory by what is declared."""
    nodes = [
        helper.make_node("Neg", ["ids"], ["a"]),
        helper.make_node("Exp", ["a"], ["b"]),
        helper.make_node("Concat", ["b", "b"], ["c"], axis=1),
        helper.make_node("Tanh", ["c"], ["d"]),
        helper.make_node("Sin", ["d"], ["logits"]),
    ]
    shape = ["batch", "tokens"]
    declared = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "abcd"]
    inputs = [helper.make_tensor_value_info("ids", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "more"])]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, value_info=declared)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "model.onnx"
    )
    session = open_session(tmp_path / "model.onnx", "cpu", None)
    ids = np.ones((1, 4), np.float32)
    with pytest.raises(InputError, match=r"the decoder declares \{1,4\} where it makes \{1,8\}; build it for cuda"):
        decoder_pass(session, {"ids": ids}, np.ones((1, 4), np.int64), None, "cpu")
