"""What a model is: its dimensions, how an image becomes visual tokens, and how Hugging Face files say both."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.models.configs.keys import Plain as Plain
    from vlmplan.models.decoder import Decoder as Decoder, LayerGroup as LayerGroup, Mixing as Mixing, layer_groups as layer_groups
    from vlmplan.models.download import CONFIGS as CONFIGS, downloaded as downloaded, is_hub_id as is_hub_id
    from vlmplan.models.families import ARCHITECTURES as ARCHITECTURES, TEXTS as TEXTS
    from vlmplan.models.grids import adaptive_cut as adaptive_cut, refused_shape as refused_shape
    from vlmplan.models.quantisation import Quantisation as Quantisation, operator_key as operator_key
    from vlmplan.models.quantised.layouts import layer_kinds as layer_kinds, layouts_of as layouts_of, method_of as method_of, with_file_beside as with_file_beside
    from vlmplan.models.quantised.modules import Module as Module, modules_of as modules_of
    from vlmplan.models.quantised.schemes import Layout as Layout, Scheme as Scheme
    from vlmplan.models.reading import config_of as config_of, described as described, named as named
    from vlmplan.models.refusals import check_own as check_own, own_precision as own_precision, precision_for as precision_for, published as published, refusal as refusal, runnable as runnable, with_what_works as with_what_works
    from vlmplan.models.spec import Compressor as Compressor, ImageRule as ImageRule, MERGED_FRACTION as MERGED_FRACTION, ModelSpec as ModelSpec, Reduction as Reduction, Route as Route, Rule as Rule, SHAPE_KEEPING as SHAPE_KEEPING, Workload as Workload
    from vlmplan.models.token_report import TokenSetting as TokenSetting, Tokens as Tokens, tokens_of as tokens_of
    from vlmplan.models.tower import Projector as Projector, Resampler as Resampler, VisionTower as VisionTower
    from vlmplan.models.visual_tokens import MOST_SHUFFLED as MOST_SHUFFLED, VisualInput as VisualInput, at_most as at_most, limit_of as limit_of, limits_of as limits_of, native_side_px as native_side_px, native_visual_tokens as native_visual_tokens, one_view as one_view, options as options, settable as settable, squares_of as squares_of, unasked_edge as unasked_edge, visual_input as visual_input

__getattr__, __all__ = face(
    __name__,
    {
        'configs.keys': ('Plain',),
        'decoder': ('Decoder', 'LayerGroup', 'Mixing', 'layer_groups'),
        'download': ('CONFIGS', 'downloaded', 'is_hub_id'),
        'families': ('ARCHITECTURES', 'TEXTS'),
        'grids': ('adaptive_cut', 'refused_shape'),
        'quantisation': ('Quantisation', 'operator_key'),
        'quantised.layouts': ('layer_kinds', 'layouts_of', 'method_of', 'with_file_beside'),
        'quantised.modules': ('Module', 'modules_of'),
        'quantised.schemes': ('Layout', 'Scheme'),
        'reading': ('config_of', 'described', 'named'),
        'refusals': ('check_own', 'own_precision', 'precision_for', 'published', 'refusal', 'runnable', 'with_what_works'),
        'spec': ('Compressor', 'ImageRule', 'MERGED_FRACTION', 'ModelSpec', 'Reduction', 'Route', 'Rule', 'SHAPE_KEEPING', 'Workload'),
        'token_report': ('TokenSetting', 'Tokens', 'tokens_of'),
        'tower': ('Projector', 'Resampler', 'VisionTower'),
        'visual_tokens': ('MOST_SHUFFLED', 'VisualInput', 'at_most', 'limit_of', 'limits_of', 'native_side_px', 'native_visual_tokens', 'one_view', 'options', 'settable', 'squares_of', 'unasked_edge', 'visual_input'),
    },
)
