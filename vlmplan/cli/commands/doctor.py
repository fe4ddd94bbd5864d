"""``vlmplan doctor``: what is installed and usable here."""

from vlmplan.cli.options import JsonOption
from vlmplan.cli.output import deliver
from vlmplan.errors import Unavailable


def doctor(json: JsonOption = False) -> None:
    """Say what is installed and found here, what each command lacks, and the line that mends it.

    Exit 2 where something installed is not usable as it is; an extra that is not installed is no fault.

    Example: vlmplan doctor
    """
    from vlmplan.inventory import examine
    from vlmplan.views import print_checkup

    checkup = examine()
    deliver(checkup, None, json, lambda: print_checkup(checkup))
    if checkup.wrong:
        raise Unavailable("; ".join(f"{one.name}: {one.detail}" for one in checkup.wrong))
