"""PaliGemma 1 and 2: SigLIP, one matrix, all patches of one view."""

from vlmplan.hardware import Runtime
from vlmplan.models.configs.family import USUAL, Architecture, Family
from vlmplan.models.configs.image_rules import square_rule
from vlmplan.models.configs.projectors import H, V, built
from vlmplan.models.configs.text_types import Overflow
from vlmplan.models.configs.towers import SO400M

FAMILY = Family(
    architectures=(
        Architecture(
            model_type="paligemma",
            classes=("PaliGemma",),
            tower="siglip_vision_model",
            vision_defaults=SO400M | {"image_size": 224},
            text="gemma",
            tied=True,
            exportable=True,
            exported_texts=("gemma", "gemma2"),
            projector=built(widths=(V, H)),
            image=square_rule,
            settings=None,
            places=USUAL,
            overflows=(
                Overflow(
                    runtime=Runtime.VLLM,
                    why="its LLM is Gemma 2, which vllm refuses for numerical instability "
                    "(vllm/config/model.py; vLLM issue 28857)",
                    always=False,
                ),
                Overflow(
                    runtime=Runtime.ONNXRUNTIME,
                    why="its LLM is Gemma 2, which vllm refuses for numerical instability (vLLM issue 28857), and "
                    "exports compute all of it in fp16",
                    always=False,
                ),
            ),
        ),
    ),
)
