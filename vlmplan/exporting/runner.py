"""How is an export run? ONNX Runtime sessions, and the loop that generates.

Image and token ids in, token ids and timings out. The KV cache stays where it was made (IO binding): on a GPU it never
crosses to the host. A provider that was asked for and is not the one in use is an error, never a silent fall-back.
"""

import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vlmplan.errors import InputError, Unavailable, one_line
from vlmplan.exporting.allowance import Allowance, LimitedSession
from vlmplan.exporting.manifest import DECODER, EMBED, VISION
from vlmplan.exporting.positions import Positions, positions_of
from vlmplan.extras import require
from vlmplan.graphs import GRID_NAMES
from vlmplan.hardware import PROVIDERS, refused_on_cuda

PIXEL_MASK = "pixel_attention_mask"  # which pixels are no padding, by the name that processors give it
PATCH_GRID = "image_grid_thw"  # patches of each image in time, height and width, likewise
VIEW_SHAPES = "spatial_shapes"  # rows and columns of patches of each view, likewise
_FEATURES = "image_features"  # of the vision encoder, and of embeddings that put them in their places themselves
_CACHES = (("present_conv", "past_conv"), ("present", "past_key_values"))  # how outputs become inputs
PICTURE_SIZES = "image_sizes"  # height and width of each picture, likewise
# What ONNX Runtime says of a tensor that does not fit the room which its declared shape was given.
_SHARED = re.compile(r"attempting to re-use buffer\. (\{[0-9,]*\}) != (\{[0-9,]*\})")
# How ONNX Runtime rounds activations before products that it makes of DequantizeLinear and MatMul; 1 is not at all.
_ACTIVATIONS = "session.qdq_matmulnbits_accuracy_level"
_SPATIAL = 3  # dimensions of positions that are in time, height and width
_PLANE = 2  # numbers of a picture's size: height and width
_DATA_FOLDER = "session.model_external_initializers_file_folder_path"  # of a graph that is given as bytes


class Model(Protocol):
    """What generates: an export, or the PyTorch reference."""

    def image_features(
        self, pixel_values: Any, query: Any | None = None, mask: Any | None = None, grid: Any | None = None
    ) -> Any:
        """``[batch, 3, size, size] -> [batch, visual tokens, LLM width]``.

        With masked tiles ``[batch, tiles, 3, size, size] -> [all tiles, tokens of a tile, LLM width]``; ``mask [batch,
        tiles, size, size]`` says which pixels are no padding. Other tiles are a batch of their own. With a ``grid
        [images, 3]`` of patches ``[all patches, numbers of a patch] -> [all tokens, LLM width]``; with one of heights
        and widths in pixels, ``[images, 2]``, ``[images, 3, height, width] -> [all tokens, LLM width]``. With shapes
        ``[views, 2]`` as the grid ``[views, patches, numbers of a patch]``, whose ``mask [views, patches]`` says what
        is no padding, ``-> [all tokens, LLM width]``.
        """

    def embeds(self, input_ids: Any) -> Any:
        """``[batch, tokens] -> [batch, tokens, LLM width]``."""

    def step(self, embeds: Any, mask: Any, cache: Any | None, positions: Any | None = None) -> tuple[Any, Any, Any]:
        """Return (last token's logits ``[batch, vocabulary]``, its final hidden state or None, the cache).

        ``positions [3, batch, new tokens]`` are those of a model that has them in time, height and width.
        """


def _unrounded(path: Path) -> bytes:
    """A graph whose quantised products read activations as they are (``accuracy_level`` 1), not rounded to 8 bits."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "MatMulNBits" and attribute.name == "accuracy_level":
                attribute.i = 1
    return bytes(model.SerializeToString())


def open_session(
    path: Path,
    provider: str,
    threads: int | None,
    unrounded: bool = False,
    allowance: Allowance | None = None,
) -> Any:
    """Return a session on ``provider`` ('cpu' or 'cuda'). Raises Unavailable where that is not what is used.

    With ``unrounded`` activations are not rounded: a hundred times slower than what is served, and exact. With an
    ``allowance`` loading and every run end where it does.
    """
    require("onnxruntime")
    import onnxruntime

    if not path.is_file():
        raise InputError(f"{path}: found no such file; expected a graph")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # An export is three sessions: the idle ones' threads must not spin on the cores that the next one needs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    wanted = PROVIDERS[provider]
    chain = [wanted] if provider == "cpu" else [wanted, PROVIDERS["cpu"]]
    known = onnxruntime.get_available_providers()
    if wanted not in known:
        raise Unavailable(
            f"provider {provider} is not in this onnxruntime ({', '.join(known)}); install onnxruntime-gpu in its "
            "place (extra deploy-gpu)"
        )
    if provider != "cpu" and (old := refused_on_cuda(onnxruntime.__version__)):
        raise Unavailable(f"provider {provider}: {old}")
    graph: Path | bytes = path
    if unrounded:
        graph = _unrounded(path)
        options.add_session_config_entry(_DATA_FOLDER, str(path.parent))
        options.add_session_config_entry(_ACTIVATIONS, "1")

    def load() -> Any:
        return onnxruntime.InferenceSession(graph, options, providers=chain)

    with _using(f"{path}: ONNX Runtime cannot load it"):
        session = load() if allowance is None else allowance.call(f"loading {path.name}", load)
    if session.get_providers()[0] != wanted:
        raise Unavailable(
            f"provider {provider} was asked for and {session.get_providers()[0]} is in use: is there a GPU, with the "
            "CUDA and cuDNN that this onnxruntime-gpu needs?"
        )
    return session if allowance is None else LimitedSession(session, path.name, allowance)


@contextmanager
def _using(said: str) -> Iterator[None]:
    """Say in one line what ONNX Runtime could not do."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # onnxruntime raises a dozen types of its own, and bare RuntimeErrors
        raise InputError(f"{said} ({one_line(error, 300)})") from None


@contextmanager
def _running(what: str) -> Iterator[None]:
    """Name the graph that ONNX Runtime could not run, in one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # onnxruntime raises a dozen types of its own, and bare RuntimeErrors
        if shapes := _SHARED.search(str(error)):
            raise InputError(
                f"the {what} declares {shapes[1]} where it makes {shapes[2]}; build it for cuda, or in fp32 or int4 "
                "(onnxruntime-genai's builder does so in fp16 for cpu, and ONNX Runtime shares memory by what is "
                "declared)"
            ) from None
        raise InputError(f"ONNX Runtime cannot run the {what} ({one_line(error, 300)})") from None


class OnnxModel:
    """An export's three sessions, loaded when first used."""

    def __init__(
        self,
        folder: Path,
        provider: str = "cpu",
        threads: int | None = None,
        sessions: dict[str, Any] | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        """Nothing is loaded yet, but for ``sessions`` by graph that another model shares with this one.

        ``allowance`` is the time that the graphs may take.
        """
        self.folder, self.provider, self.threads, self.allowance = folder, provider, threads, allowance
        self.sessions: dict[str, Any] = sessions or {}

    def session(self, graph: str) -> Any:
        """Return the session of one of the graphs. Raises InputError or Unavailable."""
        if graph not in self.sessions:
            self.sessions[graph] = open_session(
                self.folder / graph, self.provider, self.threads, allowance=self.allowance
            )
        return self.sessions[graph]

    def unrounded(self) -> "OnnxModel":
        """Return this export with its decoder's activations as they are, not rounded to 8 bits where it is quantised.

        Rounding makes a step of the last bit of a sum, so that any other order of summation moves all that follows.
        """
        decoder = open_session(self.folder / DECODER, self.provider, self.threads, True, self.allowance)
        sessions = {**self.sessions, DECODER: decoder}
        return OnnxModel(self.folder, self.provider, self.threads, sessions, self.allowance)

    def image_features(
        self, pixel_values: Any, query: Any | None = None, mask: Any | None = None, grid: Any | None = None
    ) -> Any:
        """As :class:`Model` has it; without a mask every pixel is seen."""
        import numpy as np

        feeds = {"pixel_values": pixel_values}
        names = {value.name for value in self.session(VISION).get_inputs()}
        if VIEW_SHAPES in names:
            if grid is None or mask is None:
                raise InputError("this export reads views of patches; give their shapes and mask")
            feeds |= {VIEW_SHAPES: grid.astype(np.int64), PIXEL_MASK: mask.astype(np.int64)}
        elif PIXEL_MASK in names:
            shape = (*pixel_values.shape[:2], *pixel_values.shape[-2:])
            feeds[PIXEL_MASK] = np.ones(shape, bool) if mask is None else mask.astype(bool)
        if given := names & set(GRID_NAMES.values()):
            if grid is None:
                raise InputError("this export reads the grid of an image's patches; give one")
            feeds[given.pop()] = grid
        if "text_query" in names:
            if query is None:
                raise InputError("this export reads the question (QueCC); give one")
            feeds["text_query"] = query
        if grid is not None and grid.shape[1] == _PLANE and VIEW_SHAPES not in names:
            return self._pictures(self.session(VISION), pixel_values, grid)
        return self._seen(["image_features"], feeds)["image_features"]

    def selected(self, pixel_values: Any) -> tuple[Any, dict[str, Any]]:
        """``image_features`` of an export that selects tokens, and what it chose, by the names of its outputs."""
        names = [value.name for value in self.session(VISION).get_outputs()]
        outputs = self._seen(names, {"pixel_values": pixel_values})
        return outputs.pop("image_features"), outputs

    def _seen(self, outputs: list[str], feeds: dict[str, Any]) -> dict[str, Any]:
        """Outputs of the vision encoder, by name."""
        session = self.session(VISION)
        with _running("vision encoder"):
            return dict(zip(outputs, session.run(outputs, feeds), strict=True))

    def _pictures(self, session: Any, pixel_values: Any, sizes: Any) -> Any:
        """Features of pictures of unlike sizes, one after the other: a run takes one size, without its padding."""
        import numpy as np

        features = []
        for picture, (high, wide) in zip(pixel_values, sizes, strict=True):
            own = np.ascontiguousarray(picture[None, :, :high, :wide])
            with _running("vision encoder"):
                features.append(session.run(["image_features"], {"pixel_values": own})[0])
        return np.concatenate([one.reshape(-1, one.shape[-1]) for one in features])

    def embeds(self, input_ids: Any) -> Any:
        """``[batch, tokens] -> [batch, tokens, LLM width]``."""
        return self._embedded(input_ids, None)

    def merged(self, input_ids: Any, features: Any) -> Any:
        """As ``embeds``, with image features in their places by the graph itself, of an export whose graph does so."""
        return self._embedded(input_ids, features)

    def _embedded(self, input_ids: Any, features: Any | None) -> Any:
        import numpy as np

        session, feeds = self.session(EMBED), {"input_ids": input_ids}
        if _FEATURES in {value.name for value in session.get_inputs()}:
            width = session.get_outputs()[0].shape[-1]
            feeds[_FEATURES] = np.zeros((0, width), np.float32) if features is None else features
        with _running("embeddings"):
            return session.run(["inputs_embeds"], feeds)[0]

    def step(self, embeds: Any, mask: Any, cache: Any | None, positions: Any | None = None) -> tuple[Any, Any, Any]:
        """Run the decoder on new tokens after ``cache``; ``mask`` covers both."""
        feeds = {"inputs_embeds": embeds} | ({} if positions is None else {"position_ids": positions})
        return decoder_step(self.session(DECODER), feeds, mask, cache, device=self.provider)

    def zero_cache(self, batch: int, tokens: int) -> Any:
        """Return a cache of ``tokens`` zeros: as slow to read as any other."""
        return empty_cache(self.session(DECODER), batch, self.provider, tokens=tokens)


def decoder_step(
    session: Any, feeds: dict[str, Any], mask: Any, cache: dict[str, Any] | None, device: str
) -> tuple[Any, Any, Any]:
    """One call of a decoder session; the cache goes from output to input without a copy to the host.

    Without a ``cache`` an empty one is made, of the widths that the graph declares.
    """
    logits, hidden, kept = decoder_pass(session, feeds, mask, cache, device)
    return logits[:, -1], None if hidden is None else hidden[:, -1], kept


def decoder_pass(
    session: Any, feeds: dict[str, Any], mask: Any, cache: dict[str, Any] | None, device: str
) -> tuple[Any, Any, Any]:
    """As ``decoder_step``, with logits and hidden states of as many last tokens as the graph gives."""
    import numpy as np

    tokens = next(iter(feeds.values())).shape[1]
    positions = (mask.cumsum(-1) - 1).clip(min=0)[:, -tokens:]
    names = {value.name: value.shape for value in session.get_inputs()}
    if len(names.get("position_ids", ())) == _SPATIAL:
        positions = np.broadcast_to(positions, (3, *positions.shape))
    given = {"position_ids": positions, **feeds, "attention_mask": mask}
    given["use_cache_branch"] = np.array([mask.shape[1] > tokens])  # of graphs that have one branch with a cache
    binding = session.io_binding()
    outputs = [value.name for value in session.get_outputs()]
    if "logits" not in outputs:
        raise InputError(f"the decoder gives {', '.join(outputs[:4])}; expected logits")
    with _running("decoder"):
        for name in names.keys() & given:
            binding.bind_cpu_input(name, np.ascontiguousarray(given[name]))
        for name, value in (cache or empty_cache(session, mask.shape[0], device)).items():
            binding.bind_ortvalue_input(name, value)
        for name in outputs:
            binding.bind_output(name, device if name.startswith("present") else "cpu")
        session.run_with_iobinding(binding)
    by_name = dict(zip(outputs, binding.get_outputs(), strict=True))
    kept = {_as_input(name): value for name, value in by_name.items() if name.startswith("present")}
    hidden = by_name["last_hidden_state"].numpy() if "last_hidden_state" in by_name else None
    return by_name["logits"].numpy(), hidden, kept


def _as_input(name: str) -> str:
    """An output of the cache by the name of the input that it goes to."""
    output, given = next(pair for pair in _CACHES if name.startswith(pair[0]))
    return name.replace(output, given, 1)


def empty_cache(
    session: Any, batch: int, device: str, heads: tuple[int, int] = (0, 0), tokens: int = 0
) -> dict[str, Any]:
    """A cache of no tokens, or of so many zeros, in the graph's types and widths.

    ``heads`` (KV heads, head dim) where it declares none. What short convolutions keep has always its own length.
    """
    import numpy as np
    import onnxruntime

    cache = {}
    for value in session.get_inputs():
        kind = np.float16 if value.type == "tensor(float16)" else np.float32
        if value.name.startswith("past_conv"):
            shape = (batch, *value.shape[1:])
            cache[value.name] = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(shape, kind), device)
        if value.name.startswith("past_key_values"):
            declared = (value.shape[1], value.shape[3])
            kv_heads, width = (one if isinstance(one, int) else due for one, due in zip(declared, heads, strict=True))
            shape = (batch, kv_heads, tokens, width)
            cache[value.name] = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(shape, kind), device)
    return cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A question ready for a model: ``input_ids`` and ``attention_mask [batch, tokens]``, image tokens in place.

    ``pixel_values [batch, 3, size, size]``, or None without an image; ``question_ids`` is the bare question, for QueCC.
    With masked tiles ``pixel_values [batch, tiles, 3, size, size]`` and perhaps ``pixel_mask [batch, tiles, size,
    size]``; other tiles are one list, ``[all tiles, 3, size, size]``. With a ``grid [images, 3]`` of patches in time,
    height and width ``pixel_values [all patches, numbers of a patch]``, ``merge`` of a side to a token; with one of
    heights and widths in pixels, ``[images, 2]``, ``pixel_values [images, 3, height, width]``, padded to one size. With
    ``shapes [views, 2]``, rows and columns of patches, ``pixel_values [views, patches, numbers of a patch]`` and
    ``pixel_mask [views, patches]``.
    """

    input_ids: Any
    attention_mask: Any
    pixel_values: Any | None
    pixel_mask: Any | None = None
    grid: Any | None = None
    shapes: Any | None = None
    merge: int = 1
    question_ids: Any | None = None
    image_token: int = -1

    @property
    def layout(self) -> Any | None:
        """How patches lie in images, where pixels are patches: the grid, or the shapes of views."""
        return self.shapes if self.grid is None else self.grid

    @property
    def positions(self) -> Positions | None:
        """Where its tokens stand in time, height and width, of a prompt with grids. Raises InputError."""
        if self.grid is None or self.grid.shape[1] == _PLANE:
            return None
        return positions_of(self.input_ids, self.attention_mask, self.image_token, self.grid // (1, *[self.merge] * 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What came out, and when. ``token_s`` is the time from the start to each token, the first TTFT."""

    tokens: tuple[int, ...]
    logits: tuple[Any, ...]
    vision_s: float
    prefill_s: float
    token_s: tuple[float, ...]

    @property
    def ttft_s(self) -> float:
        """Time to the first token."""
        return self.token_s[0]

    @property
    def tpot_s(self) -> float | None:
        """Mean time of the further tokens; None where there are none."""
        more = len(self.token_s) - 1
        return (self.token_s[-1] - self.token_s[0]) / more if more else None

    def margins(self, whose: str) -> tuple[float, ...]:
        """Return by how much each token led the next likeliest, in logits.

        Raises InputError, naming ``whose`` they are, where these are no numbers: then no token was chosen at all.
        """
        import numpy as np

        pairs = [np.partition(row, -2)[-2:] for row in self.logits]  # NaN sorts last
        for number, pair in enumerate(pairs, 1):
            if not np.isfinite(pair).all():
                raise InputError(
                    f"{whose}: found {pair[1]:g} and {pair[0]:g} as the largest logits of answer token {number}, "
                    "expected finite numbers; are there such in its weights, or too large ones for its precision?"
                )
        return tuple(float(pair[1] - pair[0]) for pair in pairs)


def question_embedding(model: Model, question_ids: Any) -> Any:
    """``[batch, tokens] -> [batch, LLM width]``: the last token's final hidden state, by an LLM pass of its own."""
    import numpy as np

    return model.step(model.embeds(question_ids), np.ones_like(question_ids), None)[1]


def prompt_embeds(model: Model, prompt: Prompt) -> Any:
    """Embeddings of the prompt with the image's features in their places. Raises InputError where counts differ."""
    embeds = model.embeds(prompt.input_ids)
    if prompt.pixel_values is None:
        return embeds
    query = None if prompt.question_ids is None else question_embedding(model, prompt.question_ids)
    features = model.image_features(prompt.pixel_values, query, prompt.pixel_mask, prompt.layout)
    places, sizes = prompt.input_ids == prompt.image_token, features.shape[:-1]
    if places.sum() != math.prod(sizes):
        raise InputError(
            f"the prompt has {places.sum()} image tokens, the vision encoder makes {' x '.join(map(str, sizes))}"
        )
    embeds = embeds.copy()
    embeds[places] = features.reshape(-1, features.shape[-1])
    return embeds


def stepped(model: Model, embeds: Any, mask: Any, cache: Any | None, positions: Positions | None) -> Any:
    """One ``step`` of a model, at ``positions`` where it has them in time, height and width."""
    if positions is None:
        return model.step(embeds, mask, cache)
    return model.step(embeds, mask, cache, positions.of(mask, embeds.shape[1]))


def generate(
    model: Model, prompt: Prompt, limit: int, stop: frozenset[int] = frozenset(), forced: tuple[int, ...] = ()
) -> Generation:
    """Decode greedily up to ``limit`` tokens or one of ``stop``; ``forced`` tokens are fed whatever was likeliest.

    A batch of one prompt repeated is told by its first row. ``logits`` holds what each token was chosen from.
    """
    import numpy as np

    start = time.perf_counter()
    embeds = prompt_embeds(model, prompt)
    seen = time.perf_counter()
    mask, cache, positions = prompt.attention_mask, None, prompt.positions
    tokens: list[int] = []
    logits, times = [], []
    while True:
        scores, _, cache = stepped(model, embeds, mask, cache, positions)
        chosen = scores.argmax(axis=-1)
        token = int(chosen[0])
        tokens.append(token)
        logits.append(scores[0])
        times.append(time.perf_counter() - start)
        if len(tokens) == limit or token in stop:
            break
        if len(tokens) <= len(forced):
            chosen[:] = forced[len(tokens) - 1]
        embeds = model.embeds(chosen[:, None].astype(np.int64))
        mask = np.concatenate([mask, np.ones_like(mask[:, :1])], axis=1)
    return Generation(
        tokens=tuple(tokens),
        logits=tuple(logits),
        vision_s=seen - start,
        prefill_s=times[0] - (seen - start),
        token_s=tuple(times),
    )
