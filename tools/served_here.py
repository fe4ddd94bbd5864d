"""What does a real server do under load, beside what the simulation says? ``transformers serve`` here, at five rates.

A small random model is served on the loopback with continuous batching, on one thread. Its step times are measured at
fixed numbers of requests (1 to 32 that decode together, prompts of 8 to 256 tokens alone); then requests come at five
rates, and ``vlmplan.serving`` is asked what the same arrivals see. Nothing is fitted on the rates.

    pip install 'transformers[serving]'; python tools/served_here.py [--seconds 40] [--out FILE.csv]

Other programs on the machine make it slower: run it alone. ``docs/evidence/load.md`` shows what it printed.
"""

import argparse
import csv
import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from vlmplan.checkpoints.small_checkpoint import trained_tokenizer
from vlmplan.serving.arrivals import Arrivals
from vlmplan.serving.engine import Engine
from vlmplan.serving.served import at_percent
from vlmplan.serving.simulate import serve

PROMPT, OUTPUT, STEP_TOKENS = 64, 32, 256
TOGETHER, PROMPTS = (1, 2, 4, 8, 16, 24), (8, 32, 64, 128, 256)
SHARES = (0.2, 0.4, 0.6, 0.8, 0.9)  # of the capacity
PERCENTS = (50, 95)


def make_model(folder: Path) -> None:
    """Write a random Qwen2 of 6 million parameters whose every token is a letter, and no end."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = trained_tokenizer([], 512)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    size = len(tokenizer)
    config = Qwen2Config(
        vocab_size=size, hidden_size=256, intermediate_size=1024, num_hidden_layers=6, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=4096, eos_token_id=size - 1, bos_token_id=None,
        tie_word_embeddings=False,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    letters = [tokenizer.decode([token]).isalpha() and token < size - 1 for token in range(size)]
    with torch.no_grad():
        model.lm_head.weight[~torch.tensor(letters)] = 0.0
    model.save_pretrained(folder)


@dataclass(frozen=True)
class Server:
    """Where the server listens, and what it calls the model."""

    port: int
    model: str

    def ask(self, prompt: int, output: int) -> list[float]:
        """Return when each token came, in seconds after the request: so many digits in, so many letters out."""
        began = time.perf_counter()
        text = "".join(random.choices("0123456789", k=prompt))  # no prefix of which is cached
        body = {"model": self.model, "messages": [{"role": "user", "content": text}], "max_tokens": output,
                "stream": True, "temperature": 0}  # fmt: skip
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        answer, found = connection.getresponse(), []
        for line in answer:
            if line.startswith(b"data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
                found.append(time.perf_counter() - began)
        connection.close()
        if not found:
            sys.exit(f"the server answered {answer.status} and no token")
        return found[-output:]  # an event before them only says whose turn it is

    def together(self, count: int, prompt: int, output: int) -> list[list[float]]:
        """Ask so many at once."""
        return self.at([0.0] * count, prompt, output)

    def at(self, arrivals_s: list[float], prompt: int, output: int) -> list[list[float]]:
        """Ask at these times."""
        found: list[list[float]] = [[] for _ in arrivals_s]

        def one(index: int) -> None:
            found[index] = self.ask(prompt, output)

        began, threads = time.perf_counter(), []
        for index, arrival_s in enumerate(arrivals_s):
            time.sleep(max(0.0, began + arrival_s - time.perf_counter()))
            threads.append(threading.Thread(target=one, args=(index,)))
            threads[-1].start()
        for thread in threads:
            thread.join()
        return found


def started(folder: Path) -> tuple[subprocess.Popen[bytes], Server]:
    """Start the server and wait until it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder), "--continuous-batching",
               "--device", "cpu", "--dtype", "float32", "--host", "127.0.0.1", "--port", str(port),
               "--cb-num-blocks", "512", "--cb-max-batch-tokens", str(STEP_TOKENS)]  # fmt: skip
    process = subprocess.Popen(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in range(240):
        time.sleep(0.5)
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            if process.poll() is not None:
                sys.exit("the server ended; is transformers[serving] installed?")
    return process, Server(port, str(folder))


def measured(server: Server, repeats: int = 3) -> Engine:
    """Measure steps of so many that decode, and of prompts alone; the engine that the simulation takes.

    On a processor transformers attends from all tokens of a step to all that are cached of the requests in it, and
    masks what is not a request's own: a step takes c + a q + b q k of q tokens that see k between them.
    """
    import numpy as np

    rows, seconds, first = [], [], {}
    for prompt in PROMPTS:
        first[prompt] = statistics.median(server.ask(prompt, 1)[0] for _ in range(2 * repeats + 1))
        rows.append([1.0, 1.0, prompt, prompt**2])
        seconds.append(first[prompt])
    for count in TOGETHER:
        paces = []
        for _ in range(repeats):
            for times in server.together(count, PROMPT, OUTPUT):
                half = len(times) // 2
                paces.append((times[-1] - times[half]) / (len(times) - 1 - half))
        rows.append([0.0, 1.0, count, count**2 * (PROMPT + 0.75 * OUTPUT)])
        seconds.append(statistics.median(paces))
        print(f"{count} decode together: {1e3 * seconds[-1]:.1f} ms a step")
    print("first token by prompt:", {count: f"{1e3 * one:.1f} ms" for count, one in first.items()})
    from scipy.optimize import nnls

    weights = 1 / np.array(seconds)  # relative errors count alike
    (host_s, call_s, token_s, pair_s), _ = nnls(np.array(rows) * weights[:, None], np.ones(len(rows)))
    parts = f"host {1e3 * host_s:.1f} ms, a step {1e3 * call_s:.1f} ms, a token {1e6 * token_s:.0f} us"
    print(f"{parts}, a pair {1e9 * pair_s:.0f} ns", flush=True)

    def step_s(prefill: int, decoding: int, context: float) -> float:
        new = prefill + decoding
        return float(call_s + token_s * new + pair_s * new * (prefill + decoding * context)) if new else 0.0

    return Engine(
        step_s=step_s, prompt_tokens=PROMPT, context_tokens=PROMPT + OUTPUT, output_tokens=OUTPUT, images_s=0.0,
        image_host_s=0.0, request_host_s=float(host_s), slots=256, step_tokens=STEP_TOKENS,
    )  # fmt: skip


def compared(server: Server, capacity_per_s: float, share: float, seconds: float) -> dict[str, float]:
    """Serve requests at a share of the capacity, and predict what the same arrivals see, by steps measured just before.

    So the pace of a machine that others use too, which changes within minutes, is as far as can be that of the rate.
    """
    rate_per_s, engine = share * capacity_per_s, measured(server, 1)
    arrivals_s = Arrivals(rate_per_s=rate_per_s).at_replica(0, 1, max(40, round(seconds * rate_per_s)), 7)
    found = server.at(arrivals_s, PROMPT, OUTPUT)[len(arrivals_s) // 10 :]
    told = serve(engine, arrivals_s)
    seen = {
        "ttft": (sorted(one[0] for one in found), told.ttft_s),
        "tpot": (sorted((one[-1] - one[0]) / (OUTPUT - 1) for one in found), told.tpot_s),
        "latency": (sorted(one[-1] for one in found), told.latency_s),
    }
    row = {"rate_per_s": rate_per_s, "utilisation_fraction": rate_per_s / engine.capacity_per_s()}
    row["requests"] = float(len(arrivals_s))
    line = f"{rate_per_s:.2f}/s, {row['utilisation_fraction']:.0%} used, load average {os.getloadavg()[0]:.0f}:"
    for name, (here, predicted) in seen.items():
        for percent in PERCENTS:
            here_s, told_s = at_percent(here, percent), at_percent(predicted, percent)
            row[f"{name}_p{percent}_s"], row[f"{name}_p{percent}_predicted_s"] = here_s, told_s
            line += f" {name} p{percent} {1e3 * here_s:.0f} ms, told {told_s / here_s - 1:+.0%};"
    print(line, flush=True)
    return row


def main() -> None:
    """Serve, measure, predict, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        make_model(Path(name))
        process, server = started(Path(name))
        try:
            server.together(4, 8, 8)  # warm
            capacity_per_s = measured(server).capacity_per_s()
            rows = [compared(server, capacity_per_s, share, given.seconds) for share in SHARES]
        finally:
            process.terminate()
            process.wait()
    if given.out is not None:
        with given.out.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows({name: f"{value:.4g}" for name, value in row.items()} for row in rows)


if __name__ == "__main__":
    main()
