"""Is what a command needs installed? Modules of the optional extras, asked for before any long work."""

from vlmplan.errors import Unavailable


def _missing(modules: tuple[str, ...]) -> list[str]:
    import importlib.util

    return [module for module in modules if importlib.util.find_spec(module) is None]


def installed(*modules: str) -> bool:
    """Return whether modules are there; none is imported."""
    return not _missing(modules)


def require(*modules: str, extra: str = "deploy") -> None:
    """Raise Unavailable, with what mends it, where a module is missing."""
    if missing := _missing(modules):
        verb = "is" if len(missing) == 1 else "are"
        raise Unavailable(
            f"{', '.join(missing)} {verb} not installed; pip install 'vlmplan[{extra}]', or '.[{extra}]' in a clone"
        )
