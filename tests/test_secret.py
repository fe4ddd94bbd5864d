"""A key that comes back is hidden, however it was spelt on its way."""

import base64
import html
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmplan.secret import hidden

KEY = "sk-abCD/efGH+ij=='x\""
SPELT = {
    "as it is": KEY,
    "JSON": json.dumps(KEY)[1:-1],
    "PHP's JSON": json.dumps(KEY)[1:-1].replace("/", "\\/"),
    "ASP.NET's JSON": "".join(f"\\u{ord(c):04X}" if c in "+/'\"" else c for c in KEY),
    "an address": quote(KEY, safe=""),
    "an address that keeps slashes": quote(KEY),
    "HTML": html.escape(KEY),
    "HTML in hex": "".join(f"&#x{ord(c):X};" if not c.isalnum() else c for c in KEY),
    "HTML in numbers": "".join(f"&#{ord(c)};" for c in KEY),
    "Python": repr(KEY)[1:-1],
    "JSON in JSON": json.dumps(json.dumps(KEY))[3:-3],
    "base64": base64.b64encode(KEY.encode()).decode(),
    "a header in base64": base64.b64encode(f"Bearer {KEY}".encode()).decode(),
}


@pytest.mark.parametrize("way", SPELT)
def test_a_key_is_hidden_however_it_is_spelt(way: str) -> None:
    told = hidden(f"answered 401 (bad key {SPELT[way]}, try again)", KEY)
    assert "[key]" in told
    assert "abCD" not in told and "efGH" not in told
    assert told.startswith("answered 401 (bad key ") and told.endswith(" try again)")


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40))
def test_any_key_is_hidden_in_any_of_the_common_spellings(key: str) -> None:
    for told in (key, json.dumps(key)[1:-1], quote(key), quote(key, safe=""), html.escape(key), repr(key)[1:-1]):
        assert hidden(f"<{told}>", key).replace("\\", "") == "<[key]>"


def test_a_short_key_is_hidden_as_a_word_and_no_key_hides_nothing() -> None:
    assert hidden("the key abc in abcd", "abc") == "the key [key] in abcd"
    assert hidden("nothing", None, "") == "nothing"
