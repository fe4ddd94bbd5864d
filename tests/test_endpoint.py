"""A server timed over its socket: a real process with a small model behind it, and everything that can go wrong."""

import base64
import html
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from hostile import HOSTILE, is_inert
from small_models import checkpoint, quiet, serving
from typer.testing import CliRunner

from vlmplan.cli.app import app
from vlmplan.cost.stored import read_model_config
from vlmplan.document import load
from vlmplan.errors import InputError, Unavailable
from vlmplan.hardware.profile import Basis, HardwareProfile
from vlmplan.hardware.runtimes import Precision
from vlmplan.measuring.observation import Quantity
from vlmplan.measuring.servers.asked import caches, crowded, crowded_observations, interrogate, observations_of
from vlmplan.measuring.servers.endpoint import Endpoint, Probe, noise_png

SHORT = Probe(words=6, image=None, output_tokens=4)
SEEN = Probe(words=6, image=(336, 336), output_tokens=4)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as found:
        yield found


def test_tokens_are_counted_and_timed(url: str) -> None:
    found = Endpoint(url=url, model="small").ask(SHORT, seed=1)
    assert found.output_tokens == 4
    assert found.prompt_tokens > 6
    assert 0 < found.ttft_s < 30
    assert found.tpot_s is not None
    assert 0 < found.tpot_s < 5


def test_pictures_become_the_visual_tokens_they_add(url: str) -> None:
    answered = interrogate(Endpoint(url=url, model="small"), (SHORT, SEEN), quiet)
    found = observations_of(answered, read_model_config(checkpoint()), Precision.FP32)
    assert [one.quantity for one in found] == [Quantity.TTFT, Quantity.TPOT] * 2
    assert [one.request.visual_tokens for one in found] == [0, 0, 576, 576]
    assert found[0].request.workload.text_tokens == found[2].request.workload.text_tokens
    assert found[2].measured_s > found[0].measured_s  # 576 tokens more to read, and a tower


def test_many_at_once_time_the_steps_of_so_many(url: str) -> None:
    server = Endpoint(url=url, model="small")
    alone = observations_of(interrogate(server, (SHORT,), quiet), read_model_config(checkpoint()), Precision.FP32)
    found = crowded(server, SHORT, [2, 4], quiet)
    assert [(one.at_once, len(one.replies), one.whole) for one in found] == [(2, 6, True), (4, 12, True)]
    steps, notes = crowded_observations(found, alone)
    assert [one.request.workload.concurrency for one in steps] == [2, 4]
    assert {one.quantity for one in steps} == {Quantity.TPOT}
    for _ in range(3):  # on a busy machine two pieces may be read at once
        if steps[1].measured_s > alone[1].measured_s:  # threads of one core
            break
        steps, notes = crowded_observations(crowded(server, SHORT, [2, 4], quiet), alone)
    assert steps[1].measured_s > alone[1].measured_s
    assert all("cannot be told from the prefill" in note for note in notes)


def test_a_cache_is_found_and_said() -> None:
    with serving("cached") as found:
        told = caches(Endpoint(url=found, model="small"), False, quiet)
    assert told[0].startswith("a prompt asked again has its first token in ")
    assert told[0].endswith("prefixes are cached")
    assert "new every time" in told[1]


@pytest.mark.parametrize("levels", ["1", "4,x", "0", "300", "2,3,4,5,6,7,8"])
def test_levels_that_are_none_are_one_line(levels: str, url: str) -> None:
    given = ["--endpoint", url, "--model", str(checkpoint()), "--hardware", "amd-epyc-9654", "--concurrency", levels]
    ran = CliRunner().invoke(app, ["profile", *given])
    assert ran.exit_code == 2
    assert "--concurrency: found" in ran.stderr


def test_one_command_makes_a_profile_to_plan_with(url: str, tmp_path: Path) -> None:
    out = tmp_path / "served.toml"
    given = ["--endpoint", url, "--model", str(checkpoint()), "--hardware", "amd-epyc-9654", "--out", str(out)]
    given += ["--concurrency", "2"]
    ran = CliRunner().invoke(app, ["profile", *given])
    assert ran.exit_code == 0, ran.output
    assert "left out" in ran.stdout
    assert "2 at once, 6 answers: TTFT p50" in " ".join(ran.stdout.split())
    profile = load(HardwareProfile, out)
    assert profile.calibration[0].basis is Basis.MEASURED
    work = ["--visual-tokens", "576", "--text-tokens", "40", "--output-tokens", "8"]
    estimated = CliRunner().invoke(
        app, ["estimate", "--model", str(checkpoint()), "--hardware", str(out), *work]
    )  # fmt: skip
    assert "times rest on measured" in estimated.stdout


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("hang", "nothing after 2 tokens within"),
        ("close", "closed the stream after 2 tokens|nothing after 2 tokens that can be used"),
        ("error", "out of memory"),
        ("silent", "reported no token counts"),
        ("refuse", "answered 500"),
    ],
)
def test_a_server_at_fault_is_one_line(fault: str, message: str) -> None:
    with serving(fault) as found, pytest.raises(Unavailable, match=message):
        Endpoint(url=found, model="small", timeout_s=3.0).ask(SHORT, seed=1)


def test_a_server_that_does_not_see_is_told() -> None:
    with serving("blind") as found:
        answered = interrogate(Endpoint(url=found, model="small"), (SHORT, SEEN), quiet)
    with pytest.raises(InputError, match="adds 0 tokens"):
        observations_of(answered, read_model_config(checkpoint()), Precision.FP32)


def test_nothing_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Unavailable, match="is the server running"):
        Endpoint(url=f"http://127.0.0.1:{port}/v1", model="x").served_models()


def test_a_socket_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        with pytest.raises(Unavailable, match=r"no answer within 0\.3 s"):
            Endpoint(url=url, model="x", timeout_s=0.3).ask(SHORT, seed=1)


def test_something_else_answers() -> None:
    """A web server that is no model server."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n<html>hello</html>")

        thread = threading.Thread(target=greet)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        with pytest.raises(Unavailable, match="no list of models that can be used"):
            Endpoint(url=url, model="x", timeout_s=5).served_models()
        thread.join()


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://host/v1",
        "http://",
        "file:///etc/passwd",
        "http://[::1",
        "http://h:abc/v1",
        "http://u:p@h/v1",
        "http://h/v1?api_key=secret",
        "http://h/v1#secret",
        "http://a b/v1",
    ],
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(InputError, match="expected http://HOST:PORT/v1"):
        Endpoint(url=url, model="x")


def test_pictures_differ_and_are_pictures() -> None:
    first, second = noise_png(40, 30, seed=1), noise_png(40, 30, seed=2)
    assert first != second
    assert first.startswith(b"\x89PNG")


def _length(head: bytes) -> int:
    """How many bytes follow the head of a request."""
    told = re.search(rb"(?i)content-length: *([0-9]+)", head)
    return int(told[1]) if told else 0


@contextmanager
def answering(reply: bytes) -> Iterator[str]:
    """A socket that answers everything with the same bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                asked = b""
                while not (whole := re.match(rb"(?s)(.*?)\r\n\r\n(.*)", asked)) or len(whole[2]) < _length(whole[1]):
                    asked += connection.recv(2**16)  # closed on what was not read, a socket is reset
                connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        thread.join()


EVENT = b"HTTP/1.0 200 OK\r\n\r\ndata: "


@pytest.mark.parametrize(
    "reply",
    [
        b"HELLO\r\n\r\n",
        b"HTTP/1.0 302 Found\r\nLocation: http://127.0.0.1:9/v1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        EVENT + b"[" * 200_000 + b"\n\n",
        EVENT + b'{"choices": 5}\n\n',
        EVENT + b'{"choices": [{"delta": "x"}], "usage": [1]}\n\ndata: [DONE]\n\n',
        EVENT + b'{"choices": [{"delta": {"content": "x"}}], "usage": {"prompt_tokens": 1e400}}\n\ndata: [DONE]\n\n',
    ],
)
def test_replies_that_are_none_are_one_line(reply: bytes) -> None:
    with answering(reply) as url, pytest.raises(Unavailable) as caught:
        Endpoint(url=url, model="x", timeout_s=5, key="secret").ask(SHORT, seed=1)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def _counted(pieces: int, prompt: int, output: int) -> bytes:
    piece = b'{"choices": [{"delta": {"content": "x"}}]}'
    usage = b'{"choices": [], "usage": {"prompt_tokens": %d, "completion_tokens": %d}}' % (prompt, output)
    lines = [*([piece] * pieces), usage, b"[DONE]"]
    return b"HTTP/1.0 200 OK\r\n\r\n" + b"".join(b"data: " + line + b"\n\n" for line in lines)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (_counted(32, 900, 1), "reports 1 tokens of an answer that came in 32 pieces"),
        (_counted(3, 900, 9_999_999), "reports 9999999 tokens out where at most 32 were asked for"),
        (_counted(32, 1, 32), "reports 1 tokens of a prompt of 700 words"),
        (_counted(32, 9_999_999, 32), "reports 9999999 tokens of a prompt of 700 words"),
    ],
)
def test_counts_that_contradict_what_came_are_refused(reply: bytes, message: str) -> None:
    with answering(reply) as url, pytest.raises(Unavailable, match=message):
        Endpoint(url=url, model="x", timeout_s=5).ask(Probe(words=700, image=None, output_tokens=32), seed=1)


@pytest.mark.parametrize("pieces", [1, 16, 32, 33])
def test_several_tokens_may_come_in_one_piece(pieces: int) -> None:
    """As speculative decoding sends them; and what was held back in one more."""
    with answering(_counted(pieces, 900, 32)) as url:
        reply = Endpoint(url=url, model="x", timeout_s=5).ask(Probe(words=700, image=None, output_tokens=32), seed=1)
    assert (reply.prompt_tokens, reply.output_tokens) == (900, 32)


@contextmanager
def dripping(head: bytes, drip: bytes, every_s: float) -> Iterator[str]:
    """A socket that sends ``head`` at once and then ``drip`` again and again until nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                connection.recv(2**16)
                connection.sendall(head)
                while True:
                    time.sleep(every_s)
                    connection.sendall(drip)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        thread.join(timeout=30)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("head", "drip"),
    [
        (b"", b"H"),
        (b"HTTP/1.0 200 OK\r\n", b"X-A: b\r\n"),
        (b"HTTP/1.0 200 OK\r\n\r\n", b" "),
        (EVENT, b" "),
        (b"HTTP/1.0 200 OK\r\n\r\n", b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n'),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (b"HTTP/1.0 500 No\r\n\r\n", b"x"),
    ],
    ids=["status", "headers", "body", "event", "tokens", "chunks", "error"],
)
def test_drips_do_not_lengthen_an_answer(head: bytes, drip: bytes) -> None:
    start = time.perf_counter()
    with dripping(head, drip, 0.05) as url, pytest.raises(Unavailable) as caught:
        Endpoint(url=url, model="x", timeout_s=0.7).ask(SHORT, seed=1)
    assert time.perf_counter() - start < 3
    assert "within 0.7 s" in str(caught.value) or "answered 500" in str(caught.value)


def test_a_proxy_in_drips_does_not_lengthen_an_answer_either(monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.perf_counter()
    with dripping(b"HTTP/1.1 200 OK\r\n", b"x", 0.05) as url, pytest.raises(Unavailable, match=r"within 0\.7 s"):
        monkeypatch.setenv("https_proxy", url.removesuffix("/v1"))
        monkeypatch.setenv("no_proxy", "")
        Endpoint(url="https://127.0.0.2/v1", model="x", timeout_s=0.7).ask(SHORT, seed=1)
    assert time.perf_counter() - start < 3


def test_a_list_of_models_in_drips_ends_too() -> None:
    start = time.perf_counter()
    with (
        dripping(b"HTTP/1.0 200 OK\r\n\r\n", b"[", 0.05) as url,
        pytest.raises(Unavailable, match=r"no list of models within 0\.7 s"),
    ):
        Endpoint(url=url, model="x", timeout_s=0.7).served_models()
    assert time.perf_counter() - start < 3


KEY = "sk-Secret/key+1'\"<&>"


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.0 401 Unauthorized\r\n\r\nno such key: KEY",
        b"HTTP/1.0 401 KEY\r\n\r\n",
        b"HTTP/1.0 401 Unauthorized\r\n\r\n" + b" " * 1990 + b"KEY",
        b"HTTP/1.0 401 Unauthorized\r\n\r\n" + b"x" * 190 + b"KEY",
        b"KEY\r\n\r\n",
        b"HTTP/1.0 KEY\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\ndata: KEY\n\n",
        b'HTTP/1.0 200 OK\r\n\r\ndata: {"error": {"message": "JSON"}}\n\n',
        b"HTTP/1.0 401 Unauthorized\r\n\r\n<p>HTML</p> QUOTED",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nKEY\r\n",
    ],
)
def test_a_key_that_a_server_echoes_is_not_shown(reply: bytes) -> None:
    forms = {b"KEY": KEY, b"JSON": json.dumps(KEY)[1:-1], b"HTML": html.escape(KEY), b"QUOTED": quote(KEY, safe="")}
    for name, form in forms.items():
        reply = reply.replace(name, form.encode())
    with answering(reply) as url, pytest.raises(Unavailable) as caught:
        Endpoint(url=url, model="x", timeout_s=5, key=KEY).ask(SHORT, seed=1)
    assert "Secret" not in str(caught.value)
    assert "sk-" not in str(caught.value)


def test_a_key_that_an_answer_echoes_is_not_in_its_text() -> None:
    said = json.dumps({"choices": [{"message": {"content": f"you are {KEY}"}}], "usage": {"prompt_tokens": 3}}).encode()
    with answering(b"HTTP/1.0 200 OK\r\n\r\n" + said) as found:
        text, count = Endpoint(url=found, model="m", key=KEY).complete({})
    assert KEY not in text and count == 3


def test_a_model_whose_name_holds_the_key_is_refused() -> None:
    said = json.dumps({"data": [{"id": f"model-{KEY}"}]}).encode()
    with (
        answering(b"HTTP/1.0 200 OK\r\n\r\n" + said) as url,
        pytest.raises(Unavailable, match="holds the key") as caught,
    ):
        Endpoint(url=url, model="", key=KEY).served_models()
    assert "Secret" not in str(caught.value)


def test_a_key_is_not_in_what_is_written_of_a_server() -> None:
    server = Endpoint(url="http://h/v1", model="x", key="abcdef-123456")
    assert server.hidden("model-ABCDEF-123456 at h") == "model-[key] at h"
    assert Endpoint(url="http://h/v1", model="x", key="x").hidden("x, exact") == "[key], exact"
    assert "abcdef" not in repr(server)
    with pytest.raises(InputError, match="OPENAI_API_KEY: found what no header can hold") as caught:
        Endpoint(url="http://h/v1", model="x", key="secret\nX-A: b")
    assert "secret" not in str(caught.value)


def test_a_proxy_that_repeats_its_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = base64.b64encode(b"joe:hunter-two").decode()
    reply = f"HTTP/1.0 407 hunter-two\r\n\r\nBasic {sent} of http://joe:hunter-two@proxy".encode()
    for server in ("http://h.invalid/v1", "https://h.invalid/v1"):
        with answering(reply) as url, pytest.raises(Unavailable) as caught:
            for name in ("http_proxy", "https_proxy"):
                monkeypatch.setenv(name, url.removesuffix("/v1").replace("//", "//joe:hunter-two@"))
            monkeypatch.setenv("no_proxy", "")
            Endpoint(url=server, model="x", timeout_s=5).ask(SHORT, seed=1)
        assert "407" in str(caught.value)
        assert "hunter" not in str(caught.value) and sent not in str(caught.value)


def test_a_hostile_server_is_one_line_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", " abcdef-123456\n")  # as $(cat key) leaves it
    listed = json.dumps({"data": [{"id": f"abcdef-123456{HOSTILE}"}, {"id": "other\ud800"}]}).encode()
    for reply in (b"HTTP/1.0 200 OK\r\n\r\n" + listed, b"HTTP/1.0 500 No\r\n\r\n" + HOSTILE.encode()):
        with answering(reply) as url:
            given = ["--endpoint", url, "--model", "llava-1.5-7b", "--hardware", "l4"]
            ran = CliRunner().invoke(app, ["profile", *given], catch_exceptions=False)
        assert ran.exit_code == 2
        assert is_inert(ran.stderr)
        assert ran.stderr.count("\n") == 1
        assert "abcdef" not in ran.stderr
