"""A server process for the tests: a small checkpoint behind OpenAI's chat interface, with faults on demand.

    python model_server.py CHECKPOINT [FAULT]

Prints its port. Faults: ``hang`` and ``close`` after two tokens, ``error`` in the stream, ``silent`` (no token counts),
``refuse`` (HTTP 500), ``blind`` (pictures are ignored), ``cached`` (a prompt asked again is answered from
memory), ``flaky`` (of whole answers every third is HTTP 503).
"""

import base64
import io
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText
from transformers.generation.streamers import BaseStreamer

from vlmplan.exporting import Prompts

FOLDER, FAULT = Path(sys.argv[1]), (sys.argv[2:] or [""])[0]
MODEL = AutoModelForImageTextToText.from_pretrained(FOLDER).eval()
PROCESSOR = Prompts(FOLDER).processor  # without the part for videos, which wants torchvision
LOCK = threading.Lock()
ANSWERED: dict[str, dict[str, Any]] = {}  # counts, by what was asked
torch.set_num_threads(1)


class Events(BaseStreamer):  # type: ignore[misc]
    """Sends every token as it is made."""

    def __init__(self, handler: "Handler") -> None:
        self.handler, self.tokens = handler, -1  # the prompt comes first

    def put(self, value: Any) -> None:  # noqa: ARG002 - the library's signature
        self.tokens += 1
        if not self.tokens:
            return
        self.handler.send({"choices": [{"delta": {"content": "x"}}]})
        if self.tokens == 2 and FAULT == "hang":
            time.sleep(60)
        if self.tokens == 2 and FAULT == "close":
            raise ConnectionAbortedError
        if self.tokens == 2 and FAULT == "error":
            self.handler.send({"error": {"message": "out of memory"}})

    def end(self) -> None:
        """Nothing to close."""


class Handler(BaseHTTPRequestHandler):
    """``/v1/models`` and ``/v1/chat/completions``."""

    requests = 0

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def send(self, event: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        self.wfile.flush()

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"data": [{"id": "small"}]}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Handler.requests += 1
        if FAULT == "refuse" or (FAULT == "flaky" and Handler.requests % 3 == 0):
            self.send_error(500 if FAULT == "refuse" else 503, "no memory left")
            return
        given, limit = self.given(body), body["max_tokens"]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if body.get("stream") else "application/json")
        self.end_headers()
        if not body.get("stream"):
            self.whole(given, limit)
            return
        asked = json.dumps(body["messages"])
        if FAULT == "cached" and asked in ANSWERED:
            for _ in range(ANSWERED[asked]["completion_tokens"]):
                self.send({"choices": [{"delta": {"content": "x"}}]})
            self.ended(ANSWERED[asked])
            return
        events = Events(self)
        try:
            MODEL.generate(**given, streamer=events, do_sample=False, min_new_tokens=limit, max_new_tokens=limit)
        except ConnectionAbortedError:
            self.close_connection = True
            return
        usage = {"prompt_tokens": given["input_ids"].shape[1], "completion_tokens": events.tokens}
        ANSWERED[asked] = usage
        self.ended(usage)

    def ended(self, usage: dict[str, Any]) -> None:
        """End a stream with its counts."""
        self.send({"choices": [], "usage": None if FAULT == "silent" else usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def given(self, body: dict[str, Any]) -> Any:
        """What the model is given of a request."""
        text, images = "", []
        for part in body["messages"][0]["content"]:
            if part["type"] == "text":
                text += part["text"]
            elif FAULT != "blind":
                data = part["image_url"]["url"].partition(",")[2]
                images.append(Image.open(io.BytesIO(base64.b64decode(data))))
        mark = getattr(PROCESSOR, "image_token", "<image>")
        return PROCESSOR(text=mark * len(images) + text, images=images or None, return_tensors="pt")

    def whole(self, given: Any, limit: int) -> None:
        """Answer in one piece."""
        with LOCK:
            made = MODEL.generate(**given, do_sample=False, max_new_tokens=limit)
        count = given["input_ids"].shape[1]
        text = PROCESSOR.tokenizer.decode(made[0, count:], skip_special_tokens=True)
        usage = {"prompt_tokens": count, "completion_tokens": made.shape[1] - count}
        answer = {"choices": [{"message": {"role": "assistant", "content": text}}]}
        self.wfile.write(json.dumps(answer if FAULT == "silent" else answer | {"usage": usage}).encode())


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
