"""What does training start from? A LLaVA checkpoint, or an LLM and a vision tower joined by a new projector.

(checkpoint, tower, compressor, visual tokens) -> :class:`CompressedLlava` and its processor. Weights come from
safetensors; what was never trained (the compressor, a new projector) is drawn from the seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlmplan.checkpoints import (
    IMAGE_TOKEN,
    LLAVA_TYPES,
    TEXT_TYPES,
    TOWER_TYPES,
    compression,
    local_folder,
    opened,
    quiet_transformers,
    read_config,
)
from vlmplan.document import read_plain
from vlmplan.errors import InputError, one_line
from vlmplan.models import Compressor

if TYPE_CHECKING:
    from vlmplan.training.vlm import CompressedLlava

_KEPT = ("text_config", "vision_config", "projector_hidden_act", "multimodal_projector_bias")
# LLaVA-1.5's prompt, without its system message.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %} {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What training starts from: a :class:`CompressedLlava` and its transformers processor."""

    model: Any
    processor: Any


def _loaded(folder: Path, kind: str, dtype: Any, **given: Any) -> Any:
    """Load a transformers model from safetensors. Raises InputError where it cannot be."""
    transformers = quiet_transformers()
    try:
        return getattr(transformers, kind).from_pretrained(
            folder, dtype=dtype, trust_remote_code=False, use_safetensors=True, local_files_only=True, **given
        )
    except Exception as error:  # transformers raises what it likes
        raise InputError(f"{folder}: transformers cannot load it ({one_line(error)})") from None


def _compressed_config(config: Any, compressor: Compressor, visual_tokens: Sequence[int]) -> Any:
    """LLaVA's configuration with what is to be trained in it. Raises InputError for counts the grid does not allow."""
    transformers = quiet_transformers()
    side = config.vision_config.image_size // config.vision_config.patch_size
    for count in visual_tokens:
        compression(compressor, side, count)
    kept = {key: getattr(config, key) for key in _KEPT if hasattr(config, key)}
    compressed = transformers.LlavaConfig(
        **kept,
        image_token_index=getattr(config, "image_token_index", None) or config.image_token_id,
        vision_feature_layer=config.vision_feature_layer,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        image_seq_length=max(visual_tokens),
        tie_word_embeddings=config.text_config.tie_word_embeddings,
    )
    compressed.vlmplan = {"compressor": compressor.value, "visual_tokens": sorted(visual_tokens)}
    return compressed


def _built(config: Any, parts: dict[str, Any], seed: int, dtype: Any) -> "CompressedLlava":
    """The model around modules that are loaded; what is missing among ``parts`` is new, drawn from the seed."""
    import torch

    from vlmplan.training.vlm import CompressedLlava

    with torch.device("meta"):
        model = CompressedLlava(config)
    for name, module in parts.items():
        owner, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner), leaf, module)
    torch.manual_seed(seed)
    for name in ("model.compressor", "model.multi_modal_projector"):
        module = model.get_submodule(name)
        if any(parameter.is_meta for parameter in module.parameters()):
            module.to_empty(device="cpu")
            for part in module.modules():
                if hasattr(part, "reset_parameters"):
                    part.reset_parameters()
                elif hasattr(part, "_reset_parameters"):  # MultiheadAttention's own, which it does not publish
                    part._reset_parameters()
            module.to(dtype)
    model.tie_weights()
    return model


def _from_vlm(folder: Path, compressor: Compressor, visual_tokens: Sequence[int], seed: int, dtype: Any) -> Start:
    config = read_config(folder)
    wanted = _compressed_config(config, compressor, visual_tokens)
    if getattr(config, "vlmplan", None) == wanted.vlmplan:
        from vlmplan.training.vlm import CompressedLlava

        model = CompressedLlava.from_pretrained(folder, dtype=dtype, local_files_only=True)
        return Start(model=model, processor=opened(folder, "processor", quiet_transformers().AutoProcessor))
    base = _loaded(folder, "AutoModelForImageTextToText", dtype)
    parts = {"lm_head": base.lm_head, "model.vision_tower": base.model.vision_tower}
    parts["model.language_model"] = base.model.language_model
    if not compressor.widens:  # its projector reads joined patches: a new one
        parts["model.multi_modal_projector"] = base.model.multi_modal_projector
    model = _built(wanted, parts, seed, dtype)
    model.generation_config = base.generation_config
    return Start(model=model, processor=opened(folder, "processor", quiet_transformers().AutoProcessor))


def _from_parts(folder: Path, tower: Path, counts: tuple[Compressor, Sequence[int]], seed: int, dtype: Any) -> Start:
    """An LLM and a tower, a new image token and projector between them."""
    transformers = quiet_transformers()
    language = _loaded(folder, "AutoModelForCausalLM", dtype)
    clip = read_plain(tower / "config.json")["model_type"].startswith("clip")
    seeing = _loaded(tower, "CLIPVisionModel" if clip else "SiglipVisionModel", dtype)
    tokenizer = opened(folder, "tokenizer", transformers.AutoTokenizer)
    tokenizer.add_tokens([IMAGE_TOKEN], special_tokens=True)
    if len(tokenizer) > language.get_input_embeddings().num_embeddings:
        language.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=64)
    config = transformers.LlavaConfig(
        text_config=language.config,
        vision_config=seeing.config,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default" if clip else "full",
    )
    config = _compressed_config(config, *counts)
    parts = {"model.vision_tower": seeing, "model.language_model": language.model, "lm_head": language.lm_head}
    model = _built(config, parts, seed, dtype)
    model.generation_config = language.generation_config
    image = opened(tower, "image processor", transformers.AutoImageProcessor, backend="pil")
    processor = transformers.LlavaProcessor(
        image_processor=image, tokenizer=tokenizer, patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy, image_token=IMAGE_TOKEN,
        num_additional_image_tokens=int(clip), chat_template=CHAT_TEMPLATE,
    )  # fmt: skip
    return Start(model=model, processor=processor)


def assemble(
    checkpoint: str,
    tower: str | None,
    counts: tuple[Compressor, Sequence[int]],
    seed: int,
    half: bool = False,
) -> Start:
    """Return what training starts from; ``counts`` are the compressor and its numbers of visual tokens.

    ``half`` loads in bf16. Raises InputError for what cannot be trained, Unavailable for what cannot be had.
    """
    import torch

    quiet_transformers()
    folder = local_folder(checkpoint, lambda path: _check_kind(path, checkpoint, tower))
    dtype = torch.bfloat16 if half else torch.float32
    if tower is None:
        return _from_vlm(folder, *counts, seed, dtype)
    return _from_parts(folder, local_folder(tower, lambda path: _check_tower(path, tower)), counts, seed, dtype)


def _check_kind(folder: Path, checkpoint: str, tower: str | None) -> None:
    """Raise InputError where training cannot start from this type of checkpoint, or not with, or without, a tower."""
    kind = read_plain(folder / "config.json").get("model_type")
    if kind not in (*LLAVA_TYPES, *TEXT_TYPES):
        expected = ", ".join((*LLAVA_TYPES, *TEXT_TYPES))
        raise InputError(f"{checkpoint}: model_type is {kind!r}; vlmplan trains {expected}")
    if kind in LLAVA_TYPES and tower is not None:
        raise InputError(f"--tower: {checkpoint} has a vision tower of its own; leave it out")
    if kind in TEXT_TYPES and tower is None:
        raise InputError(f"{checkpoint} is an LLM alone; name a vision tower with --tower DIR|HUB-ID")


def _check_tower(folder: Path, tower: str) -> None:
    """Raise InputError where this is no vision tower that can be trained with."""
    seen = read_plain(folder / "config.json").get("model_type")
    if seen not in (*TOWER_TYPES, "clip", "siglip"):
        raise InputError(f"--tower: {tower} is {seen!r}, expected {', '.join(TOWER_TYPES)}")
