"""What is trained? LLaVA with a compressor between tower and projector, as a transformers model.

``save_pretrained`` writes it and ``CompressedLlava.from_pretrained`` reads it; transformers' own LLaVA class reads the
same folder without the compressor, and ``vlmplan export`` with it. Imports torch: import it inside functions only.
"""

from typing import Any, cast

import torch
from transformers import LlavaForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutputWithPooling

from vlmplan.checkpoints import Compression, compression, compressor_module, features_of, read_layers
from vlmplan.models import Compressor


def compressions(config: Any) -> tuple[Compression, ...]:
    """Return how many tokens a trained model's configuration says that an image becomes, most first."""
    side = config.vision_config.image_size // config.vision_config.patch_size
    counts = sorted(config.vlmplan["visual_tokens"], reverse=True)
    return tuple(compression(Compressor(config.vlmplan["compressor"]), side, count) for count in counts)


class CompressedLlava(LlavaForConditionalGeneration):
    """LLaVA whose images become as many visual tokens as the prompt has places for.

    ``config.vlmplan`` holds ``compressor`` and ``visual_tokens``, a list; with several it was trained for each.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.plans = {plan.visual_tokens: plan for plan in compressions(config)}
        first, *others = self.plans.values()
        width = config.vision_config.hidden_size * len(read_layers(config))
        self.model.compressor = compressor_module(first, width, config.text_config.hidden_size, tuple(others))
        self.loss_type = "ForCausalLM"
        self.reads_question = first.compressor.reads_question

    def question_embedding(self, question_ids: Any, question_mask: Any) -> Any:
        """``[batch, tokens]``, padded on the right -> ``[batch, LLM width]``: the last token's final hidden state."""
        language = self.model.language_model
        hidden = language(input_ids=question_ids, attention_mask=question_mask, use_cache=False).last_hidden_state
        last = question_mask.sum(-1) - 1
        return hidden[torch.arange(len(hidden), device=hidden.device), last]

    def image_features(self, pixel_values: Any, visual_tokens: int, query: Any | None) -> Any:
        """``[batch, 3, size, size] -> [batch, visual tokens, LLM width]``. Raises KeyError for an untrained number."""
        tower = self.model.vision_tower
        states = tower(pixel_values.to(tower.dtype), output_hidden_states=True).hidden_states

        plan = self.plans[visual_tokens]
        features = features_of(states, self.config, plan, query)
        self.model.compressor.plan = plan
        return self.model.multi_modal_projector(self.model.compressor(features))

    def forward(
        self,
        input_ids: Any = None,
        pixel_values: Any = None,
        question_ids: Any = None,
        question_mask: Any = None,
        labels: Any = None,
        **given: Any,
    ) -> Any:
        """As LLaVA's; QueCC reads the bare question too. The number of visual tokens is that of the places."""
        if pixel_values is not None:
            places = int((input_ids == self.config.image_token_id).sum())
            query = self.question_embedding(question_ids, question_mask) if self.reads_question else None
            features = self.image_features(pixel_values, places // len(pixel_values), query)
            given["mm_encoder_outputs"] = {"image": BaseModelOutputWithPooling(pooler_output=cast(Any, list(features)))}
        return super().forward(input_ids=input_ids, labels=labels, **given)
