"""Points that cannot tell a law alone: what stands in for them, how surely, and that recommend takes what comes out."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from grids import OCR, REASONING, law_error
from typer.testing import CliRunner

from vlmplan.accuracy.law import Form, Loss, Point
from vlmplan.accuracy.published_scores import SIZE_EXPONENT
from vlmplan.accuracy.reductions import Uncertain
from vlmplan.cli.app import app
from vlmplan.errors import InputError
from vlmplan.fitting.fit import fit_law
from vlmplan.fitting.fit_form import FitOptions
from vlmplan.fitting.informed_fit import fit_informed
from vlmplan.fitting.prior import Prior, shipped_prior
from vlmplan.inventory import catalogue
from vlmplan.models.spec import Reduction

EVIDENCE = catalogue.evidence()
PRIOR = Prior(
    b=Uncertain(value=0.3, sd=0.03),
    c=Uncertain(value=0.6, sd=0.1),
    d=Uncertain(value=1.0, sd=0.8),
    model_sd=0.02,
    size_basis="9 checkpoints",
    tokens_basis="5 studies",
)
ONE_LLM = tuple(Point(llm_params_b=7, visual_tokens=v, error=e) for v, e in ((36, 0.35), (144, 0.3), (576, 0.27)))
TWO_SIZES = tuple(Point(llm_params_b=n, visual_tokens=576, error=e) for n, e in ((1.5, 0.4), (7, 0.3)))
QUICK = FitOptions(draws=400, prior=PRIOR)


def test_points_that_can_tell_lean_on_nothing() -> None:
    law, report = fit_law(REASONING, QUICK)
    assert report.prior == ()
    assert law == fit_law(REASONING, replace(QUICK, prior=None))[0]


@pytest.mark.parametrize("points", [ONE_LLM, TWO_SIZES, TWO_SIZES[1:]], ids=["one LLM", "two sizes", "one point"])
def test_what_points_cannot_tell_is_as_sure_as_before(points: tuple[Point, ...]) -> None:
    """The posterior of what they say nothing of is the prior, no narrower; the level goes through the points."""
    law, report = fit_law(points, QUICK)
    assert law.form is Form.HILL
    assert len(report.prior) == 3
    assert set(report.prior) <= set(law.notes)
    assert "with a prior, since the points cannot tell" in report.form_because
    drawn = {name: np.array([row[index] for row in law.fit.draws]) for index, name in enumerate("abcd")}
    if len({one.llm_params_b for one in points}) == 1:
        assert drawn["b"].mean() == pytest.approx(0.3, abs=0.01)
        assert drawn["b"].std() == pytest.approx(0.03, rel=0.15)
        assert law.fit.assumed_rmse == law.fit.left_out_rmse == 0.02
    if len(points) == 1:
        assert drawn["c"].std() == pytest.approx(0.1, rel=0.2)
        assert drawn["d"].std() == pytest.approx(0.8, rel=0.2)
    for one in points:
        assert law.error(one.llm_params_b, one.visual_tokens) == pytest.approx(one.error, abs=0.01)


def test_a_family_that_never_errs_does_not_run_off() -> None:
    """Offsets have a prior as well: one point without any error says little of how far its family lies from others."""
    perfect = replace(TWO_SIZES[0], error=0.0, family="perfect")
    law, _ = fit_law((perfect, replace(TWO_SIZES[1], family="plain")), QUICK)
    assert 0 < law.fit.families["plain"] - law.fit.families["perfect"] < 20
    assert law.error(1.5, 576, "perfect") < 0.1


def test_many_points_overrule_what_was_known() -> None:
    found = fit_informed(OCR, replace(QUICK, prior=PRIOR), PRIOR).fit
    own = fit_law(OCR, replace(QUICK, forms=(Form.HILL,)))[0].fit
    assert found.rmse < 1.2 * own.rmse
    assert found.assumed_rmse is None


def test_ninety_percent_hold_planted_truths() -> None:
    """Truths drawn from the prior, three points of one LLM with noise of 0.01, 200 times.

    All coefficients, and the error at a quarter of the size and 16 tokens, lie in 90 % intervals in 83 to 97 %.
    """
    random, held = np.random.default_rng(5), dict.fromkeys(("b", "c", "d", "error"), 0)
    for repetition in range(200):
        b, c, d = (random.normal(one.value, one.sd) for one in (PRIOR.b, PRIOR.c, PRIOR.d))
        error = law_error(Form.HILL, (-0.4, b, c, d))
        points = tuple(
            Point(llm_params_b=7, visual_tokens=v, error=error(7, v) + random.normal(0, 0.01)) for v in (36, 144, 576)
        )
        fit = fit_informed(points, replace(QUICK, draws=300, seed=repetition), PRIOR).fit
        for name, value in (("b", b), ("c", c), ("d", d)):
            low, high = fit.coefficients[name].interval or (math.nan, math.nan)
            held[name] += low <= value <= high
        low, high = np.quantile([fit.error(1.75, 16, values=row) for row in fit.draws], (0.05, 0.95))
        held["error"] += bool(low <= error(1.75, 16) <= high)
    assert all(0.83 * 200 <= count <= 0.97 * 200 for count in held.values()), held


def test_the_shipped_prior_by_hand() -> None:
    """DocVQA has no chance level: b is the slope times N^-0.2 at the points' 7 billion; some of its score is blind."""
    benchmark = EVIDENCE.benchmark("DocVQA")
    prior = shipped_prior(EVIDENCE, {"docvqa": 1.0}, Reduction.TRAINED, ONE_LLM)
    curve = benchmark.curves[Reduction.TRAINED]
    assert prior.b.value == pytest.approx(benchmark.slope.value * 7**-SIZE_EXPONENT)
    assert prior.c.value == curve.steepness
    seen = math.log(1 - benchmark.blind_fraction) / curve.steepness
    assert prior.d.value == pytest.approx(curve.log_scale.value + seen)
    assert prior.d.sd == pytest.approx(math.hypot(curve.log_scale.sd, curve.model_sd))


def test_a_side_in_pixels_is_tokens_squared() -> None:
    """A curve in pixels, asked at the side of V tokens of 28 x 28, is the prior's at V."""
    benchmark = EVIDENCE.benchmark("DocVQA")
    curve = benchmark.curves[Reduction.IMAGE_SIZE]
    prior = shipped_prior(EVIDENCE, {"DocVQA": 1.0}, Reduction.IMAGE_SIZE, ONE_LLM)
    scale = prior.d.value - math.log(1 - benchmark.blind_fraction) / prior.c.value
    for tokens in (16, 256):
        side = 28 * math.sqrt(tokens)
        lost = math.exp(-prior.c.value * (math.log(tokens) - scale))
        assert lost == pytest.approx(math.exp(-curve.steepness * (math.log(side) - curve.log_scale.value)))
    assert "taken for 28 x 28 a token" in prior.tokens_basis


def test_an_unknown_task_is_less_sure_than_any() -> None:
    unknown, known = (shipped_prior(EVIDENCE, {name: 1.0}, Reduction.TRAINED, ONE_LLM) for name in ("mine", "docvqa"))
    assert unknown.d.sd > known.d.sd
    assert "the task being none of theirs" in unknown.size_basis


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (replace(QUICK, prior=None), "with '--prior auto' published scores and studies would tell it"),
        (replace(QUICK, forms=(Form.LOGIT,)), "only hill takes a prior"),
        (replace(QUICK, loss=Loss.HUBER), "--loss huber: a prior is for points too few"),
    ],
)
def test_what_a_prior_is_not_for(options: FitOptions, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_law(ONE_LLM, options)


@pytest.mark.parametrize("points", [ONE_LLM, TWO_SIZES, TWO_SIZES[1:]], ids=["one LLM", "two sizes", "one point"])
def test_recommend_takes_the_law(points: tuple[Point, ...], tmp_path: Path) -> None:
    table, law, picture = (str(tmp_path / name) for name in ("points.csv", "law.toml", "law.svg"))
    lines = ["llm_params_b,visual_tokens,error", *(f"{p.llm_params_b},{p.visual_tokens},{p.error}" for p in points)]
    Path(table).write_text("\n".join(lines))
    fit = ("fit", table, "--task", "docvqa", "--draws", "300", "--out", law, "--plot", picture, "-v")
    found = CliRunner().invoke(app, fit, catch_exceptions=False)
    assert found.exit_code == 0, found.stderr
    assert " ".join(found.stdout.split()).count("trained studies of DocVQA") == 2
    assert "svg" in Path(picture).read_text()[:200]
    work = ("--hardware", "l4", "--latency", "1s", "--text-tokens", "50", "--output-tokens", "8")
    asked = ("recommend", *work, "--candidates", "paper", "--task", law, "--json")
    plan = json.loads(CliRunner().invoke(app, asked, catch_exceptions=False).stdout)
    low, high = plan["choice"]["error_interval"]
    assert low < plan["choice"]["predicted_error"] < high
    assert CliRunner().invoke(app, [*fit, "--prior", "none"]).exit_code == 2
