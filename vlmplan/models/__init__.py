"""What a model is: its dimensions, how an image becomes visual tokens, and how Hugging Face files say both."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.models.configs.keys import Plain as Plain
    from vlmplan.models.decoder import Decoder as Decoder
    from vlmplan.models.decoder import LayerGroup as LayerGroup
    from vlmplan.models.decoder import Mixing as Mixing
    from vlmplan.models.decoder import layer_groups as layer_groups
    from vlmplan.models.download import CONFIGS as CONFIGS
    from vlmplan.models.download import downloaded as downloaded
    from vlmplan.models.download import is_hub_id as is_hub_id
    from vlmplan.models.families import ARCHITECTURES as ARCHITECTURES
    from vlmplan.models.families import TEXTS as TEXTS
    from vlmplan.models.grids import adaptive_cut as adaptive_cut
    from vlmplan.models.grids import refused_shape as refused_shape
    from vlmplan.models.quantisation import Quantisation as Quantisation
    from vlmplan.models.quantisation import operator_key as operator_key
    from vlmplan.models.quantised.expressions import ways as ways
    from vlmplan.models.quantised.layouts import layer_kinds as layer_kinds
    from vlmplan.models.quantised.layouts import layouts_of as layouts_of
    from vlmplan.models.quantised.layouts import method_of as method_of
    from vlmplan.models.quantised.layouts import with_file_beside as with_file_beside
    from vlmplan.models.quantised.modules import Module as Module
    from vlmplan.models.quantised.modules import modules_of as modules_of
    from vlmplan.models.quantised.schemes import Layout as Layout
    from vlmplan.models.quantised.schemes import Scheme as Scheme
    from vlmplan.models.reading import config_of as config_of
    from vlmplan.models.reading import described as described
    from vlmplan.models.reading import named as named
    from vlmplan.models.refusals import check_own as check_own
    from vlmplan.models.refusals import own_precision as own_precision
    from vlmplan.models.refusals import precision_for as precision_for
    from vlmplan.models.refusals import published as published
    from vlmplan.models.refusals import refusal as refusal
    from vlmplan.models.refusals import runnable as runnable
    from vlmplan.models.refusals import with_what_works as with_what_works
    from vlmplan.models.spec import MERGED_FRACTION as MERGED_FRACTION
    from vlmplan.models.spec import SHAPE_KEEPING as SHAPE_KEEPING
    from vlmplan.models.spec import Compressor as Compressor
    from vlmplan.models.spec import ImageRule as ImageRule
    from vlmplan.models.spec import ModelSpec as ModelSpec
    from vlmplan.models.spec import Reduction as Reduction
    from vlmplan.models.spec import Route as Route
    from vlmplan.models.spec import Rule as Rule
    from vlmplan.models.spec import Workload as Workload
    from vlmplan.models.token_report import Tokens as Tokens
    from vlmplan.models.token_report import TokenSetting as TokenSetting
    from vlmplan.models.token_report import tokens_of as tokens_of
    from vlmplan.models.tower import Projector as Projector
    from vlmplan.models.tower import Resampler as Resampler
    from vlmplan.models.tower import VisionTower as VisionTower
    from vlmplan.models.visual_tokens import MOST_SHUFFLED as MOST_SHUFFLED
    from vlmplan.models.visual_tokens import VisualInput as VisualInput
    from vlmplan.models.visual_tokens import at_most as at_most
    from vlmplan.models.visual_tokens import limit_of as limit_of
    from vlmplan.models.visual_tokens import limits_of as limits_of
    from vlmplan.models.visual_tokens import native_side_px as native_side_px
    from vlmplan.models.visual_tokens import native_visual_tokens as native_visual_tokens
    from vlmplan.models.visual_tokens import one_view as one_view
    from vlmplan.models.visual_tokens import options as options
    from vlmplan.models.visual_tokens import seen_size as seen_size
    from vlmplan.models.visual_tokens import settable as settable
    from vlmplan.models.visual_tokens import squares_of as squares_of
    from vlmplan.models.visual_tokens import unasked_edge as unasked_edge
    from vlmplan.models.visual_tokens import visual_input as visual_input

__getattr__, __all__ = face(
    __name__,
    {
        "configs.keys": ("Plain",),
        "decoder": ("Decoder", "LayerGroup", "Mixing", "layer_groups"),
        "download": ("CONFIGS", "downloaded", "is_hub_id"),
        "families": ("ARCHITECTURES", "TEXTS"),
        "grids": ("adaptive_cut", "refused_shape"),
        "quantisation": ("Quantisation", "operator_key"),
        "quantised.expressions": ("ways",),
        "quantised.layouts": ("layer_kinds", "layouts_of", "method_of", "with_file_beside"),
        "quantised.modules": ("Module", "modules_of"),
        "quantised.schemes": ("Layout", "Scheme"),
        "reading": ("config_of", "described", "named"),
        "refusals": (
            "check_own",
            "own_precision",
            "precision_for",
            "published",
            "refusal",
            "runnable",
            "with_what_works",
        ),
        "spec": (
            "Compressor",
            "ImageRule",
            "MERGED_FRACTION",
            "ModelSpec",
            "Reduction",
            "Route",
            "Rule",
            "SHAPE_KEEPING",
            "Workload",
        ),
        "token_report": ("TokenSetting", "Tokens", "tokens_of"),
        "tower": ("Projector", "Resampler", "VisionTower"),
        "visual_tokens": (
            "MOST_SHUFFLED",
            "VisualInput",
            "at_most",
            "limit_of",
            "limits_of",
            "native_side_px",
            "native_visual_tokens",
            "one_view",
            "options",
            "seen_size",
            "settable",
            "squares_of",
            "unasked_edge",
            "visual_input",
        ),
    },
)
