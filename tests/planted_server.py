"""A server process for the tests: models whose answers are right as often as planted, by what the picture makes.

    python planted_server.py PLANTED.json [FAULT_EVERY]

Prints its port. PLANTED.json has a share of right answers by served model and visual tokens, of Qwen2.5-VL's rule. A
question says its number; its difficulty is the number's own, so that all models fail at the hard ones. Every
FAULT_EVERYth request is HTTP 500.
"""

import base64
import io
import json
import random
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image

TOKEN_PX = 28
PLANTED = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
FAULT_EVERY = int((sys.argv[2:] or ["0"])[0])


def is_right(model: str, number: str, tokens: int) -> bool:
    """Whether a model answers a question: its difficulty, three parts of four, against the planted share."""
    shares = PLANTED[model]
    share = shares[min(shares, key=lambda key: abs(int(key) - tokens))]
    rank = int(number) % 100 / 100 + 0.005  # of a hundred questions as many are right as planted
    return bool(rank + random.Random(f"{model} {number}").uniform(-0.02, 0.02) < share)


class Handler(BaseHTTPRequestHandler):
    """``/v1/models`` and ``/v1/chat/completions``."""

    requests = 0

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def answer(self, found: object) -> None:
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.answer({"data": [{"id": name} for name in PLANTED]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Handler.requests += 1
        if FAULT_EVERY and Handler.requests % FAULT_EVERY == 0:
            self.send_error(500, "no memory left")
            return
        image, text = body["messages"][0]["content"]
        data = image["image_url"]["url"].partition(",")[2]
        width, height = Image.open(io.BytesIO(base64.b64decode(data))).size
        tokens = round(width / TOKEN_PX) * round(height / TOKEN_PX)
        right = is_right(body["model"], text["text"].split()[-1], tokens)
        said = {"message": {"role": "assistant", "content": "yes" if right else "no"}}
        self.answer({"choices": [said], "usage": {"prompt_tokens": tokens + 30, "completion_tokens": 1}})


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
