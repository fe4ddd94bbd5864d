"""Predicted errors: published scores met, shared uncertainty paired, precision priced, tasks parsed."""

import math
import statistics
from dataclasses import replace
from statistics import stdev
from typing import Any

import pytest

from vlmplan.accuracy.error_by_law import by_law
from vlmplan.accuracy.error_by_scores import ErrorSource, Judge, by_scores, parse_task
from vlmplan.accuracy.published_scores import Benchmark, Evidence
from vlmplan.accuracy.tasks import TASKS
from vlmplan.cost.totals import active_llm_params
from vlmplan.errors import Assumed, InputError
from vlmplan.hardware.runtimes import Precision
from vlmplan.inventory import catalogue
from vlmplan.models.spec import Compressor, Reduction, Workload
from vlmplan.models.visual_tokens import options, visual_input

EVIDENCE = catalogue.evidence()
OF_PICTURES = tuple(one for one in EVIDENCE.benchmarks if one.video is None)
WORK = Workload(text_tokens=50)
BF16 = Precision.BF16


def logit(error: float) -> float:
    return math.log(error / (1 - error))


def _judge(task: str) -> Judge:
    return by_scores(EVIDENCE, parse_task(task), WORK)


# Published scores (vlm_scores.csv): InternVL3 arXiv 2504.10479, Qwen2.5-VL README, Qwen3-VL arXiv 2511.21631.
PAGE = replace(WORK, image=(1700, 2200))


@pytest.mark.parametrize(
    ("name", "task", "score"),
    [
        ("InternVL3-8B", "mmmu", 62.7),
        ("InternVL3-8B", "docvqa", 92.7),
        ("Qwen2.5-VL-7B", "docvqa", 95.7),
        ("Qwen3-VL-4B", "ocrbench", 88.1),
        ("Qwen2.5-VL-7B", "ai2d", 83.9),
    ],
)
def test_published_scores_are_met(name: str, task: str, score: float) -> None:
    """Of an image no smaller than the benchmark's own."""
    model = catalogue.model(name)
    error = by_scores(EVIDENCE, parse_task(task), PAGE).error(model, options(model, PAGE.image)[-1], BF16)
    assert 100 * (1 - error) == pytest.approx(score, abs=4)


# What the plan of the catalogue asks for: mean absolute error in points, of the first try, for checkpoints left out.
FIRST_TRY = {
    "MMMU_val": 2.6,
    "MMBench_EN": 1.5,
    "AI2D_test": 2.2,
    "MathVista_mini": 3.3,
    "DocVQA": 1.5,
    "TextVQA_val": 2.8,
    "ChartQA_test": 3.4,
    "OCRBench": 1.8,
    "VideoMME": 1.6,
    "MVBench": 1.3,
    "LongVideoBench": 1.8,
    "MLVU": 2.0,
}


@pytest.mark.parametrize("benchmark", EVIDENCE.benchmarks, ids=lambda benchmark: benchmark.name)
def test_left_out_errors_are_as_good_as_the_first_try(benchmark: Benchmark) -> None:
    """And better than what one would guess without it, with honest intervals."""
    assert benchmark.left_out_points <= FIRST_TRY[benchmark.name]
    assert benchmark.left_out_points < 0.6 * min(benchmark.family_mean_points, benchmark.nearest_size_points)
    assert 0.65 <= benchmark.held_fraction <= 0.95
    assert benchmark.slope.value > 0
    assert benchmark.checkpoints >= (59 if benchmark.video is None else 36)


def test_the_shipped_evidence_is_what_the_tool_makes() -> None:
    """Left-out errors of one benchmark are computed anew from the public scores."""
    from make_evidence import scored
    from score_line import held_fraction, left_out, mean_points

    found, shipped = left_out(scored("DocVQA"), 0.0), EVIDENCE.benchmark("DocVQA")
    assert round(mean_points(found, "predicted_points"), 2) == shipped.left_out_points
    assert round(held_fraction(found), 3) == shipped.held_fraction


def _errors(name: str, task: str, image: tuple[int, int]) -> dict[int, float]:
    """Visual tokens -> error, of everything the processor makes of an image."""
    judge, model = by_scores(EVIDENCE, parse_task(task), replace(WORK, image=image)), catalogue.model(name)
    return {one.visual_tokens: judge.error(model, one, BF16) for one in options(model, image)}


def test_reading_suffers_more_from_fewer_tokens_than_reasoning() -> None:
    lost = {}
    for task in ("reasoning", "docvqa"):
        errors = _errors("Qwen2.5-VL-7B", task, PAGE.image)
        lost[task] = next(error for tokens, error in errors.items() if tokens > 80) - min(errors.values())
    assert lost["docvqa"] > 4 * lost["reasoning"] > 0


def test_a_shrunk_page_is_not_read() -> None:
    """At 56 pixels a side nobody reads; PaliGemma, tuned for 224 pixels, reads 43.7 % of DocVQA, for 448 78 %."""
    errors = _errors("Qwen2.5-VL-7B", "docvqa", (1568, 1568))
    assert list(errors.values()) == sorted(errors.values(), reverse=True)
    assert 1 - errors[4] <= 0.15
    assert 0.25 <= 1 - errors[64] <= 0.6
    assert 0.6 <= 1 - errors[256] <= 0.9
    assert 1 - errors[3136] > 0.92


def test_what_counts_is_what_is_seen_of_the_page_and_not_how_large_it_was() -> None:
    """So many tokens show so many pixels, of whatever image; a page of 112 x 112 pixels is worse than a whole one."""
    at_88 = []
    for image in ((640, 480), (1700, 2200), (3000, 4000)):
        errors = _errors("Qwen2.5-VL-7B", "docvqa", image)
        at_88.append(next(error for tokens, error in errors.items() if tokens >= 88))
    assert max(at_88) - min(at_88) < 0.05
    whole = [min(_errors("Qwen2.5-VL-7B", "docvqa", (side, side)).values()) for side in (112, 448, 896, 1792)]
    assert whole == sorted(whole, reverse=True)
    assert whole[0] - whole[-1] > 0.5


def test_more_pixels_than_a_benchmarks_images_have_buy_nothing() -> None:
    errors = _errors("Qwen2.5-VL-7B", "mmbench", (4000, 3000))
    assert max(list(errors.values())[-3:]) - min(errors.values()) < 1e-9


def test_shrinking_never_costs_less_than_training_for_the_tokens() -> None:
    """Of a page that makes 576 tokens whole, 64: seen at a third of its side, or compressed at the same pixels."""
    for benchmark in OF_PICTURES:
        seen, trained = (benchmark.curves[way] for way in (Reduction.IMAGE_SIZE, Reduction.TRAINED))
        shrunk = seen.left(224, 672, seen.log_scale.value)
        assert shrunk <= trained.left(64, 576, trained.log_scale.value) + 0.02, benchmark.name


def test_training_for_the_tokens_never_costs_more_than_pruning() -> None:
    for benchmark in OF_PICTURES:
        trained = benchmark.curves[Reduction.TRAINED]
        kept = trained.left(36, 576, trained.log_scale.value)
        for way in (Reduction.AVERAGE_POOL, Reduction.RANDOM, Reduction.SIMILARITY, Reduction.ATTENTION):
            curve = benchmark.curves[way]
            assert curve.left(36, 576, curve.log_scale.value) < kept, (benchmark.name, way)


def test_text_below_what_is_legible_is_warned_of() -> None:
    """The threshold is derived from studies: about nine pixels."""
    assert 7 <= EVIDENCE.legible_text_px.value <= 11
    model = catalogue.model("Qwen2.5-VL-7B")
    few, whole = options(model, PAGE.image)[5], options(model, PAGE.image)[-1]
    judge = by_scores(EVIDENCE, {"docvqa": 1.0}, replace(PAGE, text_height_px=20))
    first = judge.warnings(model, few)[0]
    assert first.startswith("text too small: 20 px high in an image of 1700 x 2200, it is seen ")
    assert not any("text too small" in text for text in judge.warnings(model, whole))
    silent = by_scores(EVIDENCE, {"docvqa": 1.0}, PAGE)
    assert not any("text too small" in text for text in silent.warnings(model, few))


def test_text_that_cannot_be_read_is_not_answered() -> None:
    """At three pixels nobody reads; at the height where the middle reader does, only some readers fail."""
    model = catalogue.model("Qwen2.5-VL-7B")
    whole = options(model, PAGE.image)[-1]
    shrunk = whole.seen_side_px / math.sqrt(math.prod(PAGE.image))

    def judged(seen_px: float, task: str = "docvqa") -> tuple[float, list[float]]:
        judge = by_scores(EVIDENCE, {task: 1.0}, replace(PAGE, text_height_px=seen_px / shrunk))
        return judge.error(model, whole, BF16), judge.draws(model, whole, BF16, count=400)

    plain = by_scores(EVIDENCE, {"docvqa": 1.0}, PAGE).error(model, whole, BF16)
    errors = [judged(seen_px)[0] for seen_px in (2, 3, 5, 7, 9.2, 12, 20, 40)]
    assert errors == sorted(errors, reverse=True)
    assert errors[1] > 0.8 and errors[-1] == pytest.approx(plain)
    assert plain < errors[4] < plain + 0.08
    low, *_, high = statistics.quantiles(judged(7)[1], n=20)
    assert low < 0.1 and high > 0.4, "a reader of fine print, and one of none"
    assert judged(3, "MMMU_val")[0] == pytest.approx(
        by_scores(EVIDENCE, {"MMMU_val": 1.0}, PAGE).error(model, whole, BF16)
    )


def test_fewer_bits_cost_error_and_certainty() -> None:
    model = catalogue.model("Qwen2-VL-7B")
    native, judge = options(model, WORK.image)[-1], _judge("reasoning")
    errors = {p: judge.error(model, native, p) for p in (BF16, Precision.INT8, Precision.INT4)}
    assert errors[BF16] < errors[Precision.INT8] < errors[Precision.INT4]
    spread = {p: statistics.stdev(judge.draws(model, native, p, count=300)) for p in errors}
    assert spread[Precision.INT4] > spread[BF16]


def test_draws_are_paired() -> None:
    """Checkpoints of one family without scores of their own share its offset, so their errors move together."""
    judge = _judge("textvqa")
    family = [m for m in catalogue.models() if m.family == "Qwen3-VL"]
    own = EVIDENCE.benchmark("TextVQA_val").published
    one, other = [m for m in family if m.name not in own][:2]
    draws = [judge.draws(model, options(model, WORK.image)[-1], BF16, count=400) for model in (one, other)]
    assert draws[0] == judge.draws(one, options(one, WORK.image)[-1], BF16, count=400)
    assert statistics.correlation(*draws) > 0.2


def test_own_scores_are_surer_than_a_familys_and_it_is_said() -> None:
    judge = by_scores(EVIDENCE, {"docvqa": 1.0}, PAGE)
    own, by_family = catalogue.model("Qwen2.5-VL-7B"), catalogue.model("onevision-qwen2-7b")
    spread = [statistics.stdev(judge.draws(m, options(m, PAGE.image)[-1], BF16, count=300)) for m in (own, by_family)]
    assert spread[1] > 1.5 * spread[0]
    assert judge.warnings(own, options(own, PAGE.image)[-1]) == ()
    assert any(
        "rests on published scores of its family alone" in text
        for text in judge.warnings(by_family, options(by_family, PAGE.image)[-1])
    )


def test_without_scores_there_is_no_rank() -> None:
    """LLaVA-1.5 reads about a quarter of DocVQA; no family's mean says so, so it is not ranked there at all."""
    assert not _judge("docvqa").knows(catalogue.model("llava-1.5-7b"))
    assert _judge("reasoning").knows(catalogue.model("llava-1.5-7b"))
    assert not _judge("reasoning").knows(catalogue.model("paligemma-3b-mix-224"))


def test_a_family_never_scored_on_a_benchmark_stands_where_it_stands_on_others() -> None:
    """LLaVA-1.5 has no score on AI2D; its others place it below the mean of families, with a wider spread."""
    for name in ("AI2D_test", "MathVista_mini"):
        benchmark = EVIDENCE.benchmark(name)
        offset = benchmark.offset_of("LLaVA-1.5")
        assert offset.checkpoints == 0
        assert offset.value < 0
        assert benchmark.offset_of("Qwen2.5-VL").sd < offset.sd < benchmark.other_families.sd


def test_intervals_widen_with_what_is_unknown() -> None:
    """A score of one's own, of one's family, of a family's only checkpoint, of other families."""
    model = catalogue.model("Qwen2.5-VL-7B")
    visual = options(model, PAGE.image)[-1]

    def spread(evidence: Evidence) -> float:
        judge = by_scores(evidence, {"docvqa": 1.0}, PAGE)
        return stdev(logit(error) for error in judge.draws(model, visual, BF16, count=400))

    def without(**changes: Any) -> Evidence:
        """Evidence in which DocVQA is known otherwise."""
        changed = (replace(b, **changes) if b.name == "DocVQA" else b for b in EVIDENCE.benchmarks)
        return replace(EVIDENCE, benchmarks=tuple(changed))

    docvqa = EVIDENCE.benchmark("DocVQA")
    single = {**docvqa.offsets, model.family: replace(docvqa.offset_of(model.family), checkpoints=1)}
    spreads = [
        spread(EVIDENCE),
        spread(without(published={})),
        spread(without(published={}, offsets=single)),
        spread(without(published={}, offsets={})),
    ]
    assert spreads == sorted(spreads)
    assert spreads[-1] > 2 * spreads[1]


def test_other_benchmarks_tell_of_one_that_is_missing() -> None:
    told = [(b, name, one) for b in EVIDENCE.benchmarks for name, one in b.borrowed.items()]
    assert told
    for benchmark, name, one in told:
        assert name not in benchmark.published
        assert 0.5 < one.spread_fraction < 1
        assert one.benchmarks >= 1


def test_what_a_plan_stands_on_is_told_with_its_source() -> None:
    judge = by_scores(EVIDENCE, {"reasoning": 1.0}, WORK, catalogue.own_scores)
    known = {used.benchmark: used for used in judge.scores(catalogue.model("InternVL3-8B"))}
    assert known["MMMU_val"].basis == "published"
    assert known["MMMU_val"].score == pytest.approx(0.627, abs=0.04)
    assert "2504.10479" in (known["MMMU_val"].source or "")
    assert sum(used.weight for used in known.values()) == pytest.approx(1)
    weak = {used.basis for used in judge.scores(catalogue.model("llava-1.5-7b"))}
    assert weak - {"published"}


def test_error_never_falls_as_an_image_shrinks_to_nothing() -> None:
    errors = [
        min(_errors("InternVL3-2B", "docvqa", (side, side)).values()) for side in (1, 4, 16, 40, 64, 90, 224, 448, 896)
    ]
    assert errors == sorted(errors, reverse=True)


def test_a_strip_that_is_squeezed_into_tiles_is_not_seen_whole() -> None:
    """1600 x 200 in two tiles of 448: the width shrinks to 896, though the tiles have more pixels than the image."""
    model = catalogue.model("InternVL3-2B")
    two = next(one for one in options(model, (1600, 200)) if one.visual_tokens == 768)
    assert two.seen_side_px == pytest.approx(math.sqrt(896 * 200))


def test_below_all_studies_the_interval_holds_that_nothing_is_read() -> None:
    model = catalogue.model("Qwen2.5-VL-7B")
    judge = by_scores(EVIDENCE, {"docvqa": 1.0}, Workload(text_tokens=9, image=(56, 56)))
    visual = options(model, (56, 56))[-1]
    assert any("may read nothing at all" in text for text in judge.warnings(model, visual))
    assert judge.unstudied(model, visual)
    worst = sorted(judge.draws(model, visual, BF16, count=200))[190]
    docvqa = EVIDENCE.benchmark("DocVQA")
    assert worst > 1 - docvqa.blind_fraction - 0.01


def test_laws_judge_backbones_by_their_nominal_size() -> None:
    law = catalogue.law("reasoning")
    judge = by_law({"reasoning": (law, 1.0)}, EVIDENCE, WORK)
    model = catalogue.model("Qwen1.5-7B")
    visual = visual_input(model, WORK.image, 16, Compressor.NONE)
    assert judge.error(model, visual, BF16) == pytest.approx(law.error(7, 16))
    assert judge.warnings(model, visual) == ()
    assert any("is 13.4 for 50" in text or "is 13.5 for 50" in text for text in judge.source.basis)
    large = catalogue.model("Qwen1.5-14B")
    assert any("outside" in warning for warning in judge.warnings(large, visual))
    spread = [statistics.stdev(judge.draws(m, visual, BF16, count=300)) for m in (model, large)]
    assert spread[1] > spread[0]


def test_mixed_tasks_lie_between() -> None:
    model = catalogue.model("Qwen2.5-VL-7B")
    native = options(model, WORK.image)[-1]
    reasoning, ocr, mixed = (
        _judge(task).error(model, native, BF16) for task in ("reasoning", "ocr", "reasoning=0.7,ocr=0.3")
    )
    assert mixed == pytest.approx(0.7 * reasoning + 0.3 * ocr)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("reasoning=0.7,ocr=0.2", "the shares add to 0.9, expected 1"),
        ("reasoning=x", "found 'reasoning=x'"),
        ("reasoning=nan", "found 'reasoning=nan'"),
        ("reasoning=-1,ocr=2", "above 0"),
        ("", "found ''"),
        ("ocr=0.5,ocr=0.5", "each name once"),
    ],
)
def test_bad_tasks(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_task(text)


def test_unknown_task_lists_the_known() -> None:
    with pytest.raises(InputError, match="no task 'chess'; 'vlmplan catalogue tasks' lists"):
        _judge("chess")


def test_a_law_for_another_reduction_warns() -> None:
    judge = by_law({"ocr": (catalogue.law("ocr"), 1.0)}, EVIDENCE, WORK)
    model = catalogue.model("Qwen2.5-VL-7B")
    assert any("by image-size reduction" in text for text in judge.warnings(model, options(model, WORK.image)[-2]))


@pytest.mark.parametrize("name", ["reasoning", "ocr", "docvqa", "mmbench"])
def test_a_trained_law_never_prices_pruning(name: str) -> None:
    """LLaVA-1.5 pooled without training: from its native 576 tokens on, what is left is what studies of pooling say."""
    law, model = catalogue.law(name), catalogue.model("llava-1.5-7b")
    judge = by_law({name: (law, 1.0)}, EVIDENCE, WORK)
    whole = visual_input(model, WORK.image, 576, Compressor.NONE)
    pooled = visual_input(model, WORK.image, 36, Compressor.AVERAGE_POOL)
    assert pooled.reduction is Reduction.AVERAGE_POOL
    size = active_llm_params(model) / 1e9
    at_once = judge.error(model, whole, BF16)
    assert at_once == pytest.approx(law.error(size, 576, model.family), rel=1e-6)
    assert judge.error(model, pooled, BF16) > law.error(size, 36, model.family) > at_once
    draws = judge.draws(model, pooled, BF16, count=200)
    assert stdev(map(logit, draws)) > stdev(map(logit, judge.draws(model, whole, BF16, count=200)))


def test_models_of_a_family_share_its_uncertainty() -> None:
    """A law without points of the family: its level is unsure, the gap between two sizes hardly."""
    judge = by_law({"docvqa": (catalogue.law("docvqa"), 1.0)}, EVIDENCE, WORK)
    small, large = (catalogue.model(name) for name in ("Qwen1.5-4B", "Qwen1.5-7B"))
    visual = visual_input(small, WORK.image, 64, Compressor.TOKEN_PACKER)
    draws = [[logit(e) for e in judge.draws(model, visual, BF16, count=200)] for model in (small, large)]
    gaps = [one - other for one, other in zip(*draws, strict=True)]
    assert stdev(gaps) < 0.5 * stdev(draws[0])
    assert any("has no points of" in text for text in judge.warnings(small, visual))


# Videos: frames x tokens a frame


def _video(frames: int, task: str = "video") -> Judge:
    return by_scores(EVIDENCE, parse_task(task), replace(WORK, image=(1280, 720), images=frames))


def _video_error(name: str, frames: int, task: str = "video") -> float:
    """The error of a model that sees every frame at its default setting."""
    model = catalogue.model(name)
    return _video(frames, task).error(model, options(model, (1280, 720))[-1], BF16)


@pytest.mark.parametrize(
    ("name", "task", "frames", "score"),
    [
        ("InternVL3-8B", "videomme", 64, 66.3),
        ("InternVL3-8B", "mvbench", 16, 75.4),
        ("Qwen2.5-VL-7B", "mlvu", 768, 70.2),
        ("Qwen3-VL-8B", "videomme", 700, 71.4),
        ("llava-onevision-qwen2-7b", "longvideobench", 32, 56.3),
    ],
)
def test_published_scores_of_videos_are_met_at_their_own_frames(
    name: str, task: str, frames: int, score: float
) -> None:
    """InternVL3.5's and LLaVA-OneVision's tables, Qwen's reports (facts/video_scores.csv)."""
    assert 100 * (1 - _video_error(name, frames, task)) == pytest.approx(score, abs=0.1)


@pytest.mark.parametrize("name", ["InternVL3-8B", "Qwen2.5-VL-7B", "Qwen3-VL-4B", "SmolVLM2-2.2B"])
def test_fewer_frames_never_err_less_and_more_than_were_scored_buy_nothing(name: str) -> None:
    errors = [_video_error(name, frames) for frames in (1, 2, 8, 16, 32, 64, 256, 2048, 8192)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > errors[2] + 0.03 > errors[4] + 0.06
    assert errors[-2] == errors[-1]
    assert errors[0] < 0.75  # one frame still tells more than guessing


@pytest.mark.parametrize(
    ("name", "task", "frames", "score"),
    [
        ("Qwen3-VL-8B", "videomme", 32, 64.4),  # arXiv 2503.21483 and GleanVID
        ("Qwen2.5-VL-7B", "mlvu", 32, 59.5),  # arXiv 2512.04000
        ("llava-onevision-qwen2-7b", "mlvu", 8, 58.4),  # arXiv 2503.21483
    ],
)
def test_what_others_measured_at_fewer_frames_is_foretold(name: str, task: str, frames: int, score: float) -> None:
    assert 100 * (1 - _video_error(name, frames, task)) == pytest.approx(score, abs=4)


def test_smaller_frames_and_pruned_ones_err_more() -> None:
    """By Qwen's own setting and by pruning without training; frames lose less of both than pages."""
    model, judge = catalogue.model("Qwen2.5-VL-7B"), _video(32)
    seen = [judge.error(model, one, BF16) for one in options(model, (1280, 720))]
    assert seen == sorted(seen, reverse=True)
    llava = catalogue.model("llava-onevision-qwen2-7b")
    whole = options(llava, (1280, 720))[-1]
    pruned = replace(whole, visual_tokens=16, reduction=Reduction.SIMILARITY)
    assert 0.01 < judge.error(llava, pruned, BF16) - judge.error(llava, whole, BF16) < 0.2


def test_frames_below_all_studies_are_a_guess_and_it_is_said() -> None:
    model = catalogue.model("InternVL3-8B")
    visual = options(model, (1280, 720))[-1]
    spreads = [stdev(map(logit, _video(frames).draws(model, visual, BF16, count=400))) for frames in (64, 8, 1)]
    assert spreads == sorted(spreads)
    assert spreads[-1] > 1.5 * spreads[0]
    (guess,) = [line for line in _video(1).warnings(model, visual) if "frames" in line]
    assert "of 16 to 64 frames; no study has fewer than 8: what 1 is worth is a guess" in guess
    assert any("what is lost with 32 is from 5 papers" in line for line in _video(32).warnings(model, visual))
    assert any("more are not credited" in line for line in _video(256).warnings(model, visual))
    assert _video(1).unstudied(model, visual) == ()  # frames are given, not chosen


def test_who_reads_one_picture_reads_no_video() -> None:
    llava, qwen = catalogue.model("llava-1.5-7b"), catalogue.model("Qwen2.5-VL-7B")
    assert _video(8).takes(qwen, 8)
    assert not _video(8).takes(llava, 8)
    assert _video(1).takes(llava, 1)
    assert _video(8, "reasoning").takes(llava, 8)  # nobody says that the pictures belong together
    families = {model.family for model in catalogue.models()}
    assert set(EVIDENCE.one_picture) <= families


def test_tasks_of_videos_are_known_by_name() -> None:
    """A plan says frames by its task's name alone, long after the evidence is gone."""
    of_videos = {one.name for one in EVIDENCE.benchmarks if one.video is not None}
    for name, weights in [*EVIDENCE.tasks.items(), *((one.name, {one.name: 1.0}) for one in EVIDENCE.benchmarks)]:
        source = ErrorSource(name="published scores", sha256="", task={name: 1.0}, basis=())
        assert source.of_videos == (set(weights) <= of_videos) == bool(set(weights) & of_videos)


def test_pictures_are_judged_as_before_whatever_their_number() -> None:
    """Videos lend nothing to them, and frames are no matter."""
    assert _video_error("Qwen2.5-VL-7B", 32, "reasoning") == _video_error("Qwen2.5-VL-7B", 1, "reasoning")
    assert set(EVIDENCE.task_weights("no such task")) == {one.name for one in OF_PICTURES}
    for one in OF_PICTURES:
        assert all("video" not in source for source in one.sources)


def test_a_task_is_one_row() -> None:
    """What plans read is made of the rows, shares add to one, and a word means one task."""
    assert {name: dict(task.benchmarks) for name, task in TASKS.items()} == EVIDENCE.tasks
    words = [word for task in TASKS.values() for word in task.called]
    assert len({*words, *TASKS}) == len(words) + len(TASKS)
    for name, task in TASKS.items():
        assert sum(task.benchmarks.values()) == pytest.approx(1)
        for word in task.called:
            with pytest.warns(Assumed, match=f"taken for {name}$"):
                assert parse_task(word.upper()) == {name: 1.0}
