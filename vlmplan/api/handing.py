"""What do existing serving stacks take for a plan? A plan and a stack's name -> the text of its file."""

from typing import TYPE_CHECKING

from vlmplan.api.given import File, document, must_be_one_of
from vlmplan.errors import InputError

if TYPE_CHECKING:
    from vlmplan.planning import HandedOver, Plan


def hand_over(*, plan: "File | Plan", to: str, file: str | None = None) -> "HandedOver":
    """Write what a serving stack takes for a plan: for its replicas, on its GPUs, with what sets its visual tokens.

    Args:
        plan: The plan, or its file.
        to: The stack: ``"production-stack"`` (vLLM's Helm chart), ``"kserve"``, ``"ray-serve"``, ``"sglang"`` or
            ``"llama.cpp"``.
        file: Where the text will lie, for the line that applies it.

    Returns:
        ``text``, the file: JSON, which is YAML too, or shell commands; ``apply``, the line that hands it to the stack;
        ``notes``, what to mind.

    Raises:
        InputError: For what is no plan, or one that the stack cannot take.

    Example:
        >>> import vlmplan
        >>> plan = vlmplan.recommend(hardware="l40s", rate="20/s", percentiles={"p95": "2s"}, task="reasoning")
        >>> vlmplan.hand_over(plan=plan, to="kserve").apply
        'kubectl apply -f service.json'
    """
    from vlmplan.planning import Plan, Stack, hand_over_to

    read = document(Plan, plan)
    if read is None:
        raise InputError("handover: found no plan")
    return hand_over_to(read, must_be_one_of(Stack, to, "--to"), file)
