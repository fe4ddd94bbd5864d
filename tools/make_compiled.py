"""Compile all shipped profiles into the one file that commands read: what a wheel brings and a clone makes itself.

Every document is read, written as a row, and compared with what comes back of it. Run after profiles, or the classes
that they are read into, have changed (``make compiled``); until then commands read the changed ones as TOML.
"""

from vlmplan.inventory import catalogue


def main() -> None:
    """Write ``profiles/compiled.jsonl``."""
    path = catalogue.compile_profiles()
    print(f"{path}: {path.read_bytes().count(10) - 1} documents, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
