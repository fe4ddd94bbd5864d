"""The model of all studies: planted scales are found, kinds lend to what is thin, and papers left out are predicted."""

import functools
import math
from dataclasses import replace

import numpy as np
import pytest
import token_curves
from benchmarks import KIND, blind_fraction, chance, image
from leave_one_study_out import Left, left_out, table, table_of_videos
from legibility import legible_text_px
from regret import RULES, grids, planned, regrets
from token_curves import Axis, Constants, Inference, axis, axis_of, constants, effects, hill, of_axis
from token_studies import Series, series, series_of, video_series

from vlmplan.accuracy.reductions import Kind
from vlmplan.inventory.budget import Preference
from vlmplan.models.spec import Reduction

OF_VIDEOS = {Axis.FRAMES, Axis.FRAME_TOKENS}
SPREADS = {"kind": 0.3, "benchmark": 0.3, "reduction": 0.2, "kind and reduction": 0.2, "family": 0.1, "paper": 0.3,
           "paper and kind": 0.1, "series": 0.2}  # fmt: skip
AT = Constants(spreads=SPREADS, noise=0.005, steepness={str(kind): 0.7 for kind in Kind})


def _series(benchmark: str, paper: str, log_scale: float, tokens: tuple[float, ...] = (1, 9, 36, 144, 576)) -> Series:
    """Scores that follow a curve to the last digit."""
    floor, blind = chance(benchmark), blind_fraction(benchmark)
    kept = [float(hill(math.log(one), log_scale, 0.7)) for one in tokens]
    return Series(
        paper=paper, study=paper, checkpoint=paper, family="", axis="trained", method="", benchmark=benchmark,
        llm_params_b=7.0, retrained=True, x=tuple(math.log(one) for one in tokens),
        share=tuple(floor + 0.6 * (blind + (1 - blind) * one) for one in kept), tokens=tokens,
    )  # fmt: skip


def test_planted_scales_are_found() -> None:
    random = np.random.default_rng(0)
    planted = {"DocVQA": 3.0, "TextVQA": 2.0, "GQA": 0.5}
    found = [
        _series(name, f"paper {i}", mean + 0.2 * random.normal()) for name, mean in planted.items() for i in range(12)
    ]
    inference = Inference(found, AT)
    for name, mean in planted.items():
        shared = {"kind": str(KIND[name]), "benchmark": name, "reduction": "trained"}
        told = inference.predict(shared)
        assert told.mean == pytest.approx(mean, abs=0.25)
        assert told.shared_sd < 0.3 < told.own_sd


def test_a_benchmark_of_one_study_of_two_points_leans_on_its_kind() -> None:
    """Its two points say that nothing is lost; eleven papers of its kind say otherwise, and outweigh them."""
    kind = [_series("DocVQA", f"paper {i}", 3.0) for i in range(11)]
    thin = replace(
        _series("InfoVQA", "thin", -6.0), x=(math.log(144), math.log(576)), share=(0.6, 0.6), tokens=(144, 576)
    )
    shared = {"kind": "reading", "benchmark": "InfoVQA", "reduction": "trained"}
    alone, among = (Inference(found, AT).predict(shared).mean for found in ([thin], [*kind, thin]))
    assert alone < among < 3.0
    assert among > 1.0


def test_an_unseen_paper_is_less_certain_than_a_known_one() -> None:
    found = [_series("DocVQA", f"paper {i}", 3.0 + 0.3 * (i % 3)) for i in range(9)]
    inference = Inference(found, AT)
    known, unseen = (inference.predict(effects(found[0], unseen=unseen)) for unseen in (False, True))
    assert known.sd < unseen.sd


def test_the_evidence_peaks_at_the_noise_that_was_planted() -> None:
    random = np.random.default_rng(1)
    found = []
    for i in range(40):
        clean = _series("DocVQA", f"paper {i}", 3.0)
        noisy = tuple(float(y + 0.02 * random.normal()) for y in clean.share)
        found.append(replace(clean, share=noisy))
    scores = {noise: token_curves._score(found, replace(AT, noise=noise)) for noise in (0.005, 0.015, 0.06)}
    assert max(scores, key=lambda noise: scores[noise]) == 0.015


def test_the_facts_are_many_and_sound() -> None:
    """At least 40 studies of three settings or more, beyond those of the first tables."""
    found = series()
    long = {(one.paper, one.study) for one in found if len(one.x) >= 3}
    assert len(long) >= 60
    assert len({one.paper for one in found}) >= 90
    assert {one.kind for one in found} == set(Kind) - {Kind.VIDEO}
    assert {axis(one.reduction) for one in found} == {axis_of(one) for one in found} == set(Axis) - OF_VIDEOS
    for one in found:
        assert list(one.x) == sorted(set(one.x))
        assert all(0 <= share <= 1 for share in one.share)
        assert all(side <= math.log(4000) for side in one.x) or one.reduction is not Reduction.IMAGE_SIZE


def test_studies_of_videos_are_of_frames_or_of_tokens_a_frame() -> None:
    """Chosen evenly: who looks for the frames that matter has seen the video, or read the question."""
    found = video_series()
    assert {one.kind for one in found} == {Kind.VIDEO}
    assert {axis_of(one) for one in found} == OF_VIDEOS
    frames = of_axis(found, Axis.FRAMES)
    assert len({one.paper for one in frames}) >= 5
    for one in frames:
        assert not one.method
        assert all(1 <= math.exp(x) <= 300 for x in one.x)
    pruned = of_axis(found, Axis.FRAME_TOKENS)
    assert len({one.paper for one in pruned}) >= 8
    assert all(1 < math.exp(x) <= 260 for one in pruned for x in one.x)
    whole = {round(math.exp(one.whole[0])) for one in pruned if one.family == "LLaVA-OneVision"}
    assert whole == {196}


def test_frames_left_out() -> None:
    """A paper's scores at fewer frames, from all other papers: nearer than no change, within intervals."""
    found, at = of_axis(video_series(), Axis.FRAMES), constants()[Axis.FRAMES]
    rows = list(left_out(found, at, sorted({one.paper for one in found})))
    assert len(rows) > 60
    errors = [100 * abs(row.predicted - row.share) for row in rows]
    unchanged = [100 * abs(row.unchanged - row.share) for row in rows]
    assert sum(errors) < 0.4 * sum(unchanged)
    assert sum(row.low <= row.share <= row.high for row in rows) > 0.85 * len(rows)
    assert "| VideoMME | frames |" in table_of_videos(rows)


def test_what_is_known_of_benchmarks() -> None:
    assert image("DocVQA")[1] > 2000 > image("ChartQA")[0]
    assert chance("AI2D") == pytest.approx(0.24, abs=0.01)
    assert blind_fraction("DocVQA") < 0.15 < blind_fraction("MMBench_EN") < 0.5 < blind_fraction("MMMU")
    height_px, spread_px = legible_text_px()
    assert 8 <= height_px <= 10
    assert 0 < spread_px < 4


def _left_out() -> list[Left]:
    """Every paper of pixels and of trained tokens, and a ninth of those of pruning, with the constants in force."""
    rows: list[Left] = []
    for lost, at in constants().items():
        if lost in OF_VIDEOS:
            continue
        found = of_axis(series(), lost)
        papers = sorted({one.paper for one in found})
        rows += left_out(found, at, papers[::9] if lost is Axis.UNTRAINED else papers)
    return rows


def _bias(rows: list[Left], kind: Kind) -> float:
    """By how many points the lowest setting of every series is promised too much."""
    found = [100 * (row.predicted - row.share) for row in rows if row.lowest and row.kind == kind]
    return sum(found) / len(found)


def test_papers_left_out() -> None:
    """Intervals of 90 % hold 85 to 95; errors beat no change and the slopes before; low settings are not flattered."""
    rows = _left_out()
    assert len(rows) > 1500
    held = [row.low <= row.share <= row.high for row in rows]
    assert 0.85 <= sum(held) / len(held) <= 0.95
    now, unchanged, before = (
        sum(abs(getattr(row, name) - row.share) for row in rows) / len(rows)
        for name in ("predicted", "unchanged", "by_slope")
    )
    assert now < 0.8 * before < unchanged
    assert abs(_bias(rows, Kind.READING)) < 3
    assert abs(_bias(rows, Kind.REASONING)) < 1
    infovqa = [row for row in rows if row.paper == "2409.12191" and row.benchmark == "InfoVQA"]
    assert len(infovqa) >= 3
    assert all(abs(row.predicted - row.share) < 0.08 for row in infovqa)
    lines = table(rows).splitlines()
    assert lines[-2].startswith("| all | shrinking |")
    assert any(line.startswith("| reading | image-size |") for line in lines)


@functools.cache
def _grids() -> tuple[object, ...]:
    papers = ("2411.03312", "2407.02392", "2405.17430", "2405.19315", "Braco 2026")
    return tuple(grids([one for one in series() if one.paper in papers], series()))


def test_regret_is_below_that_of_simple_rules() -> None:
    def mean(rule: object) -> float:
        values = [value for grid in _grids() for value in regrets(grid, rule)]  # type: ignore[arg-type]
        return sum(values) / len(values)

    ours = mean(planned(Preference.BALANCED))
    assert ours < 0.6
    assert ours <= min(mean(rule) for rule in (*RULES.values(), None))


MINE = ("mine", "mine", "My-VLM", "trained", "yes", "")


def test_a_table_of_ones_own_is_read() -> None:
    columns = ("paper", "study", "checkpoint", "llm_params_b", "axis", "trained_each", "method", "visual_tokens",
               "image_side_px", "benchmark", "score", "score_max")  # fmt: skip
    rows = [
        dict(zip(columns, (*MINE[:3], size, *MINE[3:], tokens, "", "GQA", score, "100"), strict=True))
        for size, score in (("1", "50"), ("7", "60"))
        for tokens in ("4", "64", "576")
    ]  # fmt: skip
    mine = list(series_of(rows))
    assert [len(one.x) for one in mine] == [3, 3]
    (grid,) = grids(mine, series())
    assert len(grid.configurations) == 6
    assert len(grid.budgets) == 10
    assert all(value >= 0 for value in regrets(grid, planned(Preference.SPEED)))
