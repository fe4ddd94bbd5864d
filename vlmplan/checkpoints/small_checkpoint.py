"""What can be tried without a download? A small random checkpoint, made from transformers' real classes and saved.

The weights are random but lively: an image changes every logit, so that a wrong export shows. The answers mean nothing.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlmplan.checkpoints.checkpoint import (
    GRIDDED_TYPES,
    MASKED_TYPES,
    SHAPED_TYPES,
    TILED_TYPES,
    joined_side,
    quiet_transformers,
    side_of,
)
from vlmplan.checkpoints.families.gemma import MARKED_TYPES, POOLED_TYPES
from vlmplan.checkpoints.families.internvl_chat import TOKEN_NAMES
from vlmplan.checkpoints.families.lfm2_images import view_processor
from vlmplan.checkpoints.families.pixtral import PICTURED_TYPES

IMAGE_TOKEN = "<image>"
_SPECIAL = ("<pad>", "<s>", "</s>", IMAGE_TOKEN)
_TILES = tuple(f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5))
_OF_TILES = ("<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *_TILES)  # Idefics3's, around images
_MOST_TILES = 4  # of a side, as SmolVLM is shipped
_STACKED = ("<pad>", "<s>", "</s>", *TOKEN_NAMES.values())  # InternVL's
# Qwen2-VL's
_PATCHED = ("<pad>", "<s>", "</s>", "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
# LFM2-VL's, by what its tokenizer calls them, and those of tiles
_VIEWED = {"image_token": IMAGE_TOKEN, "image_start_token": "<|image_start|>", "image_end_token": "<|image_end|>",
           "image_thumbnail_token": "<|img_thumbnail|>"}  # fmt: skip
_MOST_CUT = 10  # tiles of an image, as LFM2-VL is shipped
_CUT = tuple(
    f"<|img_row_{row}_col_{column}|>" for row in range(1, _MOST_CUT + 1) for column in range(1, _MOST_CUT // row + 1)
)
_PICTURED = ("<pad>", "<s>", "</s>", "[IMG]", "[IMG_BREAK]", "[IMG_END]")  # Mistral 3's
_MARKS = {
    "image_token": "<image_soft_token>",
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
}  # Gemma 3's
_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %} {% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
_SHORT_TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% elif message['role'] == 'user' %}{{ part['text'] }}"
    "{% else %} {{ part['text'] }}{{ eos_token }}{% endif %}{% endfor %}{% endfor %}"
)
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallModel:
    """What to make: types by transformers' names, and what differs from the small defaults.

    A tiled ``model_type`` has its own tower; ``joined`` patches of a side make a token of it.
    """

    model_type: str = "llava"
    llm: str = "qwen2"
    tower: str = "clip_vision_model"
    text: dict[str, Any] = field(default_factory=dict)
    vision: dict[str, Any] = field(default_factory=dict)
    joined: int = 2
    seed: int = 0


def small_config(made: SmallModel) -> Any:
    """Return the transformers configuration of a small model."""
    transformers = quiet_transformers()
    text = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "vocab_size": 300, "max_position_embeddings": 4096} | made.text  # fmt: skip
    clip = made.tower == "clip_vision_model"
    vision = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4,
              "image_size": 336 if clip else 378, "patch_size": 14} | made.vision  # fmt: skip
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    if made.model_type in PICTURED_TYPES:
        return _pictured_config(made, text | special, vision | made.vision)
    if made.model_type in GRIDDED_TYPES:
        return _patched_config(made, text | special, made.vision)
    if made.model_type in SHAPED_TYPES:
        return _viewed_config(made, text | special, vision)
    if made.model_type in POOLED_TYPES:
        return _pooled_config(made, text | special, vision | {"image_size": 112} | made.vision)
    if made.model_type in TILED_TYPES:
        masked = made.model_type in MASKED_TYPES
        return transformers.CONFIG_MAPPING[made.model_type](
            text_config=transformers.CONFIG_MAPPING[made.llm](**text, **special),
            vision_config=vision | {"image_size": 112} | made.vision,
            image_token_id=_SPECIAL.index(IMAGE_TOKEN),
            **({"scale_factor": made.joined} if masked else {"downsample_ratio": 1 / made.joined}),
            **special,
        )
    return transformers.CONFIG_MAPPING[made.model_type](
        text_config=transformers.CONFIG_MAPPING[made.llm](**text, **special),
        vision_config=transformers.CONFIG_MAPPING[made.tower](**vision),
        image_token_index=_SPECIAL.index(IMAGE_TOKEN),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default" if clip else "full",
    )


def _patched_config(made: SmallModel, text: dict[str, Any], vision: dict[str, Any]) -> Any:
    """Of a Qwen2-VL, Qwen2.5-VL or Qwen3-VL; half a head in three sections.

    In Qwen2.5-VL all layers but one have windows; in Qwen3-VL two are stacked, and there are 6 x 6 learned positions.
    """
    transformers = quiet_transformers()
    own = {"hidden_size": 64, "intermediate_size": 96, "out_hidden_size": text["hidden_size"]}
    own = {
        "qwen2_vl": {"hidden_size": text["hidden_size"], "embed_dim": 64, "mlp_ratio": 2},
        "qwen2_5_vl": own | {"fullatt_block_indexes": [1], "window_size": 112},
        "qwen3_vl": own | {"deepstack_visual_indexes": [0, 1], "num_position_embeddings": 36},
    }[made.model_type]
    if made.model_type == "qwen3_vl":
        text = {"head_dim": text["hidden_size"] // text["num_attention_heads"]} | text
    half = text.get("head_dim", text["hidden_size"] // text["num_attention_heads"]) // 2
    sections = [half - 2 * (3 * half // 8), 3 * half // 8, 3 * half // 8]
    tokens = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    numbers = {name: _PATCHED.index(token) for name, token in zip(tokens, _PATCHED[3:], strict=True)}
    return transformers.CONFIG_MAPPING[made.model_type](
        text_config={"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": sections}} | text,
        vision_config={"depth": 3, "num_heads": 4, "spatial_merge_size": made.joined} | own | vision,
        **numbers,
    )


def _viewed_config(made: SmallModel, text: dict[str, Any], vision: dict[str, Any]) -> Any:
    """Of LFM2-VL: attention between short convolutions, a tower trained on six by six patches."""
    transformers = quiet_transformers()
    own = {"block_multiple_of": 32, "num_hidden_layers": 3, "layer_types": ["conv", "full_attention", "conv"]}
    del vision["image_size"]
    return transformers.CONFIG_MAPPING[made.model_type](
        text_config=transformers.CONFIG_MAPPING[made.llm](**(text | own | made.text)),
        vision_config=transformers.CONFIG_MAPPING["siglip2_vision_model"](
            **(vision | {"patch_size": 8, "num_patches": 36} | made.vision), vision_use_head=False
        ),
        image_token_id=_SPECIAL.index(IMAGE_TOKEN),
        downsample_factor=made.joined,
        projector_hidden_size=96,
    )


def _pictured_config(made: SmallModel, text: dict[str, Any], vision: dict[str, Any]) -> Any:
    """Of a Mistral 3: Pixtral's tower, and a merger of its patches."""
    transformers = quiet_transformers()
    return transformers.CONFIG_MAPPING[made.model_type](
        text_config=transformers.CONFIG_MAPPING[made.llm](**({"head_dim": 16, "sliding_window": None} | text)),
        vision_config=transformers.CONFIG_MAPPING["pixtral"](
            **{"hidden_act": "silu"} | vision | {"image_size": 1540} | made.vision
        ),
        image_token_index=_PICTURED.index("[IMG]"),
        spatial_merge_size=made.joined,
        tie_word_embeddings=False,
    )


def _pooled_config(made: SmallModel, text: dict[str, Any], vision: dict[str, Any]) -> Any:
    """Of Gemma 3 or PaliGemma: every other layer with a window, soft caps that bite where the type has them."""
    transformers = quiet_transformers()
    own: dict[str, Any] = {"head_dim": 16}
    if made.llm != "gemma":
        own |= {"sliding_window": 7, "query_pre_attn_scalar": 24,
                "layer_types": ["sliding_attention", "full_attention"]}  # fmt: skip
    if made.llm == "gemma2":
        own |= {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0}
    tokens = (vision["image_size"] // vision["patch_size"] // made.joined) ** 2
    marks = {"mm_tokens_per_image": tokens, "boi_token_index": len(_SPECIAL), "eoi_token_index": len(_SPECIAL) + 1}
    return transformers.CONFIG_MAPPING[made.model_type](
        text_config=transformers.CONFIG_MAPPING[made.llm](**(own | text)),
        vision_config=transformers.CONFIG_MAPPING["siglip_vision_model"](**vision, vision_use_head=False),
        image_token_index=_SPECIAL.index(IMAGE_TOKEN),
        **(marks if made.model_type in MARKED_TYPES else {"projection_dim": text["hidden_size"]}),
    )


def enliven(model: Any, seed: int) -> None:
    """Random weights of unit gain, biases and norms that are not all alike.

    Gemma's embeddings, which are scaled and tied to the head, are small: else every token is followed by itself.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    named = dict(model.named_modules())
    shifted = {f"{name}.weight" for name, module in named.items() if "Gemma" in type(module).__name__}
    scaled = {
        f"{name}.weight": 0.25 / module.scalar_embed_scale
        for name, module in named.items()
        if hasattr(module, "scalar_embed_scale")
    }
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and "embed" not in name:
            deviation = parameter[0].numel() ** -0.5
            torch.nn.init.normal_(parameter, 0.0, deviation, generator=generator)
        elif parameter.ndim > 1:
            torch.nn.init.normal_(parameter, 0.0, scaled.get(name, 0.5), generator=generator)
        else:
            is_norm = name.endswith("weight") and name not in shifted  # Gemma's multiply by one more than their weight
            torch.nn.init.normal_(parameter, float(is_norm), 0.1, generator=generator)


def _wrapped(made: Any, template: str, special: tuple[str, ...] = _SPECIAL, names: dict[str, str] | None = None) -> Any:
    """A transformers tokenizer of a byte-level model."""
    from tokenizers import AddedToken, decoders, pre_tokenizers

    transformers = quiet_transformers()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True) for token in special])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>", chat_template=template,
        **({} if names is None else {"extra_special_tokens": names}),
    )  # fmt: skip


def _tokenizer(special: tuple[str, ...] = _SPECIAL, names: dict[str, str] | None = None) -> Any:
    """A byte-level tokenizer: every byte is a token, so that any text is. ``names`` are what it calls some tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate((*special, *alphabet))}
    token = special[_SPECIAL.index(IMAGE_TOKEN)]
    template = _TEMPLATE.replace(IMAGE_TOKEN, f"{_PATCHED[-2]}{token}{_PATCHED[-1]}" if special == _PATCHED else token)
    return _wrapped(Tokenizer(models.BPE(vocab=vocabulary, merges=[])), template, special, names)


def trained_tokenizer(texts: Sequence[str], vocabulary: int = 512) -> Any:
    """A byte-level tokenizer whose tokens are the words of ``texts``; any other text is bytes.

    Its chat template is as short as can be: question, space, answer, end.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(_SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    return _wrapped(made, _SHORT_TEMPLATE)


def _processor(config: Any, tokenizer: Any) -> Any:
    transformers = quiet_transformers()
    size = config.vision_config.image_size
    if config.vision_config.model_type == "clip_vision_model":
        image = transformers.CLIPImageProcessorPil(
            size={"shortest_edge": size}, crop_size=size, image_mean=_CLIP_MEAN, image_std=_CLIP_STD
        )
    else:
        image = transformers.SiglipImageProcessorPil(size={"height": size, "width": size})
    return transformers.LlavaProcessor(
        image_processor=image,
        tokenizer=tokenizer,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=int(config.vision_feature_select_strategy == "default"),
        image_token=IMAGE_TOKEN,
        chat_template=tokenizer.chat_template,
    )


def _save_tiling(config: Any, folder: Path) -> None:
    """Tokenizer and processor of a tiled type; SmolVLM's are Idefics3's by other names, and need less to be made so."""
    transformers = quiet_transformers()
    tower, tokenizer = config.vision_config, _tokenizer((*_SPECIAL, *_OF_TILES))
    image = transformers.Idefics3ImageProcessorPil(
        size={"longest_edge": _MOST_TILES * tower.image_size}, max_image_size={"longest_edge": tower.image_size}
    )
    tokens = (tower.image_size // tower.patch_size // config.scale_factor) ** 2
    transformers.Idefics3Processor(
        image_processor=image, tokenizer=tokenizer, image_seq_len=tokens, chat_template=tokenizer.chat_template
    ).save_pretrained(folder)
    if config.model_type == "smolvlm":
        path = folder / "processor_config.json"
        path.write_text(path.read_text(encoding="utf-8").replace('"Idefics3', '"SmolVLM'), encoding="utf-8")


def _save_stacking(config: Any, folder: Path) -> None:
    """Tokenizer and processor of InternVL, whose own class wants torchvision to be made, for videos."""
    transformers, size = quiet_transformers(), side_of(config.vision_config.image_size)
    tokenizer = _tokenizer(_STACKED, TOKEN_NAMES)
    tokenizer.save_pretrained(folder)
    image = transformers.GotOcr2ImageProcessorPil(size={"height": size, "width": size}, max_patches=12)
    tokens = (size // side_of(config.vision_config.patch_size) // joined_side(config)) ** 2
    processor = {"image_processor": image.to_dict(), "image_seq_length": tokens, "processor_class": "InternVLProcessor"}
    (folder / "processor_config.json").write_text(json.dumps(processor, indent=2), encoding="utf-8")


def _save_patching(config: Any, folder: Path) -> None:
    """Tokenizer and processor of a Qwen-VL, whose own classes want torchvision to be made, for videos."""
    transformers, tower = quiet_transformers(), config.vision_config
    _tokenizer(_PATCHED).save_pretrained(folder)
    image = transformers.Qwen2VLImageProcessorPil(
        patch_size=tower.patch_size, temporal_patch_size=tower.temporal_patch_size, merge_size=tower.spatial_merge_size
    )
    kinds = {"qwen2_vl": "Qwen2VLProcessor", "qwen2_5_vl": "Qwen2_5_VLProcessor", "qwen3_vl": "Qwen3VLProcessor"}
    processor = {"image_processor": image.to_dict(), "processor_class": kinds[config.model_type]}
    (folder / "processor_config.json").write_text(json.dumps(processor, indent=2), encoding="utf-8")


def _save_picturing(config: Any, folder: Path) -> None:
    """Tokenizer and processor of Mistral 3, whose own class wants torchvision to be made."""
    transformers, tower = quiet_transformers(), config.vision_config
    _tokenizer(_PICTURED).save_pretrained(folder)
    image = transformers.PixtralImageProcessorPil(
        size={"longest_edge": tower.image_size}, patch_size={"height": tower.patch_size, "width": tower.patch_size}
    )
    names = dict(zip(("image_token", "image_break_token", "image_end_token"), _PICTURED[3:], strict=True))
    processor = {"image_processor": image.to_dict(), "processor_class": "PixtralProcessor", **names,
             "patch_size": tower.patch_size, "spatial_merge_size": config.spatial_merge_size}  # fmt: skip
    (folder / "processor_config.json").write_text(json.dumps(processor, indent=2), encoding="utf-8")


def _save_viewing(config: Any, folder: Path) -> None:
    """Tokenizer and processor of LFM2-VL, whose own image processor wants torchvision. A tile has 64 tokens."""
    patch, joined = config.vision_config.patch_size, config.downsample_factor
    special = (*_SPECIAL, *list(_VIEWED.values())[1:], *_CUT)
    _tokenizer(special, _VIEWED).save_pretrained(folder)
    image = view_processor()(
        encoder_patch_size=patch, downsample_factor=joined, tile_size=8 * patch * joined, min_image_tokens=16,
        max_image_tokens=64, max_tiles=_MOST_CUT,
    )  # fmt: skip
    processor = {"image_processor": image.to_dict(), "processor_class": "Lfm2VlProcessor"}
    (folder / "processor_config.json").write_text(json.dumps(processor, indent=2), encoding="utf-8")


def _save_pooling(config: Any, folder: Path) -> None:
    """Tokenizer and processor of Gemma 3 or PaliGemma, by image processors that need no torchvision."""
    transformers, size = quiet_transformers(), dict.fromkeys(("height", "width"), config.vision_config.image_size)
    if config.model_type in MARKED_TYPES:
        tokenizer = _tokenizer((*_SPECIAL[:-1], *_MARKS.values()), _MARKS)
        tokenizer.chat_template = _TEMPLATE.replace(IMAGE_TOKEN, _MARKS["boi_token"])
        image = transformers.Gemma3ImageProcessorPil(size=size, image_seq_length=config.mm_tokens_per_image)
        made = transformers.Gemma3Processor(
            image, tokenizer, chat_template=tokenizer.chat_template, image_seq_length=config.mm_tokens_per_image
        )
    else:
        tokenizer = _tokenizer(_SPECIAL, {"image_token": IMAGE_TOKEN})
        tokenizer.chat_template = None
        image = transformers.SiglipImageProcessorPil(size=size)
        image.image_seq_length = (size["height"] // config.vision_config.patch_size) ** 2
        made = transformers.PaliGemmaProcessor(image, tokenizer)
    made.save_pretrained(folder)


def save_small(model: Any, config: Any, tokenizer: Any, folder: Path) -> None:
    """Write a model as ``save_pretrained`` does, with tokenizer and processor."""
    model.save_pretrained(folder)
    _processor(config, tokenizer).save_pretrained(folder)


def _saver(model_type: str) -> Callable[[Any, Path], None]:
    """What writes tokenizer and processor of a tiled type."""
    if model_type in SHAPED_TYPES:
        return _save_viewing
    if model_type in PICTURED_TYPES:
        return _save_picturing
    if model_type in GRIDDED_TYPES:
        return _save_patching
    return _save_tiling if model_type in MASKED_TYPES else _save_stacking


def write_checkpoint(made: SmallModel, folder: Path) -> Path:
    """Write a random checkpoint; return ``folder``."""
    transformers = quiet_transformers()
    config = small_config(made)
    model = transformers.AutoModelForImageTextToText.from_config(config).eval()
    enliven(model, made.seed)
    if made.model_type in POOLED_TYPES:
        model.save_pretrained(folder)
        _save_pooling(config, folder)
    elif made.model_type in TILED_TYPES:
        model.save_pretrained(folder)
        _saver(made.model_type)(config, folder)
    else:
        save_small(model, config, _tokenizer(), folder)
    return folder
