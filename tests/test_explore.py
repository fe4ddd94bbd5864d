"""The page that asks again: who may ask it, that its answers are those of the command it shows, and how it ends."""

import functools
import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, Browser
from test_cli import RECOMMEND, run
from test_page import _read
from test_plans_again import planned

import vlmplan
from vlmplan import inert
from vlmplan.document import to_json
from vlmplan.errors import InputError
from vlmplan.inventory import catalogue
from vlmplan.pages.explorer import Explorer, Offer, command, words
from vlmplan.pages.loopback import MOST_BYTES, Loopback
from vlmplan.planning import Plan
from vlmplan.units import format_seconds

OFFER = Offer(
    devices={"": "this machine", "l4": "NVIDIA L4", "a100-80gb-sxm": "A100"},
    tasks=(*catalogue.evidence().tasks, "DocVQA"),
    start={"hardware": "l4", "task": "reasoning", "latency": "300ms", "image": "1024x768"},
)
FORM = {
    "hardware": "l4", "latency": "300ms", "ttft": "", "task": "reasoning", "second_task": "", "share": "50",
    "image": "1024x768", "text_tokens": "50", "output_tokens": "32", "concurrency": "", "runtime": "", "precision": "",
    "prefer": "", "visual_tokens": "",
}  # fmt: skip
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u202e"


def _explorer(**given: Any) -> Explorer:
    asked = {"offer": OFFER, "recommend": vlmplan.recommend, "estimate": vlmplan.estimate, "count": vlmplan.tokens}
    whole: dict[str, Any] = asked | given
    return Explorer(**whole)


@functools.cache
def _files() -> dict[str, Any]:
    return _explorer().files()


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with Loopback(_files(), _explorer().answer) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def _send(
    server: Loopback, method: str, path: str, body: str | None = None, *, token: str | None = None, **headers: str
) -> tuple[int, dict[str, str], str]:
    """(status, headers, text) of one request; a header named None is left out."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, f"/{server.token if token is None else token}/{path}", body=body, headers=named)
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read().decode()
    finally:
        connection.close()


def _ask(server: Loopback, **fields: str) -> dict[str, Any]:
    status, _, text = _send(server, "POST", "ask", json.dumps(FORM | fields), Content_Type="application/json")
    assert status == 200, text
    found: dict[str, Any] = json.loads(text)
    return found


def test_the_page_asks_nothing_of_a_network_and_runs_no_other_script(server: Loopback) -> None:
    status, headers, text = _send(server, "GET", "")
    assert status == 200
    shown, addresses = _read(text)
    assert [one for one in addresses if one not in {"plotly.js", "explore.js", "data:,"}] == []
    assert "needs JavaScript" in shown
    assert "default-src 'none'; script-src 'self';" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "Access-Control-Allow-Origin" not in headers
    for name in ("plotly.js", "explore.js"):
        status, headers, text = _send(server, "GET", name)
        assert (status, headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
        assert int(headers["Content-Length"]) == len(text.encode())


def test_every_field_has_a_label(server: Loopback) -> None:
    text = _send(server, "GET", "")[2]
    for tag in re.findall(r"<(?:input|select)\b[^>]*>", text):
        named = re.search(r'\bid="(\w+)"', tag)
        assert "aria-label=" in tag or (named and f'for="{named[1]}"' in text), tag


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({"Host": "evil.example"}, None),
        ({"Host": "127.0.0.1"}, None),
        ({"Host": ""}, None),
        ({"Origin": "http://evil.example"}, None),
        ({"Origin": "null"}, None),
        ({"Origin": "http://127.0.0.1:1"}, None),
        ({}, "wrong"),
        ({}, ""),
    ],
)
def test_nobody_else_is_answered(server: Loopback, headers: dict[str, str], token: str | None) -> None:
    for method, path, body in (("GET", "", None), ("POST", "ask", json.dumps(FORM))):
        status, sent, text = _send(
            server, method, path, body, token=token, **headers | {"Content_Type": "application/json"}
        )
        assert status == 403
        assert "<" not in text
        assert server.token not in text
        assert not [name for name in sent if name.startswith("Access-Control")]


def test_its_own_names_are_answered(server: Loopback) -> None:
    for host in (f"127.0.0.1:{server.server_port}", f"localhost:{server.server_port}"):
        assert _send(server, "GET", "", Host=host, Origin=f"http://{host}")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "kind", "status"),
    [
        ("GET", "ask", None, "application/json", 404),
        ("GET", "../../etc/passwd", None, "", 404),
        ("GET", "page.css", None, "", 404),
        ("POST", "", "{}", "application/json", 404),
        ("POST", "ask", "{}", "text/plain", 415),
        ("POST", "ask", "{}", "application/x-www-form-urlencoded", 415),
        ("POST", "ask", "x" * (MOST_BYTES + 1), "application/json", 413),
        ("POST", "ask", "{", "application/json", 400),
        ("POST", "ask", "[" * 9000, "application/json", 400),
        ("POST", "ask", "[]", "application/json", 400),
        ("POST", "ask", '{"task": 1}', "application/json", 400),
        ("POST", "ask", '{"models": "/etc"}', "application/json", 400),
        ("POST", "ask", json.dumps({"task": "x" * 5001}), "application/json", 400),
        ("OPTIONS", "ask", None, "application/json", 501),
        ("PUT", "ask", "{}", "application/json", 501),
    ],
)
def test_what_is_no_question_is_refused(
    server: Loopback, method: str, path: str, body: str | None, kind: str, status: int
) -> None:
    assert _send(server, method, path, body, Content_Type=kind)[0] == status


def test_a_question_without_a_length_is_refused(server: Loopback) -> None:
    head = f"POST /{server.token}/ask HTTP/1.1\r\nHost: {server.hosts[0]}\r\nContent-Type: application/json\r\n"
    for line in ("Transfer-Encoding: chunked", "Content-Length: -1", "Content-Length: +5"):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as peer:
            peer.sendall(f"{head}{line}\r\n\r\n0\r\n\r\n".encode())
            assert b" 411 " in peer.recv(100)


def test_a_token_of_other_letters_is_refused(server: Loopback) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as peer:
        peer.sendall(f"GET /\u00e9/ HTTP/1.1\r\nHost: {server.hosts[0]}\r\n\r\n".encode())
        assert b" 403 " in peer.recv(100)


def test_a_browser_that_has_gone_ends_nothing(server: Loopback, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.server_port)) as peer:
            peer.sendall(f"GET /{server.token}/plotly.js HTTP/1.1\r\nHost: {server.hosts[0]}\r\n\r\n".encode())
    assert _send(server, "GET", "")[0] == 200
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"hardware": "a100-80gb-sxm", "latency": "", "ttft": "150ms", "second_task": "ocr", "share": "70"},
        {"latency": "2s", "precision": "fp16", "runtime": "transformers", "prefer": "speed", "task": "DocVQA"},
        {"latency": "1s", "image": "640x480", "text_tokens": "200", "output_tokens": "8", "concurrency": "4"},
        {"latency": "", "hardware": "", "image": "448x448"},
    ],
)
def test_the_command_shown_gives_the_same_choice(server: Loopback, fields: dict[str, str]) -> None:
    for _ in range(4):
        found = _ask(server, **fields)
        assert found["outcome"] == "plan"
        program, *arguments = shlex.split(found["command"])
        assert program == "vlmplan"
        code, out, err = run(*arguments, "--json")
        assert code == 0, err
        choice = json.loads(out)["choice"]
        shown = {name: choice[name] for name in found["choice"]}
        if fields.get("hardware", "l4") or shown == found["choice"]:  # this machine's free memory may move meanwhile
            break
    assert shown == found["choice"]
    assert f"{choice['visual_tokens']} visual token" in found["sentence"]
    front = json.loads(out)["front"]
    assert [row["tokens"] for row in found["front"]] == [one["visual_tokens"] for one in front]
    assert sum(row["chosen"] for row in found["front"]) == 1


def test_another_number_of_tokens_is_priced_as_estimate_does(server: Loopback) -> None:
    own = _ask(server)
    assert "told" not in own["tokens"]
    assert own["tokens"]["at"] == own["tokens"]["own"] == own["choice"]["visual_tokens"]
    other = next(count for count in own["tokens"]["counts"] if count > own["tokens"]["own"])
    found = _ask(server, visual_tokens=str(other))["tokens"]
    assert found["at"] == other
    code, out, err = run(*shlex.split(found["command"])[1:], "--json")
    assert code == 0, err
    priced = json.loads(out)
    low_s, high_s = priced["latency_interval_s"]
    ends = re.search(r"an answer takes \S+ m?s \((\S+) to (\S+) ms\)", found["told"])
    assert ends is not None
    assert (float(ends[1]), float(ends[2])) == pytest.approx((1e3 * low_s, 1e3 * high_s), rel=5e-3)
    assert ("breaks the limits" in found["told"]) == (high_s > 0.3)
    marks = [one for one in _ask(server, visual_tokens=str(other))["charts"]["knee"]["data"] if one["name"] == "tried"]
    assert marks[0]["y"] == pytest.approx([1e3 * priced["ttft_s"]])
    assert _ask(server, visual_tokens="17")["tokens"]["at"] == own["tokens"]["own"]


def test_another_number_of_tokens_plans_no_second_time() -> None:
    asked: list[dict[str, Any]] = []

    def recommend(**words: Any) -> Plan:
        asked.append(words)
        return vlmplan.recommend(**words)

    explorer = _explorer(recommend=recommend)
    own = explorer.answer(FORM | {"latency": ""})
    other = next(count for count in own["tokens"]["counts"] if count != own["tokens"]["own"])
    found = explorer.answer(FORM | {"latency": "", "visual_tokens": str(other)})
    assert len(asked) == 1
    assert found["assumed"] == own["assumed"] != []
    assert found["tokens"]["at"] == other
    explorer.answer(FORM | {"latency": "400ms"})
    explorer.answer(FORM | {"latency": ""})
    assert len(asked) == 3


def test_a_rate_is_answered_with_replicas_and_the_load_curve(server: Loopback) -> None:
    found = _ask(server, latency="2s", rate="20/s")
    assert " --rate 20/s" in found["command"]
    assert any(line.startswith("Load: 20/s on ") for line in found["expected"])
    assert len(found["charts"]["load"]["data"]) == 3
    assert _ask(server, latency="2s")["charts"]["load"] is None
    assert "--rate: " in _ask(server, rate="/etc/passwd")["message"]  # which no form can name


def test_a_limit_moved_moves_the_front(server: Loopback) -> None:
    tight, loose = _ask(server, latency="300ms"), _ask(server, latency="2s")
    assert len(tight["front"]) < len(loose["front"])
    lines = [answer["charts"]["front"]["layout"]["shapes"][0]["x0"] for answer in (tight, loose)]
    assert lines == [300, 2000]


def test_what_nothing_keeps_and_what_cannot_be_asked_are_words(server: Loopback) -> None:
    found = _ask(server, latency="5ms")
    assert found["outcome"] == "infeasible"
    assert "No plan meets a latency of 5.00 ms on l4: the fastest needs" in found["message"]
    for fields, said in (
        ({"latency": "300"}, "300"),
        ({"image": "big"}, "big"),
        ({"text_tokens": "1.5"}, "--text-tokens: found '1.5', expected a whole number"),
        ({"second_task": "ocr", "share": "100"}, "--task"),
        ({"hardware": "/etc/passwd"}, "expected one of this page's list"),
        ({"task": "law.toml"}, "expected one of this page's list"),
        ({"runtime": "onnxruntime", "precision": "fp8"}, "fp8"),
    ):
        found = _ask(server, **fields)
        assert found["outcome"] == "refused", fields
        assert said in found["message"]
        assert "charts" not in found


def test_what_is_assumed_is_said(server: Loopback) -> None:
    assert _ask(server)["assumed"] == []
    assert any("assumed --ttft" in line for line in _ask(server, latency="")["assumed"])


def test_another_number_of_tokens_a_frame_is_priced_for_all_frames(server: Loopback) -> None:
    """The page has no field for frames: those of the plan are what is tried, too."""
    found = _ask(server, task="video", latency="30s")
    assert found["outcome"] == "plan" and "32 frames of" in found["sentence"]
    other = next(count for count in found["tokens"]["counts"] if count != found["tokens"]["at"])
    tokens = _ask(server, task="video", latency="30s", visual_tokens=str(other))["tokens"]
    assert "--images 32" in tokens["command"] and tokens["told"].startswith(f"{other} visual tokens instead")
    priced = vlmplan.estimate(
        model=found["choice"]["model"], hardware="l4", visual_tokens=other, images=32, image=FORM["image"],
        text_tokens=int(FORM["text_tokens"]), output_tokens=int(FORM["output_tokens"]), runtime="vllm",
        precision=found["choice"]["precision"],
    )  # fmt: skip
    assert format_seconds(priced.latency_s) in tokens["told"]
    fewer = _ask(server, task="video", latency="30s", images="8")
    assert "8 frames of" in fewer["sentence"] and " --images 8" in fewer["command"]


def test_texts_of_others_are_texts() -> None:
    plan = planned()
    front = tuple(replace(one, model=EVIL) for one in plan.front)
    evil = replace(plan, front=front, choice=replace(plan.choice, model=EVIL))
    offer = replace(OFFER, devices={"l4": EVIL}, tasks=(EVIL,), start={"task": EVIL})
    explorer = _explorer(recommend=lambda **_: evil, offer=offer)
    text = explorer.files()[""].content.decode()
    assert "<script>alert" not in text
    assert "<img" not in text
    assert "\u202e" not in text
    found = explorer.answer({"hardware": "l4", "task": inert.html(EVIL)})
    whole = to_json({name: one for name, one in found.items() if name != "command"})
    assert "\u202e" not in whole
    assert "<script>" in found["sentence"]  # a text, which the page shows as one
    hovers = [text for trace in found["charts"]["front"]["data"] for text in trace.get("hovertext") or ()]
    assert any("&lt;script&gt;" in text for text in hovers)
    assert not any("<script>" in text or "<img" in text for text in hovers)
    assert shlex.split(command("recommend", {"task": "a b; rm -rf $HOME"}))[-1] == "a b; rm -rf $HOME"


def test_the_script_makes_no_markup() -> None:
    script = _files()["explore.js"].content.decode()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b", script)


def test_a_path_with_odd_letters_is_the_one_given() -> None:
    odd = "./a::b\u202e\udcff.toml"
    offer = replace(OFFER, devices={odd: odd}, start={"hardware": odd})
    text = _explorer(offer=offer).files()[""].content.decode()
    shown = re.search(r'<option value="(\./a[^"]*)" selected>', text)
    assert shown is not None
    assert words({"hardware": unescape(shown[1])}, offer) == {"hardware": odd}
    assert command("recommend", {"hardware": odd}).isascii()


def test_a_mix_of_tasks_adds_up() -> None:
    form = {"task": "reasoning", "second_task": "ocr", "share": "35"}
    assert words(form, OFFER) == {"task": "reasoning=0.35,ocr=0.65"}
    assert words(form | {"second_task": "reasoning"}, OFFER) == {"task": "reasoning"}
    with pytest.raises(InputError, match="second-task"):
        words(form | {"second_task": "x=1"}, OFFER)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--port", "70000"), "70000"),
        (("--port", "x"), "--port"),
        (("--hardware", "l4,t4"), "starts with one device; found 2"),
        (("--hardware", "nonsense"), "nonsense"),
        (("--latency", "300"), "300"),
        (("--hardware", "l4", "--task", "nonsense"), "nonsense"),
        (("--hardware", "l4", "--image", "x"), "x"),
    ],
)
def test_a_bad_start_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    code, out, err = run("explore", "--no-open", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_port_that_is_taken_is_one_line(server: Loopback) -> None:
    code, out, err = run("explore", "--no-open", "--hardware", "l4", "--port", str(server.server_port))
    assert (code, out) == (2, "")
    assert f"--port: {server.server_port} cannot be used" in err
    assert len(err.splitlines()) == 1


def test_a_missing_library_is_one_line() -> None:
    for arguments in (["explore", "--no-open", "--hardware", "l4"], [*RECOMMEND, "--open"]):
        blocked = f"import sys; sys.modules['plotly'] = None; sys.argv[1:] = {arguments!r}; "
        done = subprocess.run(
            [sys.executable, "-c", f"{blocked}from vlmplan.__main__ import main; main()"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert "pip install 'vlmplan[page]'" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def _environment(folder: Path, *, browser: bool) -> dict[str, str]:
    """This process's, with a browser that notes the address it is given, or with none and no screen."""
    hidden = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"TMPDIR": str(folder), "SSH_CONNECTION": "here"}
    if browser:
        script = folder / "browser"
        script.write_text(f'#!/bin/sh\nprintf %s "$1" > {shlex.quote(str(folder))}/opened\n', encoding="utf-8")
        script.chmod(0o700)
        environment["BROWSER"] = str(script)
    return environment


def _vlmplan(folder: Path, *arguments: str, browser: bool) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vlmplan", *arguments],
        env=_environment(folder, browser=browser), cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("browser", [True, False])
def test_a_plan_is_shown_or_its_place_is_said(tmp_path: Path, browser: bool) -> None:
    (tmp_path / "plan.json").write_text(to_json(planned()), encoding="utf-8")
    for arguments, wrote in ((("page", "plan.json", "--open"), "plan.html"), ((*RECOMMEND, "--open"), "vlmplan-l4-")):
        done = _vlmplan(tmp_path, *arguments, browser=browser)
        assert done.returncode == 0, done.stderr
        assert wrote in done.stderr
        made = next(tmp_path.glob(f"{wrote}*"))
        assert made.read_text(encoding="utf-8").startswith("<!doctype html>")
        if browser:
            assert (tmp_path / "opened").read_text(encoding="utf-8") == made.as_uri()
        else:
            assert f"no browser can be opened here; open {made} in one" in done.stderr
    temporary = next(tmp_path.glob("vlmplan-l4-*"))
    assert temporary.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("more", [("--why", "Qwen3-VL-2B"), ("--hardware", "l4,t4")])
def test_open_is_of_one_plan(more: tuple[str, ...]) -> None:
    code, out, err = run(*RECOMMEND, "--open", *more)
    assert (code, out) == (2, "")
    assert "--open: shows the plan of one device" in err


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@pytest.mark.parametrize("browser", [True, False])
def test_ctrl_c_ends_it_and_leaves_nothing(tmp_path: Path, browser: bool) -> None:
    started = subprocess.Popen(
        [sys.executable, "-m", "vlmplan", "explore", "--hardware", "l4"],
        env=_environment(tmp_path, browser=browser), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert started.stdout is not None
    url = started.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", url)
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.request("GET", f"/{path}")
    assert connection.getresponse().status == 200
    connection.close()
    if browser:
        until = time.monotonic() + 60
        while not (tmp_path / "opened").exists() or not (tmp_path / "opened").read_text(encoding="utf-8"):
            assert time.monotonic() < until
            time.sleep(0.05)
        place = (tmp_path / "opened").read_text(encoding="utf-8")
        assert path.strip("/") not in place  # other users see what is opened
        leads = Path(place.removeprefix("file://"))
        assert url in leads.read_text(encoding="utf-8")
        assert leads.stat().st_mode & 0o077 == 0
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert (started.returncode, out) == (130, "")
    assert err.endswith("Ctrl-C ends it\ninterrupted\n")
    assert browser or "ssh -L" in err
    assert not list(tmp_path.glob("*.html"))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_a_browser(server: Loopback, tmp_path: Path) -> None:
    """Moved by keys, it answers; what cannot be is said; it takes the reader's colours; its console is silent."""
    with Browser(tmp_path) as browser:
        browser.open(server.url, "document.getElementById('sentence').textContent.startsWith('Deploy')")
        browser.wait("document.querySelectorAll('.chart .main-svg').length >= 3")
        before = browser.value("document.getElementById('command').textContent")
        assert "--latency 300ms" in before
        browser.value("document.querySelector('[data-for=latency]').focus()")
        for _ in range(3):
            browser.press("ArrowLeft", 37)
        wanted = browser.value("document.getElementById('latency').value")
        assert wanted != "300ms"
        browser.wait(f"document.getElementById('command').textContent.includes('--latency {wanted} ')")
        assert browser.value("document.activeElement.getAttribute('aria-valuetext')") == wanted
        line = "document.getElementById('chart-front').layout.shapes[0].x0"
        assert browser.value(line) == pytest.approx(float(wanted.removesuffix("ms")))
        browser.value("document.getElementById('visual_tokens_slider').focus()")
        browser.press("ArrowRight", 39)
        browser.wait("document.getElementById('told').textContent.includes('an answer takes')")
        assert browser.value("document.getElementById('estimate').textContent").startswith("vlmplan estimate ")
        browser.value("document.querySelector('[data-copies=command]').click()")
        browser.wait("document.querySelector('[data-copies=command]').textContent !== 'Copy'")
        colours = []
        for dark in (False, True):
            browser.look(tmp_path / "seen.png", dark=dark)
            colours.append(browser.value("getComputedStyle(document.body).backgroundColor"))
        assert colours == ["rgb(255, 255, 255)", "rgb(20, 23, 27)"]
        typed = "box.value = '5ms'; box.dispatchEvent(new Event('input'))"
        browser.value(f"(() => {{ const box = document.getElementById('latency'); {typed} }})()")
        browser.wait("document.getElementById('sentence').textContent === 'Nothing keeps these limits.'")
        assert browser.value("document.getElementById('details').hidden")
        assert browser.said == []


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_a_browser_names_do_nothing(tmp_path: Path) -> None:
    plan = planned()
    front = tuple(replace(one, model=EVIL) for one in plan.front)
    evil = replace(plan, front=front, choice=replace(plan.choice, model=EVIL), warnings=(EVIL,))
    explorer = _explorer(recommend=lambda **_: evil, offer=replace(OFFER, devices={"": EVIL}))
    with Loopback(explorer.files(), explorer.answer) as server, Browser(tmp_path) as browser:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.open(server.url, "document.getElementById('sentence').textContent.startsWith('Deploy')")
        browser.wait("document.querySelectorAll('.chart .main-svg').length >= 3")
        assert browser.value("document.querySelectorAll('img').length") == 0
        assert browser.value("document.querySelectorAll('script').length") == 2
        assert browser.said == []
        server.shutdown()


def test_what_is_kept_between_moves_changes_no_answer() -> None:
    """A page that was asked other things first answers as a new one does, and prices nothing twice for a limit."""
    page = _explorer()
    moves: list[dict[str, str]] = [
        {}, {"latency": "800ms"}, {"latency": "250ms"}, {"latency": "1s", "ttft": "100ms"}, {"task": "ocr"},
        {"text_tokens": "90"}, {"hardware": "a100-80gb-sxm"}, {"latency": "1ms"}, {"prefer": "speed"},
        {"latency": "800ms"},
    ]  # fmt: skip
    for move in moves:
        found, new = page.answer(FORM | move), _explorer().answer(FORM | move)
        found.pop("elapsed_s"), new.pop("elapsed_s")
        assert found == new, move
    page.answer(FORM | {"latency": "1s"})
    known = page.kept._known
    before = len(known)
    page.answer(FORM | {"latency": "900ms"})
    assert page.kept._known is known
    assert len(known) == before > 100
    page.answer(FORM | {"text_tokens": "51"})
    assert page.kept._known is not known


def test_profiles_are_read_once_by_a_page_alone() -> None:
    page = _explorer()
    page.answer(FORM)
    read = dict(page.read)
    assert len(read) > 100
    page.answer(FORM | {"latency": "400ms"})
    assert all(page.read[name] is one for name, one in read.items())
    assert catalogue.models()[0] is not catalogue.models()[0]  # outside a page an edited profile is seen at once
