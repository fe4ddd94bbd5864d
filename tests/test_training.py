"""Training: what learns, what is written, and that a kill or a process more changes nothing."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from small_models import quiet
from small_training import SILENT, base, drawn, trained, wanted
from transformers import AutoModelForImageTextToText, AutoProcessor, CLIPVisionModel, Qwen3ForCausalLM
from typer.testing import CliRunner

from vlmplan.checkpoints.checkpoint import canonical
from vlmplan.cli.app import app
from vlmplan.document import load
from vlmplan.errors import InputError, Unavailable
from vlmplan.exporting.orders import ExportChoices, export_order
from vlmplan.exporting.write import export
from vlmplan.models.spec import Compressor
from vlmplan.proof.options import Options
from vlmplan.proof.validate import Validator
from vlmplan.training.assemble import assemble
from vlmplan.training.batches import IGNORED, Batches, Sample, Writer, samples
from vlmplan.training.conversations import Conversation, Turn
from vlmplan.training.recipe import Recipe, Stage, Training, passes
from vlmplan.training.stages import latest
from vlmplan.training.trainer import RESULT, WORK, _full_disk_said, train
from vlmplan.training.vlm import CompressedLlava

ROOT = Path(__file__).resolve().parents[1]
TURNS = (Turn(question="What colour is the star?", answer="red"), Turn(question="Is there a bar?", answer="no"))


def _row(image: Path | None = None, turns: tuple[Turn, ...] = TURNS) -> Conversation:
    return Conversation(name="a row", image=image or drawn() / "images" / "000000.png", turns=turns)


def _flags(out: Path, *more: str) -> list[str]:
    """The command line of ``wanted``."""
    data = drawn()
    return [
        "train", "--checkpoint", str(base()), "--visual-tokens", "4", "--compressor", "token-packer",
        "--data", str(data / "train.jsonl"), "--images", str(data / "images"), "--out", str(out), "--batch", "8",
        "--align-steps", "4", "--tune-steps", "4", "--tune-rate", "1e-3", "--log-steps", "1", *more,
    ]  # fmt: skip


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    """A checkpoint's tensors, by the names used here whichever class saved them."""
    return {canonical(name): tensor for name, tensor in load_file(folder / "model.safetensors").items()}


def test_ids_are_the_prompts_with_the_answers_learnt() -> None:
    """By hand: places, question and answers with their ends; only answers are labelled."""
    processor = AutoProcessor.from_pretrained(base())
    tokenizer, image = processor.tokenizer, processor.image_token_id
    ids, labels = Writer(processor).ids(Sample(row=_row(), learnt=0), 3)
    words = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (
        "What colour is the star?", " red", "Is there a bar?", " no")]  # fmt: skip
    end = [tokenizer.eos_token_id]
    assert ids == [image] * 3 + words[0] + words[1] + end + words[2] + words[3] + end
    learnt = [token for token in labels if token != IGNORED]
    assert learnt == words[1] + end + words[3] + end
    assert labels[:3] == [IGNORED] * 3


def test_a_question_is_asked_as_it_was_learnt() -> None:
    """The prompt that evaluation makes is the beginning of what training wrote."""
    from vlmplan.exporting.answers import Prompts

    processor = AutoProcessor.from_pretrained(base())
    ids, _ = Writer(processor).ids(Sample(row=_row(), learnt=0), 4)
    prompt = Prompts(base(), 4).of(drawn() / "images" / "000000.png", TURNS[0].question, reads_question=True)
    asked = prompt.input_ids[0].tolist()
    assert asked == ids[: len(asked)]
    assert prompt.question_ids is not None
    assert prompt.question_ids[0].tolist() == Writer(processor).question(TURNS[0].question)


def test_quecc_learns_a_turn_at_a_time() -> None:
    found = samples([_row()], reads_question=True)
    assert [(len(one.row.turns), one.question) for one in found] == [(1, TURNS[0].question), (2, TURNS[1].question)]
    processor = AutoProcessor.from_pretrained(base())
    batch = Batches(processor, [4], True, 0)(found)
    learnt = [[token for token in row if token != IGNORED] for row in batch["labels"].tolist()]
    assert [processor.tokenizer.decode(row[:-1]).strip() for row in learnt] == ["red", "no"]
    assert batch["question_ids"].shape == batch["question_mask"].shape


def test_a_batch_of_a_nested_checkpoint_has_one_count_drawn_by_its_rows() -> None:
    processor = AutoProcessor.from_pretrained(base())
    collate = Batches(processor, [1, 4, 16], False, 0)
    rows = [[Sample(row=Conversation(name=str(n), image=_row().image, turns=TURNS), learnt=0)] for n in range(30)]
    counts = [int((collate(row)["input_ids"] == processor.image_token_id).sum()) for row in rows]
    again = [int((collate(row)["input_ids"] == processor.image_token_id).sum()) for row in rows]
    assert counts == again
    assert set(counts) == {1, 4, 16}


def test_padding_changes_nothing() -> None:
    """A row in a batch with a longer one gets the loss that it gets alone: mean over answers, question of QueCC too."""
    start = assemble(str(base()), None, (Compressor.QUECC, (4,)), 0)
    start.model.eval()
    collate = Batches(start.processor, [4], True, 0)
    found = samples([_row(), _row(turns=(Turn(question="Why?", answer="yes no yes"),))], reads_question=True)
    with torch.inference_mode():
        together = start.model(**collate(found)).loss
        alone = [start.model(**collate([one])).loss for one in found]
    counts = [sum(label != IGNORED for label in collate([one])["labels"][0].tolist()) for one in found]
    mean = sum(count * float(loss) for count, loss in zip(counts, alone, strict=True)) / sum(counts)
    assert float(together) == pytest.approx(mean, abs=1e-5)


def test_what_learns_in_which_stage(tmp_path: Path) -> None:
    first = trained(tmp_path / "aligned", tune_steps=0)
    assert [stage.name for stage in first.recipe.stages] == ["align"]
    trained(tmp_path / "tuned")
    before, aligned, tuned = (_tensors(folder) for folder in (base(), tmp_path / "aligned", tmp_path / "tuned"))

    def changed(part: str, after: dict[str, torch.Tensor]) -> bool:
        names = [name for name in before if part in name]
        assert names
        return any(not torch.equal(before[name], after[name]) for name in names)

    assert not changed("vision_tower", tuned)
    assert not changed("language_model", aligned)
    assert changed("multi_modal_projector", aligned)
    assert changed("language_model", tuned)
    assert any("compressor.clip_attn" in name for name in aligned)


def test_the_folder_is_a_checkpoint(tmp_path: Path) -> None:
    """Read with its compressor, by transformers' own class, and exported and proved without being told anything."""
    training = trained(tmp_path / "made")
    assert load(Training, tmp_path / "made" / RESULT) == training
    assert not (tmp_path / "made" / WORK).exists()
    card = (tmp_path / "made" / "README.md").read_text()
    assert f"| tune | compressor, projector, LLM | 4 | 8 | 0.001 | {training.stages[1].losses[0][1]:.3f}, " in card
    model, info = CompressedLlava.from_pretrained(tmp_path / "made", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path / "made")
    assert type(plain).__name__ == "LlavaForConditionalGeneration"
    manifest = export(export_order(ExportChoices(checkpoint=str(tmp_path / "made")), None), tmp_path / "out", quiet)
    assert (manifest.visual_tokens, manifest.compressor) == (4, Compressor.TOKEN_PACKER)
    report = Validator(Options(threads=1, repeats=1), quiet).validate(tmp_path / "out").report
    assert report.passed, report.failed
    processor = AutoProcessor.from_pretrained(tmp_path / "made")
    made = Batches(processor, [4], False, 0)([Sample(row=_row(turns=TURNS[:1]), learnt=0)])
    start = int((made["labels"][0] == IGNORED).sum())
    prompt = {key: value for key, value in made.items() if key not in ("labels", "input_ids", "attention_mask")}
    generated = model.eval().generate(
        input_ids=made["input_ids"][:, :start], attention_mask=made["attention_mask"][:, :start], max_new_tokens=3,
        do_sample=False, **prompt,
    )  # fmt: skip
    assert generated.shape[1] > start


def test_one_checkpoint_for_several_budgets(tmp_path: Path) -> None:
    """Nested QueCC has a kernel for each number of tokens; each is exported and equals PyTorch."""
    trained(tmp_path / "made", compressor=Compressor.QUECC, visual_tokens=(1, 4, 16), tune_steps=6)
    for count in (1, 16):
        asked = ExportChoices(checkpoint=str(tmp_path / "made"), visual_tokens=count)
        out = tmp_path / str(count)
        export(export_order(asked, None), out, quiet)
        assert Validator(Options(threads=1, repeats=1), quiet).validate(out).report.passed
    with pytest.raises(InputError, match="was trained with quecc for 16, 4, 1 visual tokens; found quecc and 64"):
        export_order(ExportChoices(checkpoint=str(tmp_path / "made"), visual_tokens=64), None)


def test_lora_leaves_whole_weights(tmp_path: Path) -> None:
    training = trained(tmp_path / "made", lora_rank=4)
    assert "LoRA, rank 4" in (tmp_path / "made" / "README.md").read_text()
    names = load_file(tmp_path / "made" / "model.safetensors")
    assert not [name for name in names if "lora" in name or "base_layer" in name or "modules_to_save" in name]
    _, info = CompressedLlava.from_pretrained(tmp_path / "made", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    before, after = _tensors(base()), _tensors(tmp_path / "made")
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert any("q_proj" in name for name in moved)
    assert not [name for name in moved if "embed_tokens" in name or "vision_tower" in name]
    assert training.stages[1].losses[-1][1] < training.stages[0].losses[0][1]


def test_an_llm_and_a_tower_are_joined(tmp_path: Path) -> None:
    """Of parts as published: a causal LM with its tokenizer, and a CLIP tower with its image processor."""
    whole, processor = CompressedLlavaParts(base()), AutoProcessor.from_pretrained(base())
    whole.llm.save_pretrained(tmp_path / "llm")
    tokenizer = processor.tokenizer
    tokenizer.save_pretrained(tmp_path / "llm")
    whole.tower.save_pretrained(tmp_path / "tower")
    processor.image_processor.save_pretrained(tmp_path / "tower")
    trained(
        tmp_path / "made", checkpoint=str(tmp_path / "llm"), tower=str(tmp_path / "tower"),
        compressor=Compressor.AVERAGE_POOL, visual_tokens=(16,),
    )  # fmt: skip
    made, tower = (
        load_file(tmp_path / "made" / "model.safetensors"),
        load_file(tmp_path / "tower" / "model.safetensors"),
    )
    stored = next(name for name in made if name.endswith("encoder.layers.0.mlp.fc1.weight"))
    original = next(name for name in tower if name.endswith("encoder.layers.0.mlp.fc1.weight"))
    assert torch.equal(made[stored], tower[original])
    export(export_order(ExportChoices(checkpoint=str(tmp_path / "made")), None), tmp_path / "out", quiet)
    assert Validator(Options(threads=1, repeats=1), quiet).validate(tmp_path / "out").report.passed
    with pytest.raises(InputError, match="is an LLM alone; name a vision tower"):
        assemble(str(tmp_path / "llm"), None, (Compressor.AVERAGE_POOL, (16,)), 0)


class CompressedLlavaParts:
    """The LLM and the tower of a checkpoint, as models of their own."""

    def __init__(self, folder: Path) -> None:
        model = AutoModelForImageTextToText.from_pretrained(folder)
        self.llm = Qwen3ForCausalLM(model.config.text_config)
        self.llm.model.load_state_dict(model.model.language_model.state_dict())
        self.tower = CLIPVisionModel(model.config.vision_config)
        self.tower.load_state_dict(model.model.vision_tower.state_dict())


def test_killed_five_times_and_resumed_it_is_the_same_training(tmp_path: Path) -> None:
    """SIGKILL at random moments: same steps, and the same loss at every step as the training that was left alone."""
    steps = 60
    left_alone = trained(tmp_path / "alone", align_steps=steps, tune_steps=steps)
    out, generator, kills = tmp_path / "killed", random.Random(0), 0
    command = [sys.executable, "-m", "vlmplan", *_flags(out, "--save-steps", "4")]
    command[command.index("--align-steps") + 1] = command[command.index("--tune-steps") + 1] = str(steps)
    while kills < 5:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_for_progress(process, out)
        time.sleep(0.3 * generator.random())
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
        kills += 1
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    resumed = load(Training, out / RESULT)
    assert [stage.steps for stage in resumed.stages] == [steps, steps]
    for ours, theirs in zip(resumed.stages, left_alone.stages, strict=True):
        assert [step for step, _ in ours.losses] == list(range(1, steps + 1))
        assert [loss for _, loss in ours.losses] == pytest.approx([loss for _, loss in theirs.losses], rel=1e-4)


@pytest.mark.parametrize("lora", [0, 4])
def test_killed_while_the_llm_learns_it_goes_on_with_what_the_llm_had_learnt(lora: int, tmp_path: Path) -> None:
    """Its weights have other names in a checkpoint than in memory; the projector's have the same."""
    steps = 8
    left_alone = trained(tmp_path / "alone", tune_steps=steps, lora_rank=lora)
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "vlmplan", *_flags(out, "--save-steps", "4", "--lora", str(lora))]
    command[command.index("--tune-steps") + 1] = str(steps)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    state, deadline = out / WORK / "tune" / "checkpoint-4" / "trainer_state.json", time.monotonic() + 60
    while not (state.is_file() and state.read_text().rstrip().endswith("}")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    resumed = load(Training, out / RESULT)
    for ours, theirs in zip(resumed.stages, left_alone.stages, strict=True):
        assert [loss for _, loss in ours.losses] == pytest.approx([loss for _, loss in theirs.losses], rel=1e-4)


def _wait_for_progress(process: subprocess.Popen[bytes], out: Path) -> None:
    """Wait until a checkpoint has come that was not there."""

    def checkpoints() -> set[str]:
        return {path.name + path.parent.name for path in out.glob(f"{WORK}/*/checkpoint-*")}

    before, deadline = checkpoints(), time.monotonic() + 60
    while checkpoints() <= before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def test_torn_checkpoints_do_not_count(tmp_path: Path) -> None:
    for name, state in (("checkpoint-2", '{"global_step": 2}'), ("checkpoint-4", '{"glob'), ("checkpoint-6", None)):
        (tmp_path / name).mkdir()
        if state is not None:
            (tmp_path / name / "trainer_state.json").write_text(state)
    assert latest(tmp_path) == tmp_path / "checkpoint-2"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]


@pytest.mark.parametrize("lora", [0, 4])
@pytest.mark.parametrize("moment", ["before it is written", "before its last file"])
def test_killed_after_its_last_step_it_is_only_written(
    lora: int, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies in the last stage's checkpoint becomes the folder; nothing is trained again."""
    whole = trained(tmp_path / "whole", lora_rank=lora)
    module = sys.modules["vlmplan.training.trainer"]

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    def written(path: Path, text: str) -> None:
        path.write_text(text) if path.name != RESULT else interrupt()

    with monkeypatch.context() as patched:
        if moment == "before it is written":
            patched.setattr(module, "_save", interrupt)
        else:
            patched.setattr(module, "write_text", written)
        with pytest.raises(KeyboardInterrupt):
            train(wanted(tmp_path / "killed", lora_rank=lora), SILENT)
    found = train(wanted(tmp_path / "killed", lora_rank=lora), SILENT)
    assert found is not None and found.stages == whole.stages
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in one)
    assert {path.name for path in (tmp_path / "whole").iterdir()} == {
        path.name for path in (tmp_path / "killed").iterdir()
    }


def test_two_processes_give_the_loss_of_one_with_twice_the_batch(tmp_path: Path) -> None:
    """Gloo on the CPU, under accelerate's launcher; each process has half of the batch."""
    alone = trained(tmp_path / "alone")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    done = subprocess.run(
        [*launch, "-m", "vlmplan", *_flags(tmp_path / "two")], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr  # whole: why a process ended comes before the launcher's own end
    both = load(Training, tmp_path / "two" / RESULT)
    assert both.processes == 2
    for ours, theirs in zip(both.stages, alone.stages, strict=True):
        assert [loss for _, loss in ours.losses] == pytest.approx([loss for _, loss in theirs.losses], rel=1e-4)


def test_the_command_says_what_it_made_and_resumes(tmp_path: Path) -> None:
    flags = _flags(tmp_path / "made")
    done = CliRunner().invoke(app, flags, catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    assert "for 4 visual tokens by token-packer" in done.stdout
    assert f"Next: vlmplan export --checkpoint {tmp_path / 'made'}" in done.stdout
    again = CliRunner().invoke(app, flags, catch_exceptions=False)
    assert again.exit_code == 2
    assert "holds a finished training" in again.stderr
    (tmp_path / "made" / RESULT).unlink()
    shutil.rmtree(tmp_path / "made")
    (tmp_path / "made" / WORK).mkdir(parents=True)
    other = wanted(tmp_path / "other", batch=4).recipe
    from vlmplan.document import to_json, write_text

    write_text(tmp_path / "made" / WORK / "recipe.json", to_json(other))
    refused = CliRunner().invoke(app, flags, catch_exceptions=False)
    assert refused.exit_code == 2
    assert "unfinished training by another recipe" in refused.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--visual-tokens", "5"], "square regions of the tower's 8 x 8 patches leave one of"),
        (["--visual-tokens", "four"], "expected a number, or several with commas"),
        (["--compressor", "pixel-shuffle"], "vlmplan trains none, average-pool, token-packer, quecc"),
        (["--align-steps", "0", "--tune-steps", "0"], "nothing would be trained"),
        (["--tower", "x"], "has a vision tower of its own"),
        (["--data", "no.jsonl"], "no.jsonl does not exist"),
        (["--checkpoint", "nowhere"], "found 'nowhere', expected a checkpoint's directory or a hub id"),
        (["--tune-rate", "7"], "learning rate: expected 1e-09 to 1, found 7"),
    ],
)
def test_bad_options_are_one_line(flags: list[str], message: str, tmp_path: Path) -> None:
    given = _flags(tmp_path / "made")
    for option, value in zip(flags[::2], flags[1::2], strict=True):
        if option in given:
            given[given.index(option) + 1] = value
        else:
            given += [option, value]
    done = CliRunner().invoke(app, given, catch_exceptions=False)
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert message in done.stderr
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("normalizer", {"type": "Precompiled", "precompiled_charsmap": "BAAAAP////8="}),
        ("pre_tokenizer", {"type": "FixedLength", "length": 0}),
    ],
)
def test_a_tokenizer_whose_library_panics_is_one_line(key: str, value: Any, tmp_path: Path) -> None:
    """The first panics where it is opened, the second where it reads; a panic is no Exception."""
    shutil.copytree(base(), tmp_path / "base")
    path = tmp_path / "base" / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    flags = _flags(tmp_path / "made")
    flags[flags.index("--checkpoint") + 1] = str(tmp_path / "base")
    done = CliRunner().invoke(app, flags, catch_exceptions=False)
    assert done.exit_code == 2
    assert "its library panics" in done.stderr
    assert not (tmp_path / "made" / RESULT).exists()


def test_passes_and_stages() -> None:
    assert passes(665, 128, 1) == 6
    assert passes(5, 128, 1) == 1
    with pytest.raises(InputError, match="steps"):
        Stage(name="tune", steps=0, batch=1, learning_rate=1e-3, llm=True)
    with pytest.raises(InputError, match="several different ones"):
        Recipe(
            checkpoint="a", tower=None, compressor=Compressor.QUECC, visual_tokens=(4, 4), stages=(), rows=1,
            data_sha256="",
        )  # fmt: skip


def test_a_plan_is_trained(tmp_path: Path) -> None:
    """What recommend says of a backbone to train, tried on parts of the same shape as the plan's names."""
    plan = tmp_path / "plan.json"
    done = CliRunner().invoke(
        app,
        ["recommend", "--candidates", "paper", "--hardware", "l4", "--flops", "40GFLOP", "--flop-rule", "paper",
         "--task", "reasoning", "--text-tokens", "10", "--output-tokens", "8", "--out", str(plan)],
        catch_exceptions=False,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    choice = json.loads(plan.read_text())["choice"]
    assert choice["deploy"]["command"].startswith("vlmplan train PLAN.json --data DATA.json --images IMAGES --out ")
    flags = _flags(tmp_path / "made")
    del flags[3:7]
    flags.insert(1, str(plan))
    refused = CliRunner().invoke(app, flags, catch_exceptions=False)
    assert refused.exit_code == 2
    # the checkpoint given has a tower of its own; the plan's backbones are LLMs joined with CLIP
    assert "has a vision tower of its own" in refused.stderr


def _by_safetensors() -> None:
    """As it failed on a full tmpfs; it would put a file of its own in the place of ``/dev/full``."""
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def _by_torch() -> None:
    torch.save({"a": torch.zeros(9)}, "/dev/full")


def _by_python() -> None:
    Path("/dev/full").write_text("a", encoding="utf-8")


@pytest.mark.parametrize("write", [_by_safetensors, _by_torch, _by_python])
def test_a_full_disk_is_one_line(write: Callable[[], None]) -> None:
    """Each library raises it as an error of its own."""
    with pytest.raises(Unavailable, match="the disk is full; free some space"), _full_disk_said(Path("out")):
        write()


def test_other_errors_of_a_training_stay_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="a bug"), _full_disk_said(Path("out")):
        raise RuntimeError("a bug")
