"""Text of others does nothing where it goes, and says what it said: checked by bash, JSON, TOML, XML and Markdown."""

import json
import subprocess
from xml.etree import ElementTree

import pytest
import tomli
import tomli_w
from hostile import HOSTILE, is_inert
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from vlmplan import inert

ANY = st.text(st.characters()) | st.text(":# \n\t[]`|*_<>&-~@!$\\\"'éx", min_size=1)  # half characters, too
WHOLE = st.text(st.characters(exclude_categories=["Cs"])) | st.text(":# \n\t[]`|*_<>&-~@!$\\\"'éx", min_size=1)


@given(ANY)
@example(HOSTILE)
def test_a_terminal_or_a_log_gets_one_line_that_does_nothing(text: str) -> None:
    shown = inert.terminal(text)
    assert is_inert(shown)
    assert "\n" not in shown
    shown.encode()
    assert inert.terminal(shown) == shown
    assert is_inert(f"  {shown}")


@pytest.mark.parametrize(
    "text", ["InternVL3-1B", "größe 图像 مرحبا e\u0301", "[::1]:8000", "a: b # c", "https://x/y?z=1#a"]
)
def test_plain_text_is_as_it_was(text: str) -> None:
    assert inert.terminal(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb", "a\\nb"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("a\u200bb", "a\\u200bb"),
        ("\u3164", "\\u3164"),
        ("\ud800", "\\ud800"),
        ("::error::x", ":\\x3aerror:\\x3ax"),
        ("a ##[error]b", "a #\\x23[error]b"),
    ],
)
def test_what_is_not_seen_or_commands_stands_there_as_an_escape(text: str, shown: str) -> None:
    assert inert.terminal(text) == shown


@given(st.recursive(ANY, lambda inner: st.lists(inner) | st.dictionaries(ANY, inner), max_leaves=6))
@example([HOSTILE])
def test_json_is_the_same_document(value: object) -> None:
    for text in (json.dumps(value, ensure_ascii=False, indent=1), json.dumps(value)):
        shown = inert.json_document(text)
        assert json.loads(shown) == json.loads(text)
        assert is_inert(shown)


@given(st.dictionaries(WHOLE, WHOLE | st.lists(WHOLE)))
@example({HOSTILE: [HOSTILE, "\U000e0041"]})
def test_toml_is_the_same_document(value: dict[str, object]) -> None:
    text = tomli_w.dumps(value)
    shown = inert.toml_document(text)
    assert tomli.loads(shown) == value
    assert is_inert(shown)


@given(ANY)
@example(HOSTILE)
def test_junit_holds_any_text(text: str) -> None:
    element = ElementTree.Element("failure", message=inert.junit(text))
    element.text = inert.junit(text)
    read = ElementTree.fromstring(ElementTree.tostring(element, encoding="utf-8"))
    assert read.get("message") == read.text or (not read.text and not text)
    assert is_inert(read.get("message") or "")


PLAIN_TAGS = ["h1", "table", "thead", "tr", "th", "tbody", "td", "ul", "li", "p"]


def _tokens(text: str) -> tuple[set[str], str]:
    """The tags that Markdown makes of a text, and what a reader sees of it."""
    tags, seen = set(), ""
    for token in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text):
        for one in (token, *(token.children or ())):
            tags.add(one.tag or one.type)
            seen += one.content if one.type in ("text", "text_special", "code_inline") else ""
    return tags - {"inline", "text", "text_special", ""}, seen


@given(ANY)
@example(HOSTILE)
@example("- a")
@example("1. a")
@example("123) a")
@example("     - a")
@example("     a")
@example("&lt;b&gt; &amp; &#38; &#x26;")
@example("www.no.com http://no :smile: @me #1 \\| \\\\|")
def test_markdown_makes_nothing_of_it(text: str) -> None:
    shown = inert.markdown(text)
    for whole, tags in (
        (f"x {shown}", {"p"}),
        (f"- {shown}", {"p", "ul", "li"}),
        (f"| a | b |\n|---|---|\n| x | {shown} |", {"table", "thead", "tbody", "tr", "th", "td"}),
    ):
        found, seen = _tokens(whole)
        assert found <= tags
        assert " ".join(inert.terminal(text).replace("|", "/").split()) in " ".join(seen.split())


@given(ANY)
@example("`")
@example("a`` b")
def test_code_in_markdown_is_code(text: str) -> None:
    found, seen = _tokens(f"x {inert.markdown_code(text)} y")
    assert found == {"p", "code"}
    assert inert.terminal(text).strip() in seen


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@settings(max_examples=25)
@given(NAMES | st.text("-'\"\\$`!\n #:", min_size=1))
@example("--help")
@example("-rf *")
@example(HOSTILE)
@example("\udcff\x1b")
def test_bash_reads_the_name_back(name: str) -> None:
    argument = inert.argument(name)
    assert is_inert(argument)
    assert not argument.startswith("-")
    done = subprocess.run(["bash", "-c", f"printf %s {argument}"], capture_output=True, check=True)
    meant = f"./{name}" if name.startswith("-") else name
    assert done.stdout == meant.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("text", ["=cmd|'/c calc'!A0", "+1", "-1", "@SUM(1)", "\t=1"])
def test_a_cell_is_no_formula(text: str) -> None:
    assert inert.cell(text) == f"'{text}"
    assert inert.cell("Qwen/Qwen2-VL-2B") == "Qwen/Qwen2-VL-2B"


def test_overlong_words_lose_their_middle() -> None:
    assert inert.short(f"no file {'x' * 5000}: choose another").endswith("x: choose another")
    assert len(inert.short("x" * 5000)) < 200
    assert inert.short("a short text") == "a short text"
