"""Chat templates are programs of others: rendered as transformers does, and ended where they would not end."""

import gc
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import transformers
from small_models import checkpoint

from vlmplan.errors import InputError
from vlmplan.exporting import templates
from vlmplan.exporting.templates import EndlessTemplate, templated
from vlmplan.proof.foreign import tokenizer as foreign_tokenizer

CHAT: list[dict[str, Any]] = [{"role": "user", "content": "Hello, {{ 7 * 7 }}"}, {"role": "assistant", "content": "Ä"}]
LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


def _tokenizer(template: str) -> Any:
    made = transformers.AutoTokenizer.from_pretrained(checkpoint())
    made.chat_template = template
    return made


def test_messages_are_written_as_transformers_writes_them() -> None:
    processor = transformers.AutoProcessor.from_pretrained(checkpoint())
    pictured = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it? Café"}]}]
    for options in ({"add_generation_prompt": True}, {"add_generation_prompt": False, "tokenize": False}):
        assert templated(processor, pictured, **options) == processor.apply_chat_template(pictured, **options)
    tokenizer = _tokenizer("{% for m in messages %}<{{ m['content'] }}>{% endfor %}")
    assert templated(tokenizer, CHAT, tokenize=False) == "<Hello, {{ 7 * 7 }}><Ä>"
    assert templated(tokenizer, CHAT * 20_000, tokenize=False) == "<Hello, {{ 7 * 7 }}><Ä>" * 20_000
    tokenizer.chat_template = "another"
    assert templated(tokenizer, CHAT, tokenize=False) == "another"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (LOOPS, "not done after 3 s"),
        ("{{ 'a' * 10**10 }}", "more than 1.00 GiB of memory"),
        ("{% set ns = namespace(s='a') %}{% for a in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}", "memory"),
        ("{{ 'a'|center(10**8) }}", "it writes 100000000 characters"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "maximum recursion depth"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "maximum recursion depth"),
        ("{% for a in range(10**9) %}{% endfor %}", "Range too big"),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
    ],
)
def test_what_fails_or_does_not_end_is_one_line(template: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "RENDER_S", 3.0)
    tokenizer, started = _tokenizer(template), time.monotonic()
    with pytest.raises(InputError, match="the chat template cannot be used") as caught:
        templated(tokenizer, CHAT, tokenize=False)
    assert message in str(caught.value)
    assert time.monotonic() - started < 20
    tokenizer.chat_template = "as ever"
    assert templated(tokenizer, CHAT, tokenize=False) == "as ever"


def test_two_endless_templates_are_not_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both would be refused in the same words: that proves nothing of either."""
    monkeypatch.setattr(templates, "RENDER_S", 0.5)
    with pytest.raises(EndlessTemplate):
        list(foreign_tokenizer.behaviours(_tokenizer(LOOPS), ("a text",), ({"role": "user", "content": "b"},)))


def test_no_process_is_left_and_nobodys_output_is_held() -> None:
    """The renderer ends with its owner, even one that is killed: a pipe that it held would never end."""
    program = (
        "import os, sys, transformers\n"
        "from vlmplan.exporting.templates import templated, _RENDERERS\n"
        f"t = transformers.AutoTokenizer.from_pretrained({str(checkpoint())!r})\n"
        "t.chat_template = 'x'\n"
        "said = templated(t, [{'role': 'user', 'content': 'b'}], tokenize=False)\n"
        "print(said, next(iter(_RENDERERS.values()))._child, flush=True)\n"
        "os._exit(0) if sys.argv[1] == 'killed' else None\n"
    )
    for way in ("killed", "ended"):
        done = subprocess.run(
            [sys.executable, "-c", program, way], capture_output=True, text=True, timeout=60, check=True
        )
        said, child = done.stdout.split()
        assert said == "x"
        due = time.monotonic() + 10
        while Path(f"/proc/{child}").exists() and time.monotonic() < due:
            time.sleep(0.05)
        state = Path(f"/proc/{child}/stat")
        assert not state.exists() or state.read_text().split()[2] == "Z"


class _Waiting:
    """Garbage that waits when it is collected, as a session of ONNX Runtime does for threads not forked."""

    def __init__(self) -> None:
        self.made_in, self.itself = os.getpid(), self

    def __del__(self) -> None:
        if os.getpid() != self.made_in:
            time.sleep(60)


def test_the_process_that_renders_collects_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage of the parent's is not ended in a process that has none of its threads."""
    monkeypatch.setattr(templates, "RENDER_S", 3.0)
    tokenizer, many, before = _tokenizer("read"), CHAT * 20_000, gc.get_threshold()
    gc.collect()
    gc.set_threshold(5000)  # more than are made up to the fork, fewer than the messages there
    _Waiting()
    try:
        assert templated(tokenizer, many, tokenize=False) == "read"
    finally:
        gc.set_threshold(*before)
