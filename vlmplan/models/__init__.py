"""What a model is: its dimensions, how an image becomes visual tokens, and how Hugging Face files say both."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.models.decoder import Decoder as Decoder
    from vlmplan.models.decoder import LayerGroup as LayerGroup
    from vlmplan.models.decoder import Mixing as Mixing
    from vlmplan.models.decoder import layer_groups as layer_groups
    from vlmplan.models.grids import refused_shape as refused_shape
    from vlmplan.models.hub import CONFIGS as CONFIGS
    from vlmplan.models.hub import downloaded as downloaded
    from vlmplan.models.hub import is_hub_id as is_hub_id
    from vlmplan.models.quantisation import Quantisation as Quantisation
    from vlmplan.models.quantisation import operator_key as operator_key
    from vlmplan.models.reading import model_from_config as model_from_config
    from vlmplan.models.reading import read_model_config as read_model_config
    from vlmplan.models.refusals import check_own as check_own
    from vlmplan.models.refusals import own_precision as own_precision
    from vlmplan.models.refusals import precision_for as precision_for
    from vlmplan.models.refusals import refusal as refusal
    from vlmplan.models.refusals import runnable as runnable
    from vlmplan.models.refusals import with_what_works as with_what_works
    from vlmplan.models.spec import SHAPE_KEEPING as SHAPE_KEEPING
    from vlmplan.models.spec import Compressor as Compressor
    from vlmplan.models.spec import Engine as Engine
    from vlmplan.models.spec import ModelSpec as ModelSpec
    from vlmplan.models.spec import Reduction as Reduction
    from vlmplan.models.spec import Route as Route
    from vlmplan.models.spec import Rule as Rule
    from vlmplan.models.spec import Workload as Workload
    from vlmplan.models.stored import method_of as method_of
    from vlmplan.models.stored import with_file_beside as with_file_beside
    from vlmplan.models.token_report import Tokens as Tokens
    from vlmplan.models.token_report import TokenSetting as TokenSetting
    from vlmplan.models.token_report import tokens_of as tokens_of
    from vlmplan.models.tower import Projector as Projector
    from vlmplan.models.tower import Resampler as Resampler
    from vlmplan.models.tower import VisionTower as VisionTower
    from vlmplan.models.visual_tokens import MOST_SHUFFLED as MOST_SHUFFLED
    from vlmplan.models.visual_tokens import VisualInput as VisualInput
    from vlmplan.models.visual_tokens import native_side_px as native_side_px
    from vlmplan.models.visual_tokens import native_visual_tokens as native_visual_tokens
    from vlmplan.models.visual_tokens import one_view as one_view
    from vlmplan.models.visual_tokens import options as options
    from vlmplan.models.visual_tokens import settable as settable
    from vlmplan.models.visual_tokens import visual_input as visual_input

__getattr__, __all__ = face(
    __name__,
    {
        "decoder": ("Decoder", "LayerGroup", "Mixing", "layer_groups"),
        "grids": ("refused_shape",),
        "hub": ("CONFIGS", "downloaded", "is_hub_id"),
        "quantisation": ("Quantisation", "operator_key"),
        "reading": ("model_from_config", "read_model_config"),
        "refusals": ("check_own", "own_precision", "precision_for", "refusal", "runnable", "with_what_works"),
        "spec": ("Compressor", "Engine", "ModelSpec", "Reduction", "Route", "Rule", "SHAPE_KEEPING", "Workload"),
        "stored": ("method_of", "with_file_beside"),
        "token_report": ("TokenSetting", "Tokens", "tokens_of"),
        "tower": ("Projector", "Resampler", "VisionTower"),
        "visual_tokens": (
            "MOST_SHUFFLED",
            "VisualInput",
            "native_side_px",
            "native_visual_tokens",
            "one_view",
            "options",
            "settable",
            "visual_input",
        ),
    },
)
