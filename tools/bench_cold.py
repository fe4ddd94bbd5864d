"""How long does a cold start take? Medians of ten runs of each command, and the peak memory.

Run in the environment where vlmplan is installed: ``python tools/bench_cold.py``.
"""

import resource
import statistics
import subprocess
import sys
import time

REQUEST = ["--text-tokens", "50", "--output-tokens", "32"]
COMMANDS = {
    "--help (aim 0.25 s)": ["--help"],
    "recommend (limit 0.4 s)": ["recommend", "--hardware", "l4", "--latency", "300ms", "--task", "reasoning", *REQUEST],
    "estimate (limit 0.4 s)": [
        "estimate", "--model", "llava-1.5-7b", "--hardware", "l4", "--visual-tokens", "576", *REQUEST,
    ],
}  # fmt: skip


def main() -> None:
    """Print one line a command."""
    for name, arguments in COMMANDS.items():
        seconds = []
        for _ in range(10):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "vlmplan", *arguments], check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - start)
        print(f"{name}: median {statistics.median(seconds):.3f} s, least {min(seconds):.3f} s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
