"""A server timed over its socket: a real process with a small model behind it, and everything that can go wrong."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_models import checkpoint, quiet
from typer.testing import CliRunner

from vlmplan import cli
from vlmplan.document import load
from vlmplan.endpoint import Endpoint, Probe, interrogate, noise_png, observations
from vlmplan.errors import InputError, Unavailable
from vlmplan.hardware import Basis, HardwareProfile, Precision
from vlmplan.hub_config import read_model_config
from vlmplan.observation import Quantity

SHORT = Probe(words=6, image=None, output_tokens=4)
SEEN = Probe(words=6, image=(336, 336), output_tokens=4)


@contextmanager
def serving(fault: str = "") -> Iterator[str]:
    """Run the server as a process of its own; its URL."""
    command = [sys.executable, str(Path(__file__).with_name("model_server.py")), str(checkpoint())]
    process = subprocess.Popen([*command, fault], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


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
    found = observations(answered, read_model_config(checkpoint()), Precision.FP32)
    assert [one.quantity for one in found] == [Quantity.TTFT, Quantity.TPOT] * 2
    assert [one.request.visual_tokens for one in found] == [0, 0, 576, 576]
    assert found[0].request.workload.text_tokens == found[2].request.workload.text_tokens
    assert found[2].measured_s > found[0].measured_s  # 576 tokens more to read, and a tower


def test_one_command_makes_a_profile_to_plan_with(url: str, tmp_path: Path) -> None:
    out = tmp_path / "served.toml"
    given = ["--endpoint", url, "--model", str(checkpoint()), "--hardware", "amd-epyc-9654", "--out", str(out)]
    ran = CliRunner().invoke(cli.app, ["profile", *given])
    assert ran.exit_code == 0, ran.output
    assert "left out" in ran.stdout
    profile = load(HardwareProfile, out)
    assert profile.calibration[0].basis is Basis.MEASURED
    work = ["--visual-tokens", "576", "--text-tokens", "40", "--output-tokens", "8"]
    estimated = CliRunner().invoke(
        cli.app, ["estimate", "--model", str(checkpoint()), "--hardware", str(out), *work]
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
        observations(answered, read_model_config(checkpoint()), Precision.FP32)


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


@contextmanager
def answering(reply: bytes) -> Iterator[str]:
    """A socket that answers everything with the same bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(2**16)
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
