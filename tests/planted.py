"""Questions, and a server process whose models answer them rightly as often as is planted (``planted_server.py``)."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image

SMALL, LARGE = "Qwen/Qwen2.5-VL-3B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct"
PLANTED = {
    SMALL: {"16": 0.30, "64": 0.55, "256": 0.60},
    LARGE: {"16": 0.40, "64": 0.84, "256": 0.85},
}


@contextlib.contextmanager
def planted(folder: Path, fault_every: int = 0, shares: Mapping[str, Mapping[str, float]] = PLANTED) -> Iterator[str]:
    """Run the server; its URL."""
    (folder / "planted.json").write_text(json.dumps(shares), encoding="utf-8")
    command = [sys.executable, str(Path(__file__).with_name("planted_server.py")), str(folder / "planted.json"),
               str(fault_every)]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def numbered_questions(path: Path, count: int) -> Path:
    """A table of questions about one page of 256 visual tokens, each of which says its number."""
    Image.new("RGB", (448, 448), "white").save(path.with_name("page.png"))
    rows = [{"image": "page.png", "question": f"is it {number}", "answer": "yes"} for number in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
