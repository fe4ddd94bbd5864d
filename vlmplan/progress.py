"""How does long work say how far it is? A function that views give and everything else calls."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # what is worked on, how much is done, how much in all


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody: what long work says how far it is to, where nobody asked."""
