"""A workload by name or in a file sets what is not said, says so, and gives way to every word."""

import json
import re
from pathlib import Path

import pytest
from test_cli import run

import vlmplan
from vlmplan.inventory import catalogue
from vlmplan.inventory.budget import Budget
from vlmplan.inventory.catalogue import Shelf
from vlmplan.inventory.workloads import NamedWorkload

ROOT = Path(__file__).resolve().parents[1]
NAMES = catalogue.names(Shelf.WORKLOADS)
DEVICES = (("l4", "22GiB"), ("amd-epyc-9654", "64GiB"))
OWN = """schema = "vlmplan.workload/1"
name = "badges"
title = "Names on badges"
task = "textvqa"
text_tokens = 40
image = [800, 600]
ttft_s = 0.4
"""


def plan_of(*arguments: str) -> tuple[vlmplan.Plan, str]:
    """The plan of a command, and what it said beside."""
    code, out, err = run("recommend", *arguments, "--json")
    assert code == 0, err
    path = Path(re.sub(r"\W", "", str(hash(arguments))) + ".json")
    path.write_text(out, encoding="utf-8")
    return vlmplan.load(vlmplan.Plan, path), err


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# What is shipped


def test_the_usual_kinds_are_shipped() -> None:
    assert {"chat", "vqa", "caption", "document", "receipt", "screenshot", "video", "batch"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_number_has_its_source(name: str) -> None:
    """And one that is nobody's measurement says that it is a convention."""
    found = vlmplan.workload(name)
    task = {"task", "prefer"} & {key for key in ("task", "prefer") if getattr(found, key) is not None}
    limits = {key for key, value in vars_of(found.budget).items() if value is not None}
    assert set(found.sources) == {*found.request, *limits, *task}
    for key, source in found.sources.items():
        assert re.search(r"convention|by construction|facts/|https?://|github |doi |Nielsen", source), (
            f"{key}: {source}"
        )
        assert len(source) > 20


def test_other_words_for_a_workload_mean_it() -> None:
    """What people call it; a word means one workload."""
    words = [word for name in NAMES for word in vlmplan.workload(name).also]
    assert len(words) == len(set(words)) and not set(words) & set(NAMES)
    assert vlmplan.workload("invoice") == vlmplan.workload("receipt")
    assert vlmplan.workload("PDF").name == "document"


def vars_of(budget: Budget | None) -> dict[str, float | None]:
    return {} if budget is None else {name: getattr(budget, name) for name in Budget.__dataclass_fields__}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("device", "memory"), DEVICES)
def test_each_is_answered(name: str, device: str, memory: str) -> None:
    """On a GPU within its limits, on a processor within wider ones; the plan holds the request that was named."""
    named = vlmplan.workload(name)
    plan, err = plan_of("--workload", name, "--hardware", device, "--memory", memory)
    for field, value in named.request.items():
        assert getattr(plan.workload, field) == value
    assert plan.asked is not None and plan.asked.task == named.task
    assert f"note: workload {name}: --" in err and f" --task {named.task}" in err
    widened = re.search(
        rf"workload {name}: .* ([\d.]+) times its own, which nothing (?:that reads such text )?keeps", err
    )
    times = 1.0 if widened is None else float(widened[1])
    assert times == 1 or device != "l4"
    for limit, value in vars_of(named.budget).items():
        if value is not None:
            assert getattr(plan.budget, limit) == pytest.approx(value * times)
    assert plan.budget.memory_bytes is not None
    assert plan.choice.memory_bytes.total <= plan.budget.memory_bytes


@pytest.mark.parametrize("name", [name for name in NAMES if vlmplan.workload(name).text_height_px])
def test_limits_that_nobody_set_give_way_where_text_could_not_be_read(name: str) -> None:
    """On a processor: what is fast enough sees letters of three pixels; slower is better than an answer of no use."""
    plan, _ = plan_of("--workload", name, "--hardware", "intel-core-i9-13900k", "--memory", "60GiB")
    assert not any(line.startswith("text too small") for line in plan.warnings)
    assert plan.choice.predicted_error < 0.5


@pytest.mark.parametrize("name", [name for name in NAMES if vlmplan.workload(name).text_height_px])
def test_small_text_can_be_read_on_an_l4(name: str) -> None:
    """What an expert would look at first: whether the model sees letters of more than seven pixels."""
    plan, _ = plan_of("--workload", name, "--hardware", "l4")
    width, height = plan.workload.image
    assert plan.choice.seen_side_px is not None and plan.workload.text_height_px is not None
    shrunk = plan.choice.seen_side_px / (width * height) ** 0.5
    assert plan.workload.text_height_px * shrunk > 7
    assert plan.choice.visual_tokens > 256


def test_a_batch_is_for_throughput_and_a_chat_for_the_wait() -> None:
    batch, said = plan_of("--workload", "batch", "--hardware", "l4")
    chat, _ = plan_of("--workload", "chat", "--hardware", "l4")
    assert batch.choice.requests_per_s > 10 * chat.choice.requests_per_s
    assert chat.choice.ttft_interval_s[1] <= 2 < batch.choice.ttft_s
    assert batch.preference == "speed" and " --prefer speed\n" in said


def test_a_video_is_its_frames_and_is_judged_by_scores_of_videos() -> None:
    plan, err = plan_of("--workload", "video", "--hardware", "l4")
    assert plan.workload.images == plan.frames == 32 and "--frames 32 --image 1280x720" in err
    assert plan.error_source.task == {"video": 1.0}
    assert {one.benchmark for one in plan.scores} == {"VideoMME", "MVBench", "LongVideoBench", "MLVU"}
    assert plan.choice.deploy is not None and "'{\"image\": 32}'" in str(plan.choice.deploy.command)
    assert plan.choice.deploy.context_tokens > 32 * plan.choice.visual_tokens
    assert not any("questions about one picture" in warning for warning in plan.warnings)
    assert any(line.startswith("that read one picture at a time: ") for line in plan.left_out)
    fewer, _ = plan_of("--workload", "video", "--frames", "8", "--hardware", "l4")
    assert fewer.workload.images == 8
    assert fewer.choice.predicted_error > plan.choice.predicted_error + 0.01


def test_a_task_of_videos_alone_is_of_a_clip() -> None:
    """One frame is no video: where nobody says how many, the named workload does."""
    by_name, _ = plan_of("--workload", "video", "--hardware", "l4")
    by_task, err = plan_of("--task", "videos", "--hardware", "l4")
    assert (by_task.workload, by_task.budget, by_task.choice) == (by_name.workload, by_name.budget, by_name.choice)
    assert "--frames 32 --image 1280x720" in err and "note: assumed" not in err
    told, err = plan_of("--task", "video", "--frames", "4", "--hardware", "l4", "--ttft", "2s")
    assert told.workload.images == 4 and "--frames" not in err


def test_fewer_frames_are_offered_where_a_limit_is_not_kept() -> None:
    """As a command that is answered, with the error of so many frames."""
    asked = ("recommend", "--workload", "video", "--hardware", "l4", "--ttft", "1s")
    code, _, err = run(*asked)
    said = re.search(r"- (\d+) frames instead of 32: (\S+) at (\d+) visual tokens, bf16, ([\d.]+) % wrong\n", err)
    assert code == 3 and said
    with pytest.warns(vlmplan.Assumed):
        plan = vlmplan.recommend(hardware="l4", workload="video", ttft="1s", images=int(said[1]))
    assert 100 * plan.choice.predicted_error <= float(said[4]) + 0.05
    with pytest.warns(vlmplan.Assumed):
        same = vlmplan.recommend(hardware="l4", workload="video", ttft="1s", images=int(said[1]), model=said[2])
    assert f"{100 * same.choice.predicted_error:.1f}" == said[4]
    assert f"vlmplan {' '.join(asked)} --frames {said[1]}" in err
    assert run(*asked, "--frames", str(2 * int(said[1])))[0] == 3


def test_frames_beyond_any_context_are_answered_with_how_many_fit() -> None:
    asked = ("recommend", "--task", "video", "--hardware", "h100-sxm", "--latency", "9min")
    code, _, err = run(*asked, "--frames", "4000")
    most = re.search(r"at most --frames (\d+)", err)
    assert code == 2 and most
    code, _, err = run(*asked, "--frames", str(int(most[1]) + 1))
    assert code == 2 and f"at most --frames {most[1]}" in err
    assert "no candidate left" not in run(*asked, "--frames", most[1])[2]


def test_a_plan_for_a_video_says_frames_and_tokens_of_each() -> None:
    _, out, _ = run("recommend", "--workload", "video", "--hardware", "l4")
    head = " ".join(out.partition("Error:")[0].split())
    count = int(re.search(r"with 32 frames of (\d+) visual tokens, ", head)[1])  # type: ignore[index]
    assert f"{32 * count:,} in all (each seen at " in head
    assert " a frame: " in " ".join(out.split())
    _, out, _ = run("recommend", "--workload", "video", "--frames", "1", "--hardware", "l4")
    text = " ".join(out.split())
    assert re.search(r"with 1 frame of \d+ visual tokens \(seen at ", text)
    assert "what 1 is worth is a guess" in text


def test_devices_compared_for_a_video_say_frames() -> None:
    code, out, _ = run("recommend", "--workload", "video", "--hardware", "l4,h100-sxm")
    assert code == 0 and re.search(r"with 32 frames of \d+ visual tokens, [\d,]+ in all", " ".join(out.split()))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--frames", "4000"), "4000 frames are at least "),
        (("--frames", "32", "--model", "llava-hf/llava-1.5-7b-hf"), "that read one picture at a time"),
        (("--frames", "0"), "images: expected 1 to "),
        (("--frames", "many"), "many"),
    ],
)
def test_frames_that_cannot_be_answered_are_refused_in_a_line(options: tuple[str, ...], said: str) -> None:
    code, out, err = run("recommend", "--workload", "video", "--hardware", "h200-sxm", *options)
    assert code == 2 and not out and said in err
    assert "Traceback" not in err


def test_pictures_in_one_request_are_no_video() -> None:
    plan, _ = plan_of("--task", "reasoning", "--images", "4", "--latency", "5s", "--hardware", "l4")
    assert plan.frames is None
    assert any("questions about one picture; what 4 in a request" in warning for warning in plan.warnings)


# What is said goes before


def test_every_word_goes_before_the_name() -> None:
    words = {"text_tokens": 10, "output_tokens": 5, "images": 2, "image": "300x200", "text_height": "40px",
             "concurrency": 3}  # fmt: skip
    options = [text for name, value in words.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    plan, err = plan_of("--workload", "document", "--hardware", "l4", "--task", "ocr", "--latency", "5s", *options)
    work = plan.workload
    assert (work.text_tokens, work.output_tokens, work.images, work.image) == (10, 5, 2, (300, 200))
    assert (work.text_height_px, work.concurrency) == (40, 3)
    assert plan.asked is not None and plan.asked.task == "ocr"
    assert (plan.budget.latency_s, plan.budget.ttft_s, plan.budget.tpot_s) == (5, None, None)
    assert "note" not in err


def test_one_word_leaves_the_rest_to_the_name() -> None:
    plan, err = plan_of("--workload", "document", "--hardware", "l4", "--output-tokens", "200")
    assert (plan.workload.text_tokens, plan.workload.output_tokens) == (84, 200)
    assert "--text-height 25px --text-tokens 84 --task docvqa\n" in err


def test_of_another_image_the_height_of_its_text_is_not_known() -> None:
    other, err = plan_of("--workload", "document", "--hardware", "l4", "--image", "855x1110")
    assert other.workload.text_height_px is None and "high" not in err
    said, _ = plan_of("--workload", "document", "--hardware", "l4", "--image", "855x1110", "--text-height", "13px")
    assert said.workload.text_height_px == 13


def test_a_limit_of_memory_stands_beside_limits_of_time() -> None:
    plan, _ = plan_of("--workload", "chat", "--hardware", "l4", "--memory", "8GiB")
    assert (plan.budget.ttft_s, plan.budget.tpot_s, plan.budget.memory_bytes) == (2.0, 0.1, 8 * 2**30)
    slow, _ = plan_of("--workload", "chat", "--hardware", "l4", "--ttft", "3s", "--prefer", "accuracy")
    assert (slow.budget.ttft_s, slow.budget.tpot_s) == (3.0, None)


def test_without_a_word_or_a_name_it_is_the_usual_request() -> None:
    one = vlmplan.recommend(hardware="l4", latency="1s", task="ocr")
    assert one.workload == vlmplan.Workload(text_tokens=50, output_tokens=32)
    priced = vlmplan.estimate(model="llava-1.5-7b", hardware="l4", visual_tokens=576)
    assert priced.workload == vlmplan.Workload(text_tokens=50, output_tokens=32)


def test_estimates_and_comparisons_take_names() -> None:
    code, out, err = run("estimate", "--model", "InternVL3-1B", "--hardware", "l4", "--visual-tokens", "256",
                         "--workload", "chat", "--json")  # fmt: skip
    assert code == 0 and "workload chat: --image" in err
    assert json.loads(out)["workload"]["text_tokens"] == 1020
    code, out, err = run("recommend", "--hardware", "l4,l40s", "--workload", "vqa", "--json")
    assert code == 0 and "workload vqa: --ttft 1.00s" in err
    assert json.loads(out)["budget"]["ttft_s"] == 1.0


def test_a_plan_by_name_is_asked_again() -> None:
    code, _, err = run("recommend", "--workload", "vqa", "--hardware", "l4", "--out", "plan.json")
    assert code == 0, err
    assert run("recommend", "--check", "plan.json")[0] == 0
    code, _, err = run("recommend", "--check", "plan.json", "--workload", "chat")
    assert code == 2 and "--workload" in err


# One's own


def test_a_shipped_one_is_a_file_to_start_from() -> None:
    code, out, _ = run("catalogue", "workloads", "document")
    assert code == 0
    Path("mine.toml").write_text(out, encoding="utf-8")
    assert vlmplan.workload("mine.toml") == vlmplan.workload("document")
    mine, _ = plan_of("--workload", "mine.toml", "--hardware", "l4")
    named, _ = plan_of("--workload", "document", "--hardware", "l4")
    assert mine.choice == named.choice


def test_a_file_sets_what_it_says_and_its_limits_hold() -> None:
    """What a file leaves out is the usual case's; its limits are the user's own, and are not widened."""
    Path("badges.toml").write_text(OWN, encoding="utf-8")
    plan, err = plan_of("--workload", "badges.toml", "--hardware", "l4")
    assert (plan.workload.text_tokens, plan.workload.output_tokens, plan.workload.image) == (40, 32, (800, 600))
    assert plan.choice.ttft_s <= 0.4 and "note: workload badges: --image 800x600 " in err
    tight = OWN.replace("0.4", "0.0001")
    for name in ("badges.toml", "badges"):
        Path(name).write_text(tight, encoding="utf-8")
        code, _, err = run("recommend", "--workload", name, "--hardware", "l4")
        assert code == 3 and "times its own" not in err
    with pytest.raises(vlmplan.Infeasible), pytest.warns(vlmplan.Assumed):
        vlmplan.recommend(hardware="l4", workload=vlmplan.workload("badges.toml"))


def test_a_path_to_a_file_named_as_a_shipped_one_is_the_file() -> None:
    """What begins with a dot is a path, here and as a document's path in Python."""
    Path("document").write_text(OWN, encoding="utf-8")
    plan, err = plan_of("--workload", "./document", "--hardware", "l4")
    assert plan.workload.image == (800, 600) and "note: workload badges: --image 800x600 " in err
    assert vlmplan.workload(Path("document")).name == "badges"
    assert vlmplan.workload("document").name == "document"


def test_a_file_may_limit_memory_alone() -> None:
    Path("badges.toml").write_text(OWN.replace("ttft_s = 0.4", "memory_bytes = 8e9"), encoding="utf-8")
    plan, err = plan_of("--workload", "badges.toml", "--hardware", "l4")
    assert (plan.budget.ttft_s, plan.budget.memory_bytes) == (None, 8e9)
    assert "workload badges: --memory 7.46GiB" in err


def test_a_document_stands_where_a_name_does() -> None:
    mine = NamedWorkload(name="mine", title="Mine", text_tokens=30, concurrency=4)
    with pytest.warns(vlmplan.Assumed, match="workload mine"):
        plan = vlmplan.recommend(hardware="l4", latency="2s", task="ocr", workload=mine)
    assert (plan.workload.text_tokens, plan.workload.output_tokens, plan.workload.concurrency) == (30, 32, 4)
    budget = vlmplan.Budget(memory_bytes=20e9)
    with pytest.warns(vlmplan.Assumed):
        whole = vlmplan.recommend(hardware="l4", workload="chat", budget=budget)
    assert (whole.budget.ttft_s, whole.budget.memory_bytes) == (None, 20e9)
    with pytest.raises(vlmplan.InputError, match="requests beside it"):
        vlmplan.recommend(hardware="l4", task="ocr", workload=plan.workload, requests="log.jsonl")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OWN.replace("workload/1", "plan/1"), 'expected schema = "vlmplan.workload/1"'),
        (OWN.replace("text_tokens", "text_token"), "unknown key; did you mean text_tokens"),
        (OWN.replace('name = "badges"\n', ""), "name: missing"),
        (OWN.replace("= 40", '= "40"'), "text_tokens: expected int"),
        (OWN.replace("= 40", "= -1"), "text_tokens: expected 0"),
        (OWN.replace("[800, 600]", "[800, 0]"), "image: expected 1 to 65536"),
        (OWN.replace("[800, 600]", "[800]"), "expected 2 items"),
        (OWN.replace("0.4", "0.0"), "finite limits above 0"),
        (OWN.replace("0.4", "nan"), "expected a finite number"),
        (OWN.replace("ttft_s = 0.4", "cached_text_tokens = 90"), "at most text_tokens = 40"),
        (OWN.replace("ttft_s = 0.4", 'prefer = "price"'), "one of speed, balanced, accuracy"),
        (OWN + '[sources]\ntext_token = "me"\n', "found 'text_token', which is no field; nearest: text_tokens"),
        (OWN + '[sources]\nbatch = "me"\n', "found 'batch', which is not set"),
        (OWN.replace("Names on badges", "Names\\non badges"), "title: expected 1 to 200 printable characters"),
        (OWN.replace('"textvqa"', '"chess"'), "no task 'chess'"),
        ("name = ", "not valid TOML"),
    ],
)
def test_a_file_that_is_none_is_refused_in_a_line(text: str, message: str) -> None:
    Path("badges.toml").write_text(text, encoding="utf-8")
    code, out, err = run("recommend", "--workload", "badges.toml", "--hardware", "l4", "--out", "plan.json")
    errors = [line for line in err.splitlines() if not line.startswith("note")]
    assert (code, out, len(errors)) == (2, "", 1)
    assert message in errors[0]
    assert not Path("plan.json").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("chatt", "no workload named 'chatt'; nearest: chat"),
        ("absent.toml", "absent.toml: cannot be read"),
        ("", "ambiguous"),
        ("a", "ambiguous"),
        ("./", "expected a file"),
    ],
)
def test_a_name_that_is_none_is_refused_in_a_line(name: str, message: str) -> None:
    code, _, err = run("recommend", "--workload", name, "--hardware", "l4")
    assert (code, err.count("\n")) == (2, 1)
    assert message in err or (not name and "no workload" in err)


def test_the_page_shows_what_is_said() -> None:
    """Notes go to stderr, which the blocks of pages leave out."""
    page = (ROOT / "docs" / "howto" / "workloads.md").read_text(encoding="utf-8")
    shown = {line for line in page.splitlines() if line.startswith("note: ")}
    _, _, err = run("recommend", "--workload", "document", "--hardware", "l4")
    _, _, more = run("recommend", "--requests", str(ROOT / "docs" / "requests.jsonl"), "--hardware", "l4",
                     "--task", "ocr", "--latency", "2s")  # fmt: skip
    assert shown == {*err.splitlines(), *more.splitlines()}


def test_tokens_takes_the_pictures_of_a_workload() -> None:
    """Size and number of its images, said, and none of what has no bearing on tokens; what is told goes before."""
    video = vlmplan.workload("video")
    code, out, err = run("tokens", "--model", "Qwen2.5-VL-7B", "--workload", "video", "--json")
    assert code == 0
    told = json.loads(out)
    assert (told["images"], tuple(told["image"])) == (video.images, video.image or (1024, 768))
    assert "workload video: --frames" in err
    assert "--text-tokens" not in err
    code, out, _ = run("tokens", "--model", "Qwen2.5-VL-7B", "--workload", "document", "--image", "64x64", "--json")
    assert tuple(json.loads(out)["image"]) == (64, 64)
    with pytest.warns(vlmplan.Assumed, match=r"workload document: --image 1710x2220$"):
        same = vlmplan.tokens(model="Qwen2.5-VL-7B", workload="document")
    assert same.image == vlmplan.workload("document").image
    code, _, err = run("tokens", "--model", "Qwen2.5-VL-7B", "--workload", "documnt")
    assert code == 2 and "document" in err


def test_profile_says_why_it_takes_none() -> None:
    code, _, err = run("profile", "--workload", "video")
    assert code == 2
    assert "what profile measures holds for any request" in err
