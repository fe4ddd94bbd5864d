"""Make ``profiles/evidence.toml``: one estimator per benchmark on published scores, and what fewer tokens cost.

Run: ``python tools/make_evidence.py``; reads ``facts/``.
"""

import functools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from statistics import mean, median, stdev

from benchmarks import ESTIMATED, KIND, blind_fraction, image
from legibility import legible_log_sd, legible_text_px
from published import (
    BENCHMARKS,
    CHANCE,
    OF_VIDEOS,
    WEIGHTS,
    Published,
    family_years,
    logit,
    party_sd,
    published,
    sizes,
)
from score_line import Miss, Scored, ScoreLine, borrowed, common, held_fraction, left_out, mean_points, suspects
from token_curves import Axis, Inference, axis, constants, every_series, of_axis
from token_studies import Series, series, video_series

from facts import PROFILES, rows
from vlmplan.accuracy.published_scores import (
    Benchmark,
    Borrowed,
    Evidence,
    FamilyOffset,
    OwnScore,
    OwnScores,
    Shown,
    Video,
    size_term,
)
from vlmplan.accuracy.reductions import Curve, Kind, Uncertain
from vlmplan.document import to_toml
from vlmplan.errors import InputError
from vlmplan.hardware.runtimes import Precision
from vlmplan.inventory import catalogue
from vlmplan.models.spec import Reduction

SCORES = "vlm_scores.csv: published scores, one source each (quantised, thinking-mode and fine-tuned rows left out)"
STUDIES = "token_studies.csv.gz: scores at several numbers of pixels or visual tokens, a source each"
PARTIES = "party_scores.csv: the same checkpoint scored by several parties"
VIDEO_SCORES = "video_scores.csv: published scores of video benchmarks, frames a video where they are stated"
FRAME_STUDIES = "token_studies.csv.gz: scores at several numbers of frames, or of visual tokens a frame, a source each"
FRAME_PIXELS = "what fewer pixels a frame cost is that of benchmarks of pictures (perception): an assumption"
SOURCES_OF_VIDEOS = (VIDEO_SCORES, FRAME_STUDIES, FRAME_PIXELS, PARTIES)
LEGIBILITY = "legibility.csv: reading accuracy by height of text, a source each; the middle of its readers"
SHIPPED = {model.name: model for model in catalogue.models()}
FAMILIES_SHIPPED = {model.family for model in SHIPPED.values()}
STUDIED = {name: {told: own for own, told in ESTIMATED.items()}.get(name, name) for name in BENCHMARKS}


@functools.cache
def scored(name: str) -> tuple[Scored, ...]:
    """The published scores of one benchmark, of checkpoints whose size is known, without the suspicious ones."""
    known = sizes()
    found = tuple(
        Scored(
            checkpoint=name_of,
            family=known[name_of].family,
            size=size_term(known[name_of].active_b, known[name_of].total_b),
            active_b=known[name_of].active_b,
            share=one.share,
            year=family_years().get(known[name_of].family, 0.0),
            revised=one.revised,
        )
        for name_of, one in published()[name].items()
        if name_of in known
    )
    doubted = {miss.row.checkpoint for miss in suspects(found, CHANCE.get(name, 0.0))}
    for one in sorted(doubted):
        print(f"{name}: the score of {one} ({100 * published()[name][one].share:.1f}) is not believed")
    return tuple(row for row in found if row.checkpoint not in doubted)


def believed(name: str) -> dict[str, Published]:
    """The published scores of one benchmark, but those that are not believed; of sizes not known, too."""
    doubted = {one for one in published()[name] if one in sizes()} - {row.checkpoint for row in scored(name)}
    return {one: found for one, found in published()[name].items() if one not in doubted}


WAYS = tuple(way for way in Reduction if way is not Reduction.TRAINING_FREE)
_UNTRAINED = (Reduction.SIMILARITY, Reduction.ATTENTION, Reduction.DIVERSITY, Reduction.RANDOM, Reduction.AVERAGE_POOL)


@functools.cache
def inferences() -> dict[Axis, Inference]:
    """The scales of all studies, by what they lose."""
    return {lost: Inference(of_axis(every_series(), lost), at) for lost, at in constants().items()}


def _labels(name: str, reduction: Reduction) -> dict[str, str]:
    """What a model of no study shares with studies of a benchmark and way."""
    kind = str(KIND[name])
    shared = {"kind": kind, "benchmark": name}
    if reduction is Reduction.IMAGE_SIZE:
        return shared | {
            "setting": "image-size",
            "retrained": "as it is",
            "kind and retrained": f"{kind} as it is",
        }
    if reduction is Reduction.TRAINING_FREE:
        return shared
    return shared | {"reduction": str(reduction), "kind and reduction": f"{kind} {reduction}"}


def _alike(name: str, reduction: Reduction) -> list[Series]:
    """The studies of a benchmark's kind by a way of reducing; of any untrained way for one that was never studied."""
    found = [one for one in series() if one.kind is KIND[name] and one.reduction is reduction]
    untrained = [one for one in series() if one.kind is KIND[name] and one.reduction in _UNTRAINED]
    return found or untrained


def _curve(name: str, lost: Axis, labels: dict[str, str], alike: Sequence[Series], of_families: bool = True) -> Curve:
    """The curve of one benchmark on an axis, with what is known of families in the catalogue.

    It is what all studies of the axis say of a model that none of them has.
    """
    inference = inferences()[lost]
    found = inference.predict(labels)
    families = {}
    shown = inference.found if of_families else ()
    for family in sorted({one.family for one in shown if one.family in FAMILIES_SHIPPED}):
        own = inference.predict(labels | {"family": family})
        families[family] = Uncertain(value=round(own.mean - found.mean, 4), sd=round(own.own_sd, 4))
    return Curve(
        log_scale=Uncertain(value=round(found.mean, 4), sd=round(found.shared_sd, 4)),
        model_sd=round(found.own_sd, 4),
        steepness=inference.constants.steepness_of(name, retrained=False),
        least=round(min(math.exp(min(one.x)) for one in alike), 1),
        studies=len({one.paper for one in alike}),
        families=families,
    )


def curve(name: str, reduction: Reduction) -> Curve:
    """The curve of one benchmark and way."""
    served = reduction is Reduction.IMAGE_SIZE  # checkpoints are served at fewer pixels
    return _curve(name, axis(reduction), _labels(name, reduction), _alike(name, reduction), served)


def curves(name: str) -> dict[Reduction, Curve]:
    """The curves of one benchmark by way of reducing."""
    if KIND[name] is Kind.VIDEO:
        return frame_curves(name)
    return {reduction: curve(name, reduction) for reduction in (*WAYS, Reduction.TRAINING_FREE)}


LIKE_FRAMES = "GQA"  # whose pixels stand in for a frame's: what is seen in everyday scenes, nothing to be read
_PRUNED = (Reduction.SIMILARITY, Reduction.ATTENTION, Reduction.DIVERSITY, Reduction.TRAINING_FREE)


def frame_curves(name: str) -> dict[Reduction, Curve]:
    """What fewer pixels, or fewer tokens, of every frame leave; a way without studies of videos is left out."""
    found = {Reduction.IMAGE_SIZE: curve(LIKE_FRAMES, Reduction.IMAGE_SIZE)}
    for reduction in _PRUNED:
        told = {} if reduction is Reduction.TRAINING_FREE else {"reduction": str(reduction)}
        alike = [one for one in of_axis(video_series(), Axis.FRAME_TOKENS) if told.get("reduction") in (None, one.axis)]
        found[reduction] = _curve(name, Axis.FRAME_TOKENS, {"benchmark": name} | told, alike)
    return found


def _shown(found: Iterable[Published]) -> Shown | None:
    """The middle of the frames, and of their sides, that scores were published at; None where none tells frames."""
    rows_of = list(found)
    frames = [one.frames for one in rows_of if one.frames]
    sides = [one.frame_side_px for one in rows_of if one.frame_side_px]
    return Shown(frames=round(median(frames)), side_px=median(sides) if sides else None) if frames else None


def most_frames() -> int:
    """The most frames of any study."""
    return round(math.exp(max(one.whole[0] for one in of_axis(video_series(), Axis.FRAMES))))


def video(name: str) -> Video | None:
    """How the published scores of one video benchmark were come by; None of any other."""
    if name not in OF_VIDEOS:
        return None
    known = {one: found for one, found in believed(name).items() if one in SHIPPED}
    of_family: dict[str, list[Published]] = defaultdict(list)
    for one, found in known.items():
        of_family[SHIPPED[one].family].append(found)
    usual = _shown(known.values())
    assert usual is not None and usual.side_px is not None
    studied = of_axis(video_series(), Axis.FRAMES)
    mine = [one for one in studied if one.benchmark.startswith(name)]
    return Video(
        frames=_curve(name, Axis.FRAMES, {"benchmark": name}, mine),
        most_frames=most_frames(),
        usual=usual,
        checkpoints={one: shown for one, found in sorted(known.items()) if (shown := _shown([found]))},
        families={family: shown for family, found in sorted(of_family.items()) if (shown := _shown(found))},
    )


Deviations = dict[str, dict[str, float]]  # checkpoint or family -> benchmark -> deviation in standard deviations


def correlation(found: Deviations) -> float:
    """Correlation of one checkpoint's (or family's) deviations on two benchmarks, over all pairs."""
    pairs = [(own[a], own[b]) for own in found.values() for a in own for b in own if a < b]
    return common([x * y for x, y in pairs], [value**2 for own in found.values() for value in own.values()])


def family_offsets(lines: dict[str, ScoreLine]) -> dict[str, dict[str, FamilyOffset]]:
    """Offsets by benchmark and family; a family not scored on one is drawn to where it stands on the others."""
    families = sorted({model.family for model in SHIPPED.values()})
    standings: Deviations = {}
    for family in families:
        known = {name: line.offset(family) for name, line in lines.items()}
        standings[family] = {n: u / lines[n].family_sd for n, (u, _, count, _) in known.items() if count}
    shared = correlation(standings)
    found: dict[str, dict[str, FamilyOffset]] = {}
    for name, line in lines.items():
        found[name] = {}
        for family in families:
            value, sd, count, size = line.offset(family)
            others = [u for other, u in standings[family].items() if other != name]
            if not count and not others:
                continue
            if not count:
                shift, left = borrowed(others, shared)
                value, sd = shift * line.family_sd, left * line.family_sd
            value += line.yearly * family_years().get(family, 0.0)
            low, high = line.sizes(family)
            found[name][family] = FamilyOffset(
                value=round(value, 4),
                sd=round(sd, 4),
                checkpoints=count,
                mean_size=round(size, 4),
                sizes=(round(low, 4), round(high, 4)),
            )
    return found


def borrowings(misses: dict[str, list[Miss]]) -> dict[str, dict[str, Borrowed]]:
    """What shipped checkpoints' scores on other benchmarks say of one they were not scored on."""
    deviations: Deviations = defaultdict(dict)
    for name, found in misses.items():
        for miss in found:
            if miss.seen:
                deviations[miss.row.checkpoint][name] = miss.deviation
    shared = correlation(deviations)
    print(f"deviations of one checkpoint on two benchmarks: correlation {shared:.2f}")
    told: dict[str, dict[str, Borrowed]] = defaultdict(dict)
    for checkpoint, own in sorted(deviations.items()):
        for name in (name for name in misses if checkpoint in SHIPPED and checkpoint not in believed(name)):
            shift, left = borrowed([*own.values()], shared)
            told[name][checkpoint] = Borrowed(
                shift=round(shift, 4), spread_fraction=round(left, 4), benchmarks=len(own)
            )
    return told


LEAST_SCORED = 8  # checkpoints that a line with a slope, a level and families is fitted to


def of_no_task() -> Iterator[str]:
    """Yield the benchmarks that enough checkpoints were scored on, and that no task has: nothing is made of them."""
    for name, found in published().items():
        if name not in BENCHMARKS and len(found) >= LEAST_SCORED:
            yield f"{name} ({len(found)} checkpoints)"


def benchmarks(names: Iterable[str]) -> tuple[Benchmark, ...]:
    """Fit the estimators of benchmarks that lend to each other, and try each on checkpoints left out.

    Raises InputError for one with too few scores, or of no kind.
    """
    rows_of = {name: scored(name) for name in names}
    for name, known in rows_of.items():
        if len(known) < LEAST_SCORED:
            raise InputError(
                f"facts/vlm_scores.csv, {name}: found scores of {len(known)} checkpoints of the catalogue, expected "
                f"{LEAST_SCORED} or more, or no task of it in vlmplan/accuracy/tasks.py"
            )
        if STUDIED[name] not in KIND:
            raise InputError(
                f"tools/benchmarks.py, KINDS: found no {STUDIED[name]}, expected it in the list of its kind"
            )
    lines = {name: ScoreLine(rows=found, chance=CHANCE.get(name, 0.0)) for name, found in rows_of.items()}
    misses = {name: left_out(rows_of[name], lines[name].chance) for name in rows_of}
    offsets, told = family_offsets(lines), borrowings(misses)
    found = []
    for name, line in lines.items():
        slope, slope_sd = line.slope
        value, sd, count, size = line.offset("no such family")
        own = {one: logit(known.share) for one, known in believed(name).items() if one in SHIPPED}
        found.append(
            Benchmark(
                name=name,
                kind=KIND[STUDIED[name]],
                image=image(STUDIED[name]),
                chance_score=line.chance,
                blind_fraction=round(blind_fraction(STUDIED[name]), 3),
                intercept=round(line.intercept, 4),
                slope=Uncertain(value=round(slope, 4), sd=round(slope_sd, 4)),
                family_sd=round(line.family_sd, 4),
                residual_sd=round(line.residual_sd, 4),
                left_out_points=round(mean_points(misses[name], "predicted_points"), 2),
                family_mean_points=round(mean_points(misses[name], "family_mean_points"), 2),
                nearest_size_points=round(mean_points(misses[name], "nearest_points"), 2),
                held_fraction=round(held_fraction(misses[name]), 3),
                checkpoints=len(line.rows),
                offsets=offsets[name],
                other_families=FamilyOffset(
                    value=value,
                    sd=round(sd, 4),
                    checkpoints=count,
                    mean_size=round(size, 4),
                    sizes=line.sizes("no such family"),
                ),
                published={one: round(known, 4) for one, known in own.items()},
                harness_sd=round(party_sd(name), 3),
                borrowed=told[name],
                curves=curves(STUDIED[name]),
                video=video(name),
                sources=SOURCES_OF_VIDEOS if name in OF_VIDEOS else (SCORES, STUDIES, PARTIES),
            )
        )
    return tuple(found)


def precision_offsets() -> dict[Precision, Uncertain]:
    """logit(score) at bf16 less at each precision, over the quantised rows of Qwen2-VL (4 benchmarks x 3 sizes)."""
    base, shifts = {}, defaultdict(list)
    quantised = [row for row in rows("vlm_scores.csv") if "MMBench dev EN, DocVQA val" in row["protocol_note"]]
    for row in quantised:
        if row["protocol_note"].startswith("BF16"):
            base[row["hf_id"], row["benchmark"]] = logit(float(row["score"]) / 100)
    for row in quantised:
        name, _, method = row["hf_id"].partition("-Instruct-")
        if method:
            shift = base[f"{name}-Instruct", row["benchmark"]] - logit(float(row["score"]) / 100)
            shifts[Precision.INT8 if "Int8" in method else Precision.INT4].append(shift)
    found = {p: Uncertain(value=round(mean(s), 4), sd=round(stdev(s), 4)) for p, s in shifts.items()}
    eight = found[Precision.INT8]
    doubled = Uncertain(value=eight.value, sd=round(2 * eight.sd, 4))
    none = dict.fromkeys((Precision.FP32, Precision.FP16, Precision.BF16), Uncertain(value=0.0, sd=0.0))
    return {**none, **found, Precision.FP8: doubled, Precision.INT8_W8A8: doubled}


def own_scores() -> None:
    """Write ``profiles/scores``: what was published of each shipped checkpoint, and where."""
    folder = PROFILES / "scores"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.toml"):
        old.unlink()
    for name in SHIPPED:
        found = {
            benchmark: OwnScore(
                score=round(one.share, 6), revised=one.revised, note=one.note or None, source=one.source
            )
            for benchmark in BENCHMARKS
            if (one := believed(benchmark).get(name))
        }
        if found:
            text = to_toml(OwnScores(name=name, benchmarks=found))
            (folder / f"{name.replace('/', '--')}.toml").write_text(text, encoding="utf-8")


def main() -> None:
    """Write the evidence and the scores, and print how well what was left out is predicted."""
    try:
        of_pictures = benchmarks(name for name in BENCHMARKS if name not in OF_VIDEOS)
        found = (*of_pictures, *benchmarks(OF_VIDEOS))  # what is known of pictures tells little of videos
    except InputError as error:
        raise SystemExit(str(error)) from None
    height_px, spread_px = legible_text_px()
    print(f"left out, of no task of vlmplan/accuracy/tasks.py: {', '.join(of_no_task())}")
    for one in found:
        print(
            f"{one.name}: {one.checkpoints} checkpoints, left out {one.left_out_points} points (family's mean "
            f"{one.family_mean_points}, nearest size {one.nearest_size_points}), 80 % hold {one.held_fraction:.0%}"
        )
        for reduction, curve_of in one.curves.items():
            scale = curve_of.log_scale
            print(
                f"  {reduction}: scale {math.exp(scale.value):.3g} (log sd {scale.sd:.2f}, of a model "
                f"{curve_of.model_sd:.2f}), steepness {curve_of.steepness:g}, {curve_of.studies} papers of its kind"
            )
    sources = (
        "int8 (GPTQ-Int8) and int4 (GPTQ-Int4, AWQ): Qwen2-VL README, 3 sizes x 4 benchmarks",
        "fp8 and int8-w8a8: no scores at hand; int8's offset with twice its spread, an assumption",
    )
    evidence = Evidence(
        tasks=WEIGHTS,
        benchmarks=found,
        precision_offsets=precision_offsets(),
        precision_sources=sources,
        legible_text_px=Uncertain(value=round(height_px, 1), sd=round(spread_px, 1)),
        legible_log_sd=round(legible_log_sd(), 2),
        legible_sources=(LEGIBILITY,),
        one_picture={row["family"]: f"{row['reason']}: {row['source']}" for row in rows("one_picture.csv")},
    )
    print(evidence.precision_offsets)
    (PROFILES / "evidence.toml").write_text(to_toml(evidence), encoding="utf-8")
    own_scores()


if __name__ == "__main__":
    main()
