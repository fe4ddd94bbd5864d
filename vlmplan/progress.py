"""How does long work say how far it is? A function that views give and everything else calls."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # what is worked on, how much is done, how much in all
