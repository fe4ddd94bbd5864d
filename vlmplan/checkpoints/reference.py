"""What should come out? The checkpoint run by PyTorch, as transformers loads it: the measure of an export.

Image features go through transformers' own tower, the torch compressor and the projector; text through its own LLM.
Prefill and decode are separate steps, as the runner's are, so that both are compared like with like.
"""

import copy
from dataclasses import dataclass, replace
from typing import Any

from vlmplan.checkpoints.checkpoint import Checkpoint, head_dim, quiet_transformers
from vlmplan.checkpoints.compressors import parameter_shapes
from vlmplan.checkpoints.families.gemma import pooled_config
from vlmplan.checkpoints.families.gemma_torch import (
    as_marked,
    embedded,
    pooled_features,
    projected_tokens,
    prompted_step,
)
from vlmplan.checkpoints.families.lfm2 import hybrid_zeros, view_features
from vlmplan.checkpoints.families.qwen_vl import apart, wide_embeds, wide_features
from vlmplan.checkpoints.regions import Compression
from vlmplan.checkpoints.tensors import Weights, canonical


def _forget_lengths(model: Any) -> None:
    """Set rotary frequencies that grow with a text back to those of a new one.

    transformers keeps those of the longest text before, for texts that are longer than the model was trained for.
    """
    for module in model.modules():
        if getattr(module, "rope_type", None) == "dynamic" and hasattr(module, "original_inv_freq"):
            module.register_buffer("inv_freq", module.original_inv_freq.clone(), persistent=False)
            module.max_seq_len_cached = module.original_max_seq_len


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The model in PyTorch. ``model`` is transformers', ``compressor`` a torch module with weights loaded.

    Numpy goes in and comes out, on whichever device and in whichever precision the model is.
    """

    checkpoint: Checkpoint
    compression: Compression
    model: Any
    compressor: Any

    def _tensor(self, values: Any) -> Any:
        """An array on the model's device; floats in its precision."""
        import torch

        found = torch.from_numpy(values).to(self.model.device)
        return found.to(self.model.dtype) if found.is_floating_point() else found

    def image_features(
        self, pixel_values: Any, query: Any | None = None, mask: Any | None = None, grid: Any | None = None
    ) -> Any:
        """``[batch, 3, size, size] -> [batch, visual tokens, LLM width]`` (numpy in, numpy out).

        Of masked tiles ``[batch, tiles, 3, size, size] -> [all tiles, tokens of a tile, LLM width]``; their
        ``mask [batch, tiles, size, size]`` says which pixels are no padding. Other tiles are a batch of their own.
        Of whole pictures ``grid [images, 2]`` are their heights and widths. With a ``grid [images, 3]`` of patches
        ``[all patches, numbers of a patch] -> [all tokens, LLM width]``, and of DeepStack the features of each layer
        beside them; with shapes of views ``[views, 2]`` as the grid and their mask ``[views, patches, numbers of a
        patch]`` likewise.
        """
        import torch

        if self.checkpoint.shaped:
            with torch.inference_mode():
                given = [self._tensor(part) for part in (pixel_values, mask, grid)]
                pooled = self.compression.factor // self.checkpoint.joined_side
                return view_features(self.model, pooled, *given).float().cpu().numpy()
        if self.checkpoint.tiled:
            return self._tile_features(pixel_values, mask, grid)
        with torch.inference_mode():
            pixels = self._tensor(pixel_values)
            if self.checkpoint.pooled and not self.compression.compressor.selects:
                return pooled_features(self.model, self.compressor, pixels).float().cpu().numpy()
            read = self._read(pixels, None if query is None else self._tensor(query))
            return self._finished(self.compressor(read)).float().cpu().numpy()

    def features_by(self, pixel_values: Any, choice: dict[str, Any]) -> tuple[Any, float]:
        """``image_features`` of the tokens that somebody chose, and by how much that choice falls short of its own.

        ``choice`` is what an export that selects gives beside its features, by name.
        """
        import torch

        with torch.inference_mode():
            read = self._read(self._tensor(pixel_values), None)
            given = {name: self._tensor(values) for name, values in choice.items()}
            found = self._finished(self.compressor.keep(read, given)).float().cpu().numpy()
            return found, self.compressor.shortfall(read, given)

    def _read(self, pixels: Any, query: Any | None) -> Any:
        """What the compressor reads: patches as the tower gives them, or tokens as the projector makes them."""
        from vlmplan.checkpoints.torch_compressors import Features, features_of, gaze_of

        if self.checkpoint.pooled:
            return Features(patches=projected_tokens(self.model, pixels))
        tower, kind = self.model.model.vision_tower, self.compression.compressor
        states = tower(pixels, output_hidden_states=True).hidden_states
        found = features_of(states, self.checkpoint.config, self.compression, query)
        if kind.selects and not kind.reads_projected:
            return replace(found, gaze=gaze_of(tower, states, self.checkpoint.config))
        if not kind.reads_projected:
            return found
        return replace(found, patches=self.model.model.multi_modal_projector(found.patches))

    def _finished(self, compressed: Any) -> Any:
        """What the LLM reads of what the compressor leaves."""
        if self.checkpoint.pooled:
            return as_marked(self.model, compressed)
        if self.compression.compressor.reads_projected:
            return compressed
        return self.model.model.multi_modal_projector(compressed)

    def _tile_features(self, pixel_values: Any, mask: Any | None, grid: Any | None) -> Any:
        """What transformers' own method makes of tiles."""
        import torch

        with torch.inference_mode():
            pixels = self._tensor(pixel_values)
            if self.checkpoint.pictured:
                sizes = [list(pixels.shape[-2:])] * len(pixels) if grid is None else grid.tolist()
                return self._picture_features(pixels, sizes).float().cpu().numpy()
            if self.checkpoint.gridded:
                return self._grid_features(pixels, self._tensor(grid)).float().cpu().numpy()
            if not self.checkpoint.masked:
                return self.model.get_image_features(pixels).pooler_output.float().cpu().numpy()
            seen = None if mask is None else self._tensor(mask)
            found = torch.cat(self.model.get_image_features(pixels, seen).pooler_output)
            return found.unflatten(0, (-1, self.compression.visual_tokens)).float().cpu().numpy()

    def _picture_features(self, pixels: Any, sizes: list[list[int]]) -> Any:
        """What transformers' own method makes of whole pictures of heights and widths in pixels.

        Of one square alone it drops the dimension of its one token (``squeeze`` in ``get_image_features`` of its
        ``models/mistral3``, 5.23.0) and fails, so that such a picture is read beside itself.
        """
        import torch

        side = self.checkpoint.image_size
        if len(sizes) == 1 and all(length // side == 1 for length in sizes[0]):
            return self.model.get_image_features(torch.cat((pixels, pixels)), sizes * 2).pooler_output[0]
        return torch.cat(self.model.get_image_features(pixels, sizes).pooler_output)

    def _grid_features(self, pixels: Any, grid: Any) -> Any:
        """What transformers' own method makes of patches, and of larger squares the mean of their tokens."""
        import torch

        own, side = self.checkpoint.joined_side, self.compression.factor
        pooled = side // own
        if pooled == 1:
            return wide_features(self.model.get_image_features(pixels, grid))
        # Patches come square by square; the model's own squares are the smaller ones, row by row over the whole image.
        parts = []
        for one, (frames, rows, columns) in zip(pixels.split(grid.prod(-1).tolist()), grid.tolist(), strict=True):
            lines = one.unflatten(0, (frames, rows // side, columns // side, side, side)).transpose(2, 3)
            lines = lines.reshape(frames, rows // own, own, columns // own, own, -1).transpose(2, 3)
            parts.append(lines.reshape(len(one), -1))
        found = []
        tokens = wide_features(self.model.get_image_features(torch.cat(parts), grid))
        counts = (grid.prod(-1) // own**2).tolist()
        for one, (frames, rows, columns) in zip(tokens.split(counts), grid.tolist(), strict=True):
            regions = one.unflatten(0, (frames, rows // side, pooled, columns // side, pooled))
            found.append(regions.mean(dim=(2, 4)).flatten(0, 2))
        return torch.cat(found)

    def embeds(self, input_ids: Any) -> Any:
        """Token ids ``[batch, tokens]`` to embeddings."""
        import torch

        with torch.inference_mode():
            found = embedded(self.model, self._tensor(input_ids))
            return wide_embeds(found, len(self.checkpoint.stacked_layers)).float().cpu().numpy()

    def step(self, embeds: Any, mask: Any, cache: Any | None, positions: Any | None = None) -> tuple[Any, Any, Any]:
        """One call of the LLM: (last token's logits ``[batch, vocabulary]``, its final hidden state, the cache).

        ``positions [3, batch, new tokens]`` are those in time, height and width, where they are not the mask's.
        """
        import torch

        if cache is None:
            _forget_lengths(self.model)
        with torch.inference_mode():
            attention = self._tensor(mask)
            if self.checkpoint.pooled:
                logits, kept = prompted_step(self.model, self._tensor(embeds), attention, cache)
                return logits.float().cpu().numpy(), None, kept
            counted = (attention.cumsum(-1) - 1).clamp(min=0)[:, -embeds.shape[1] :]
            found = self.model.get_decoder()(
                **apart(self._tensor(embeds), len(self.checkpoint.stacked_layers)),
                attention_mask=attention,
                position_ids=counted if positions is None else self._tensor(positions),
                past_key_values=cache,
                use_cache=True,
            )
            last = found.last_hidden_state[:, -1]
            logits = self.model.lm_head(last).float().cpu().numpy()
            return logits, last.float().cpu().numpy(), found.past_key_values

    def zero_cache(self, batch: int, tokens: int) -> Any:
        """Return a cache of ``tokens`` zeros."""
        import torch
        from transformers import DynamicCache

        text, cache = self.checkpoint.text, DynamicCache()
        if self.checkpoint.shaped:
            return hybrid_zeros(text, head_dim(text), batch, tokens, next(self.model.parameters()))
        shape = (batch, text.num_key_value_heads, tokens, head_dim(text))
        for layer in range(text.num_hidden_layers):
            keys = torch.zeros(shape, dtype=self.model.dtype, device=self.model.device)
            cache.update(keys, keys.clone(), layer)
        return cache


def load_reference(checkpoint: Checkpoint, plan: Compression, weights: Weights | None) -> Reference:
    """Load the checkpoint with transformers in fp32, and the compressor's weights into its module."""
    from vlmplan.checkpoints.torch_compressors import compressor_module

    model = _loaded(checkpoint, plan).eval()
    width = checkpoint.tower.hidden_size * len(checkpoint.read_layers)
    module = compressor_module(plan, width, checkpoint.text.hidden_size).eval()
    if weights is not None:
        _load(model, module, weights, parameter_shapes(checkpoint, plan))
    return Reference(checkpoint=checkpoint, compression=plan, model=model, compressor=module)


def _loaded(checkpoint: Checkpoint, plan: Compression) -> Any:
    """The model as transformers loads it; of a Gemma one that pools as ``plan`` has it.

    Of InternVL's first format its class, filled under transformers' names.
    """
    import torch

    kind = quiet_transformers().AutoModelForImageTextToText
    if not checkpoint.first_format:
        return kind.from_pretrained(
            checkpoint.folder,
            config=pooled_config(checkpoint.config, plan.region_tokens) if checkpoint.pooled else None,
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
        )
    from transformers.initialization import no_init_weights

    with no_init_weights():
        model = kind.from_config(copy.deepcopy(checkpoint.config), dtype=torch.float32)  # which notes its dtype there
    tied = checkpoint.config.tie_word_embeddings and checkpoint.tensors.shape("lm_head.weight") is None
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not (tied and name == "lm_head.weight"):
                tensor.copy_(torch.from_numpy(checkpoint.tensors.array(canonical(name))))
    return model


def random_reference(checkpoint: Checkpoint, plan: Compression, device: str, dtype: str) -> Reference:
    """Return a model of the checkpoint's configuration with random weights, on a device: what ``profile`` times."""
    import torch

    from vlmplan.checkpoints.torch_compressors import compressor_module

    transformers = quiet_transformers()
    kind = getattr(torch, dtype)
    config = pooled_config(checkpoint.config, plan.region_tokens) if checkpoint.pooled else checkpoint.config
    with torch.device(device):
        model = transformers.AutoModelForImageTextToText.from_config(config, dtype=kind).eval()
        width = checkpoint.tower.hidden_size * len(checkpoint.read_layers)
        module = compressor_module(plan, width, checkpoint.text.hidden_size).to(kind).eval()
    return Reference(checkpoint=checkpoint, compression=plan, model=model, compressor=module)


def _load(model: Any, module: Any, weights: Weights, needed: dict[str, tuple[int, ...]]) -> None:
    """Fill the compressor, and those projector tensors that come with it."""
    import torch

    own = {name.removeprefix("compressor.") for name in needed if name.startswith("compressor.")}
    module.load_state_dict({name: torch.from_numpy(weights.array(f"compressor.{name}")) for name in own})
    projector = model.model.multi_modal_projector
    for layer in ("linear_1", "linear_2"):
        for leaf in ("weight", "bias"):
            if weights.shape(name := f"multi_modal_projector.{layer}.{leaf}") is not None:
                tensor = torch.from_numpy(weights.array(name))
                setattr(getattr(projector, layer), leaf, torch.nn.Parameter(tensor, requires_grad=False))
