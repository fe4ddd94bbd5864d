"""How long does a cold start take, beside ``python -c "import typer"``, which every command does first?

Pairs of runs, so that a busy machine slows both: medians of their ratios and of the seconds, and the peak memory. Run
where vlmplan is installed: ``python tools/bench_cold.py [PAIRS]``. A ratio above its limit is marked, and the exit code
is then 1.
"""

import os
import resource
import statistics
import subprocess
import sys
import time

from vlmplan.inventory import catalogue, compiled

REQUEST = ["--text-tokens", "50", "--output-tokens", "32"]
TAB = {"_VLMPLAN_COMPLETE": "complete_bash", "COMP_WORDS": "vlmplan recommend --task o", "COMP_CWORD": "3"}
PROGRAM = "import sys; from vlmplan.__main__ import main; sys.argv[0] = 'vlmplan'; main()"
COMMANDS: dict[str, tuple[float, list[str], dict[str, str]]] = {
    "--help": (1.8, ["--help"], {}),
    "recommend": (3.2, ["recommend", "--hardware", "l4", "--latency", "400ms", "--task", "ocr", *REQUEST], {}),
    "estimate": (
        3.2, ["estimate", "--model", "llava-1.5-7b", "--hardware", "l4", "--visual-tokens", "576", *REQUEST], {},
    ),
    "a tab after --task o": (2.5, [], TAB),
}  # fmt: skip


def _seconds(code: str, arguments: list[str], environment: dict[str, str]) -> float:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # as installed
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=kept | environment,
    )  # fmt: skip
    return time.perf_counter() - start


def main() -> int:
    """Print one line a command; return 1 where one is above its limit."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    folder = catalogue.profiles_folder()
    names = [path.relative_to(folder).as_posix() for path in (folder / "models").glob("*.toml")]
    fresh = sum(compiled.is_fresh(folder, name) for name in names)
    print(f"{fresh} of {len(names)} models from the compiled catalogue" + ("" if fresh else "; make compiled"))
    late = 0
    for name, (limit, arguments, environment) in COMMANDS.items():
        _seconds(PROGRAM, arguments, environment)  # bytecode and files once
        times = [(_seconds("import typer", [], {}), _seconds(PROGRAM, arguments, environment)) for _ in range(pairs)]
        ratio = statistics.median(ours / least for least, ours in times)
        seconds = statistics.median(ours for _, ours in times)
        late += ratio > limit
        mark = " ABOVE" if ratio > limit else ""
        print(f"{name}: {ratio:.2f} times import typer (limit {limit}){mark}, median {seconds:.3f} s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MiB")
    return int(late > 0)


if __name__ == "__main__":
    sys.exit(main())
