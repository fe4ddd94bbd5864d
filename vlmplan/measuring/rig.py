"""Where the machine enters: a trial -> something that runs it and says how long it took.

Networks are drawn with random weights, written to a scratch folder as ``export`` writes them, and loaded by the runtime
that will serve: ONNX Runtime, or transformers. A decode trial begins with a cache of zeros and is the mean of its
steps, the first left out, as a time per output token is.
"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vlmplan.checkpoints import (
    Checkpoint,
    RandomWeights,
    Reference,
    canonical,
    compression,
    parameter_shapes,
    quiet_transformers,
    random_reference,
)
from vlmplan.exporting import DECODER, EMBED, VISION, ExportOrder, OnnxModel, Parts, write_graph
from vlmplan.hardware import SERVING, Precision, Runs, Setup
from vlmplan.measuring.observation import Quantity
from vlmplan.measuring.timing import Runner
from vlmplan.measuring.trials import STEPS, Network, Trial, config_of, decoder_only


class Rig(Protocol):
    """The machine with a runtime on it."""

    def model(self, network: Network) -> Any:
        """Return the network, built and loaded when first asked for."""

    def release(self) -> None:
        """Forget the networks built so far."""


def random_parts(network: Network) -> Parts:
    """Return a network as an export draws it, its weights random."""
    import torch

    config = config_of(network)
    with torch.device("meta"):
        model = quiet_transformers().AutoModelForImageTextToText.from_config(config)
    shapes = {canonical(name): tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    checkpoint = Checkpoint(
        name=network.name, folder=Path("/nonexistent"), config=config, tensors=RandomWeights(shapes=shapes)
    )
    plan = compression(network.compressor, checkpoint.grid_side, network.visual_tokens)
    own = RandomWeights(shapes=parameter_shapes(checkpoint, plan)) if plan.learned else None
    order = ExportOrder(
        checkpoint=network.name,
        visual_tokens=network.visual_tokens,
        compressor=network.compressor,
        precision=network.precision,
        base_precision=network.base_precision,
    )
    return Parts(order=order, checkpoint=checkpoint, compression=plan, compressor=own)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Vision:
    """The tower, the compressor and the projector on random images."""

    model: Any
    pixels: Any
    query: Any | None

    def run(self) -> dict[str, float]:
        """Run once."""
        start = time.perf_counter()
        self.model.image_features(self.pixels, self.query)
        return {Quantity.VISION.value: time.perf_counter() - start}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prefill:
    """The LLM's pass over a prompt, embeddings included."""

    model: Any
    ids: Any

    def run(self) -> dict[str, float]:
        """Run once."""
        import numpy as np

        start = time.perf_counter()
        self.model.step(self.model.embeds(self.ids), np.ones_like(self.ids), None)
        return {Quantity.PREFILL.value: time.perf_counter() - start}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decode:
    """Steps after a context."""

    model: Any
    batch: int
    context: int

    def run(self) -> dict[str, float]:
        """Run ``STEPS`` steps; the first is not counted."""
        import numpy as np

        cache = self.model.zero_cache(self.batch, self.context)
        ids = np.ones((self.batch, 1), np.int64)
        mask = np.ones((self.batch, self.context), np.int64)
        times = []
        for _ in range(STEPS):
            times.append(time.perf_counter())
            embeds = self.model.embeds(ids)
            mask = np.concatenate([mask, np.ones_like(mask[:, :1])], axis=1)
            logits, _, cache = self.model.step(embeds, mask, cache)
            ids = logits.argmax(axis=-1)[:, None].astype(np.int64)
        return {Quantity.TPOT.value: (time.perf_counter() - times[1]) / (STEPS - 1)}


def runner_of(model: Any, trial: Trial) -> Runner:
    """Return what runs ``trial`` on a model that is loaded."""
    import numpy as np

    rng = np.random.default_rng(0)
    if trial.quantity is Quantity.TPOT:
        return _Decode(model=model, batch=trial.batch, context=trial.tokens)
    if trial.quantity is Quantity.PREFILL:
        ids = rng.integers(5, trial.network.vocabulary, (trial.batch, trial.tokens))
        return _Prefill(model=model, ids=ids)
    config = config_of(trial.network)
    size = config.vision_config.image_size
    quecc = trial.network.reads_question
    return _Vision(
        model=model,
        pixels=rng.standard_normal((trial.batch, 3, size, size), np.float32),
        query=rng.standard_normal((trial.batch, config.text_config.hidden_size), np.float32) if quecc else None,
    )


class OnnxRig:
    """ONNX Runtime on ``provider``. Graphs are written below ``scratch``; networks with one decoder share it."""

    def __init__(self, scratch: Path, provider: str, threads: int) -> None:
        """Nothing is built yet."""
        self.scratch, self.provider, self.threads = scratch, provider, threads
        self._decoders: dict[Network, OnnxModel] = {}
        self._built: dict[Network, OnnxModel] = {}
        self._folders = 0

    def _write(self, parts: Parts, names: tuple[str, ...], shared: dict[str, Any]) -> OnnxModel:
        folder = self.scratch / f"network-{self._folders}"
        self._folders += 1
        folder.mkdir()
        for name in names:
            write_graph(folder / name, parts.graph(name), True, lambda *_: None)
        model = OnnxModel(folder, self.provider, self.threads, shared)
        for name in names:
            model.session(name)
        shutil.rmtree(folder, ignore_errors=True)  # loaded: the files are not read again
        return model

    def model(self, network: Network) -> OnnxModel:
        """Return the network's sessions, built when first asked for. Raises InputError or Unavailable."""
        if network not in self._built:
            parts = random_parts(network)
            decoder = decoder_only(network)
            if decoder not in self._decoders:
                self._decoders[decoder] = self._write(parts, (DECODER, EMBED), {})
            shared = dict(self._decoders[decoder].sessions)
            self._built[network] = self._write(parts, (VISION,), shared)
        return self._built[network]

    def release(self) -> None:
        """Forget the networks built so far."""
        self._decoders.clear()
        self._built.clear()


class TorchRig:
    """transformers on a torch device, 16 bit on GPUs."""

    def __init__(self, device: str, threads: int) -> None:
        """Nothing is built yet."""
        import torch

        torch.set_num_threads(threads)
        self.device, self._built = device, {}  # type: tuple[str, dict[Network, Reference]]

    def model(self, network: Network) -> Reference:
        """Return the network's model, built when first asked for."""
        if network not in self._built:
            parts = random_parts(network)
            kind = "float32" if network.base_precision is Precision.FP32 else "float16"
            self._built[network] = random_reference(parts.checkpoint, parts.compression, self.device, kind)
        return self._built[network]

    def release(self) -> None:
        """Forget the networks built so far."""
        self._built.clear()


def rig(setup: Setup, scratch: Path) -> Rig:
    """Return the rig of a setup."""
    if SERVING[setup.runtime].runs is Runs.MODULES:
        return TorchRig(setup.device, setup.threads)
    return OnnxRig(scratch, "cuda" if setup.on_gpu else "cpu", setup.threads)
