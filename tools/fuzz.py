"""Spoil the files that vlmplan reads, guided by coverage, until an exception but its own escapes: a slow job.

    pip install atheris
    PYTHONPATH=.:tests python tools/fuzz.py --minutes 10 [--reader plan]

Each reader of ``tests/readers.py`` gets an equal share of the time, in a process of its own. Exit code 1 names those
that broke; what broke them stays in ``fuzz-NAME/``.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path


def _fuzz(name: str, seconds: int, out: Path) -> None:
    """Fuzz one reader; this process ends with it."""
    import atheris

    with atheris.instrument_imports(include=["vlmplan"]):
        from readers import READERS

        from vlmplan.errors import VlmplanError

    reader = next(one for one in READERS if one.name == name)
    folder = Path(tempfile.mkdtemp())
    seeds = folder / "seeds"
    seeds.mkdir()
    (seeds / "good").write_bytes(reader.good())
    path = folder / reader.file

    def one_input(data: bytes) -> None:
        path.write_bytes(data)
        try:
            reader.read(path)
        except VlmplanError as error:
            if "\n" in str(error):
                raise AssertionError("a message of several lines") from error

    longest = max(4096, 2 * len(reader.good()))
    limits = [f"-max_total_time={seconds}", f"-max_len={longest}", "-rss_limit_mb=4096", "-timeout=20"]
    atheris.Setup([sys.argv[0], f"-artifact_prefix={out}/", *limits, str(seeds)], one_input)
    atheris.Fuzz()


def main() -> None:
    """Fuzz the reader that is named, or start a process for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--reader", help="One of them, by its name.")
    given = parser.parse_args()
    if given.reader:
        out = Path(f"fuzz-{given.reader.replace(' ', '-').replace('/', '-')}")
        out.mkdir(exist_ok=True)
        _fuzz(given.reader, max(1, round(60 * given.minutes)), out)  # 0 would be for ever
        return
    from readers import READERS

    broken = []
    for reader in READERS:
        share = str(given.minutes / len(READERS))
        done = subprocess.run(
            [sys.executable, __file__, "--reader", reader.name, "--minutes", share],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        runs = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("Done ")]
        print(f"{reader.name}: {runs[0] if runs else '?'} inputs, {'good' if done.returncode == 0 else 'BROKEN'}")
        if done.returncode:
            broken.append(reader.name)
            print(done.stderr[-3000:])
    sys.exit(f"broken: {', '.join(broken)}" if broken else 0)


if __name__ == "__main__":
    main()
