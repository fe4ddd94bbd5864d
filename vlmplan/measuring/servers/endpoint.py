"""How fast is a server? Time to the first token and per further token of an OpenAI-compatible endpoint, with images.

(URL, served model, probes) -> seconds and token counts, by streaming chat completions one at a time. Every prompt and
picture is new, so that neither a prefix cache nor an image cache answers. Counts are those the server reports.
"""

import base64
import http.client
import io
import itertools
import json
import random
import statistics
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from vlmplan.errors import InputError, Unavailable, check_range
from vlmplan.secret import hidden, proxy_passwords
from vlmplan.units import format_image

_WORDS = ("amber", "basin", "cedar", "delta", "ember", "flint", "grove", "heron", "islet", "jetty", "knoll", "larch",
          "mango", "north", "olive", "pearl", "quartz", "river", "slate", "thorn", "umber", "valley")  # fmt: skip
_LONGEST_REPLY_BYTES, _MOST_TOKENS = 2**24, 10_000_000
_TOKENS_A_WORD, _LONGEST_TEMPLATE = 12, 20_000  # at most, and generously: a word of ours has at most 6 letters
_SHOWN = 200  # characters of what a server says
_SHORT_KEY = 5  # characters up to which a key may stand inside any word


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What to ask: about so many words, perhaps a picture of (width, height) pixels, and how many tokens back."""

    words: int
    image: tuple[int, int] | None
    output_tokens: int

    @property
    def name(self) -> str:
        """In words."""
        picture = "no image" if self.image is None else f"image {format_image(self.image)}"
        return f"{self.words} words, {picture}, {self.output_tokens} tokens out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back. ``tpot_s`` is the mean of tokens 2 to n, None where there was one.

    ``gap_s`` is the median time between pieces, None where a piece brought several tokens.
    """

    prompt_tokens: int
    output_tokens: int
    ttft_s: float
    tpot_s: float | None
    gap_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server: its URL up to ``/v1``, the model's name there, and how long a whole answer may take."""

    url: str
    model: str
    timeout_s: float = 60.0
    key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """The URL is one of http or https."""
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            usable = usable and not set("?#;") & set(self.url)  # what is asked stands behind; a key would be shown
        except ValueError:
            usable = False
        if not usable or not self.url.isprintable() or " " in self.url or "@" in parts.netloc:
            raise InputError("--endpoint: expected http://HOST:PORT/v1 (a key goes into OPENAI_API_KEY)")
        check_range("--timeout", self.timeout_s, 0.01, 86400)
        if self.key is not None and not (self.key.isascii() and self.key.isprintable()):
            raise InputError("OPENAI_API_KEY: found what no header can hold; expected printable ASCII characters")

    @property
    def host(self) -> str:
        """Where it is, without a name or a password that the URL may hold."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    def hidden(self, text: str) -> str:
        """Return ``text`` without the key and proxies' passwords, however written: before it is cut or shown."""
        return hidden(text, self.key, *proxy_passwords())

    def _open(self, path: str, body: dict[str, Any] | None) -> Any:
        """Send one request. Raises Unavailable where nothing, or an error, comes back."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        request = urllib.request.Request(f"{self.url.rstrip('/')}/{path}", data=data, headers=headers)
        with self._reached("no answer"):
            try:
                return _opener().open(request, timeout=self.timeout_s)
            except urllib.error.HTTPError as error:
                raise Unavailable(f"{self.host}: answered {error.code} ({self._said(error)})") from None

    def _said(self, error: urllib.error.HTTPError) -> str:
        """What the server says of an error: its beginning, without the key, or its status where that breaks off."""
        with error:
            try:
                text = error.read(_LONGEST_REPLY_BYTES).decode("utf-8", "replace")
            except (OSError, http.client.HTTPException):
                text = str(error.reason)
        return self._short(text)

    def _short(self, said: object) -> str:
        return " ".join(self.hidden(str(said)).split())[:_SHOWN]

    @contextmanager
    def _reached(self, what: str, tokens: Sequence[float] | None = None) -> Iterator[None]:
        """Say in one line what a socket, or what came over it, fails with, and after how many ``tokens``."""
        try:
            yield
        except TimeoutError:
            ended = "" if tokens is None else " that ended the answer"
            raise Unavailable(
                f"{self.host}: {what}{_after(tokens)} within {self.timeout_s:g} s{ended}; is it ready? --timeout gives "
                "an answer longer"
            ) from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise Unavailable(f"{self.host}: {what} within {self.timeout_s:g} s; is the server ready?") from None
            raise Unavailable(
                f"{self.host}: cannot be reached ({self._short(error)}); is the server running?"
            ) from None
        except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
            raise Unavailable(f"{self.host}: {what}{_after(tokens)} that can be used ({self._short(error)})") from None

    def served_models(self) -> tuple[str, ...]:
        """Return the names the server lists. Raises Unavailable."""
        with self._reached("no list of models"), self._open("models", None) as stream:
            parsed = json.loads(stream.read(_LONGEST_REPLY_BYTES))
            listed = parsed.get("data") if isinstance(parsed, dict) else None
            entries = listed if isinstance(listed, list) else []
            names = tuple(str(one["id"]) for one in entries if isinstance(one, dict) and "id" in one)
            if not names:
                raise ValueError("expected OpenAI's interface")
            if any(self.hidden(name) != name for name in names):
                raise ValueError("a model's name holds the key")
            return names

    def complete(self, body: dict[str, Any]) -> tuple[str, int | None]:
        """Return the text of one chat completion, whole, and the tokens of its prompt where the server counts them.

        The key is not in the text, though the server echoes it.
        Raises Unavailable where the server refuses, hangs, or answers with something else.
        """
        with self._open("chat/completions", body) as stream, self._reached("no completion"):
            parsed = json.loads(stream.read(_LONGEST_REPLY_BYTES))
        table = parsed if isinstance(parsed, dict) else {}
        if table.get("error"):
            raise Unavailable(f"{self.host}: {self._short(table['error'])}")
        choices, usage = table.get("choices"), table.get("usage")
        first = choices[0] if isinstance(choices, list) and choices else None
        message = first.get("message") if isinstance(first, dict) else None
        text = message.get("content") if isinstance(message, dict) else None
        if not isinstance(text, str):
            raise Unavailable(f"{self.host}: sent no text; does it complete chats about pictures?")
        count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        return self.hidden(text), count if type(count) is int and 0 < count <= _MOST_TOKENS else None

    def ask(self, probe: Probe, seed: int, picture_seed: int | None = None) -> Reply:
        """Ask once, with a picture of its own seed where that is told.

        Raises Unavailable where the server hangs, closes, or says nothing.
        """
        body = _body(self.model, probe, seed, seed if picture_seed is None else picture_seed)
        start = time.perf_counter()
        stamps: list[float] = []
        usage: dict[str, Any] = {}
        with self._open("chat/completions", body) as stream:
            for event in self._events(stream, stamps, start + self.timeout_s):
                if event.get("error"):
                    raise Unavailable(f"{self.host}: {self._short(event['error'])}")
                usage = event["usage"] if isinstance(event.get("usage"), dict) else usage
                choices = event.get("choices")
                if isinstance(choices, list) and any(_text_of(choice) for choice in choices):
                    stamps.append(time.perf_counter())
        return self._reply(probe, start, stamps, usage)

    def _events(self, stream: Any, stamps: list[float], due: float) -> Iterator[dict[str, Any]]:
        """The JSON objects of a stream of server-sent events, to the last. Raises Unavailable where it breaks off."""
        with self._reached("nothing", stamps):
            for line in _lines(stream, due):
                text = line.strip()
                if text == b"data: [DONE]":
                    return
                if text.startswith(b"data:"):
                    event = json.loads(text[5:])
                    if isinstance(event, dict):
                        yield event
        raise Unavailable(f"{self.host}: closed the stream after {len(stamps)} tokens, before its end")

    def _reply(self, probe: Probe, start: float, stamps: list[float], usage: dict[str, Any]) -> Reply:
        prompt, output = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if not stamps:
            raise Unavailable(f"{self.host}: sent no token; does the server stream chat completions?")
        counts = [count for count in (prompt, output) if type(count) is int and 0 < count <= _MOST_TOKENS]
        if len(counts) < 2:
            raise Unavailable(f"{self.host}: reported no token counts (stream_options.include_usage); cannot be priced")
        if unlike := _unlike(probe, counts[0], counts[1], len(stamps)):
            raise Unavailable(f"{self.host}: {unlike}; its token counts cannot be true, and cannot be priced")
        more = counts[1] - 1
        gaps = [after - before for before, after in itertools.pairwise(stamps)]
        return Reply(
            prompt_tokens=counts[0],
            output_tokens=counts[1],
            ttft_s=stamps[0] - start,
            tpot_s=(stamps[-1] - stamps[0]) / more if more and len(stamps) > 1 else None,
            gap_s=statistics.median(gaps) if gaps and len(stamps) == counts[1] else None,
        )


def _unlike(probe: Probe, prompt: int, output: int, pieces: int) -> str | None:
    """What in a server's counts contradicts what was asked and what came; None where nothing does.

    A piece brings at least one token, but for a last one of what was held back. A word is at least one token in every
    tokenizer that ends tokens at blanks, half of one leaves room for others; templates add less than this allows.
    """
    if pieces > output + 1:
        return f"reports {output} tokens of an answer that came in {pieces} pieces"
    if output > probe.output_tokens + 1:
        return f"reports {output} tokens out where at most {probe.output_tokens} were asked for"
    most = _TOKENS_A_WORD * probe.words + _LONGEST_TEMPLATE
    if prompt < probe.words // 2 or (probe.image is None and prompt > most):
        return f"reports {prompt} tokens of a prompt of {probe.words} words"
    return None


def _text_of(choice: Any) -> Any:
    """What a chunk brings: text, or a reasoning model's thoughts, which are tokens too."""
    delta = choice.get("delta") if isinstance(choice, dict) else None
    if not isinstance(delta, dict):
        return None
    return delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning")


def _after(tokens: Sequence[float] | None) -> str:
    return "" if tokens is None else f" after {len(tokens)} tokens"


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: the key is for the host that was named."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Refuse."""


def _opener() -> Any:
    """What sends a request, whose timeout ends the whole of the answer, however many drips it comes in."""

    class Timed:
        """A connection whose answers, a proxy's before the server's, come by a point in time or not at all."""

        timeout: Any
        sock: Any
        due = 0.0

        def connect(self) -> None:
            self.due = time.perf_counter() + float(self.timeout or 0)
            super().connect()  # type: ignore[misc]
            self.sock = _Due(self.sock, self.due)

        def _tunnel(self) -> None:
            bare, self.sock = self.sock, _Due(self.sock, self.due)
            super()._tunnel()  # type: ignore[misc]
            self.sock = bare
            bare.settimeout(max(1e-3, self.due - time.perf_counter()))

    class Plain(Timed, http.client.HTTPConnection):
        pass

    class Secure(Timed, http.client.HTTPSConnection):
        pass

    class OverPlain(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> Any:
            return self.do_open(Plain, req)

    class OverSecure(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> Any:
            return self.do_open(Secure, req)

    return urllib.request.build_opener(_Stay, OverPlain, OverSecure)


class _Due:
    """A socket that is read no longer than to a point in time; all else is the socket's."""

    def __init__(self, socket: Any, due: float) -> None:
        """``due`` is a time of ``perf_counter``."""
        self._socket, self._due = socket, due

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        """Return what http.client reads an answer from; the socket closes when both have been closed, as ever."""
        return io.BufferedReader(_Reader(self._socket.makefile("rb", buffering=0), self._socket, self._due))


class _Reader(io.RawIOBase):
    """The bytes of a socket up to a point in time."""

    def __init__(self, raw: Any, socket: Any, due: float) -> None:
        """``raw`` is the socket's own unbuffered file."""
        self._raw, self._socket, self._due = raw, socket, due

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> Any:
        """Read what has come. Raises TimeoutError past the point."""
        left_s = self._due - time.perf_counter()
        if left_s <= 0:
            raise TimeoutError
        self._socket.settimeout(left_s)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Close the socket's file, too."""
        self._raw.close()
        super().close()


def _lines(stream: Any, due: float) -> Iterator[bytes]:
    """The lines of a stream as they come. Raises TimeoutError past ``due``, ValueError for one without an end."""
    rest = b""
    while chunk := stream.read1(2**16):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
        if len(rest) > _LONGEST_REPLY_BYTES:
            raise ValueError("a line without an end")
        if time.perf_counter() > due:
            raise TimeoutError
    yield rest


def _body(model: str, probe: Probe, seed: int, picture_seed: int) -> dict[str, Any]:
    """A chat completion that is asked for once only: random words, a random picture, and no early end.

    With one seed, probes of as many words have the same text, whether there is a picture before it or not.
    """
    rng = random.Random(f"{seed} {probe.words}")
    text = " ".join(rng.choice(_WORDS) for _ in range(probe.words))
    content: list[dict[str, Any]] = [{"type": "text", "text": f"{seed} {text}"}]
    if probe.image is not None:
        picture = base64.b64encode(noise_png(*probe.image, picture_seed)).decode()
        content.insert(0, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}})
    return {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": probe.output_tokens,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
    }


def noise_png(width: int, height: int, seed: int) -> bytes:
    """Return a PNG of random pixels. Raises Unavailable without Pillow."""
    try:
        from PIL import Image
    except ImportError:
        raise Unavailable("Pillow is not installed, which draws the pictures; pip install pillow") from None
    content = io.BytesIO()
    pixels = random.Random(seed).randbytes(3 * width * height)
    Image.frombytes("RGB", (width, height), pixels).save(content, format="PNG", compress_level=1)
    return content.getvalue()
