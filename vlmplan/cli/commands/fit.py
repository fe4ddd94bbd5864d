"""``vlmplan fit``: a scaling law from points."""

from pathlib import Path
from typing import Annotated

import typer

from vlmplan import api
from vlmplan.accuracy import Loss, PriorChoice
from vlmplan.cli.options import ConfidenceOption, JsonOption, VerboseOption
from vlmplan.cli.output import deliver, say
from vlmplan.document import check_apart, check_destination, to_toml, write_text
from vlmplan.fitting import Harness
from vlmplan.models import Reduction


def fit(  # noqa: PLR0917 - one parameter an option
    points: Annotated[
        Path,
        typer.Argument(metavar="POINTS.csv|STUDY.json|DIR", help="Points, a study, or with --from a results folder."),
    ],
    from_: Annotated[Harness | None, typer.Option("--from", help="Whose results the folder holds.")] = None,
    runs: Annotated[
        Path | None, typer.Option("--runs", metavar="RUNS.csv", help="With --from: run, llm_params_b, visual_tokens.")
    ] = None,
    metric: Annotated[str | None, typer.Option("--metric", help="With --from: the figure, where several.")] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="Which of the points' tasks, or a mix such as docvqa=0.5,textvqa=0.5.")
    ] = None,
    score_max: Annotated[float | None, typer.Option("--score-max", help="What a perfect score is: 100, 1000.")] = None,
    form: Annotated[
        str, typer.Option("--form", metavar="auto|LIST", help="Of power, logit and hill, what predicts best.")
    ] = "auto",
    prior: Annotated[
        PriorChoice, typer.Option("--prior", help="auto: shipped studies tell what the points cannot.")
    ] = PriorChoice.AUTO,
    floor: Annotated[
        str, typer.Option("--floor", metavar="free|NUMBER", help="D of power: free from 0 up, or held.")
    ] = "free",
    loss: Annotated[Loss, typer.Option("--loss", help="huber: points far off count less.")] = Loss.SQUARES,
    reduction: Annotated[
        Reduction, typer.Option("--reduction", help="How the models came to their tokens.")
    ] = Reduction.TRAINED,
    like: Annotated[
        str, typer.Option("--like", metavar="FAMILY", help="What a family without points is taken for [their mean].")
    ] = "",
    drop: Annotated[
        str | None, typer.Option("--drop", metavar="LIST", help="Suspicions, lines or runs to leave out.")
    ] = None,
    keep: Annotated[
        str | None, typer.Option("--keep", metavar="LIST", help="Suspicions, lines or runs to keep.")
    ] = None,
    draws: Annotated[int, typer.Option("--draws", min=200, max=20_000, help="Of each bootstrap.")] = 2000,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**31, help="Of all that is drawn.")] = 0,
    confidence: ConfidenceOption = 0.9,
    text_tokens: Annotated[
        int, typer.Option("--text-tokens", min=0, max=1_000_000, help="For the best V at a fixed compute.")
    ] = 50,
    published: Annotated[bool, typer.Option("--published", help="Where the paper's exponents lie.")] = False,
    name: Annotated[str | None, typer.Option("--name", help="The law's name [default: the task's or file's].")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="LAW.toml", help="Write the law here.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw points, law and Pareto line (.svg, .png).")] = None,
    verbose: VerboseOption = False,
    json: JsonOption = False,
) -> None:
    """Fit a scaling law, error by LLM size and visual tokens, to measured points.

    Example: vlmplan fit points.csv --out law.toml --plot law.svg
    """
    from vlmplan.pages import check_picture, plot_law
    from vlmplan.views import print_fit

    check_destination(out)
    check_picture(plot)
    check_apart({"--out": out, "--plot": plot}, (points,))
    law, report = api.fit(
        points=points, from_=from_, runs=runs, metric=metric, task=task, score_max=score_max, form=form, prior=prior,
        floor=floor, loss=loss, reduction=reduction, like=like, drop=drop, keep=keep, draws=draws, seed=seed,
        confidence=confidence, text_tokens=text_tokens, published=published, name=name, tell=say,
    )  # fmt: skip
    deliver(report, None, json, lambda: print_fit(report, out, verbose=verbose))
    if out is not None:
        write_text(out, to_toml(law))
        say(f"wrote {out}")
    if plot is not None:
        plot_law(law, text_tokens, plot)
        say(f"wrote {plot}")
