"""Is what a command needs installed? Modules of the optional extras, asked for before any long work."""

from vlmplan.errors import Unavailable


def require(*modules: str, extra: str = "deploy") -> None:
    """Raise Unavailable, with what mends it, where a module is missing."""
    import importlib.util

    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise Unavailable(f"{', '.join(missing)} is not installed; pip install 'vlmplan[{extra}]'")
