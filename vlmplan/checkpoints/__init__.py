"""What a checkpoint holds and computes: files -> configuration, tensors, compressor; the torch model to measure by."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.checkpoints.attention import rope_type as rope_type
    from vlmplan.checkpoints.checkpoint import Checkpoint as Checkpoint, GRIDDED_TYPES as GRIDDED_TYPES, LLAVA_TYPES as LLAVA_TYPES, MASKED_TYPES as MASKED_TYPES, MODEL_TYPES as MODEL_TYPES, SHAPED_TYPES as SHAPED_TYPES, TEXT_TYPES as TEXT_TYPES, TILED_TYPES as TILED_TYPES, TOWER_TYPES as TOWER_TYPES, check_shapes as check_shapes, head_dim as head_dim, local_folder as local_folder, open_checkpoint as open_checkpoint, quiet_transformers as quiet_transformers, read_config as read_config, read_layers as read_layers, side_of as side_of, stored_type as stored_type
    from vlmplan.checkpoints.compressors import RandomWeights as RandomWeights, compression_of as compression_of, compressor_weights as compressor_weights, parameter_shapes as parameter_shapes, read_compressor as read_compressor, weights_file as weights_file, weights_source as weights_source
    from vlmplan.checkpoints.gemma import MARKED_TYPES as MARKED_TYPES, POOLED_TYPES as POOLED_TYPES
    from vlmplan.checkpoints.internvl_chat import CONTEXT as CONTEXT, TOKEN_NAMES as TOKEN_NAMES, added_tokens as added_tokens, fast_tokenizer as fast_tokenizer
    from vlmplan.checkpoints.lfm2 import position_side as position_side, view_patch_width as view_patch_width
    from vlmplan.checkpoints.opening import opened as opened
    from vlmplan.checkpoints.pictures import MOST_RESIZED as MOST_RESIZED, as_rgb as as_rgb, check_resized as check_resized, image_file as image_file
    from vlmplan.checkpoints.pixtral import PICTURED_TYPES as PICTURED_TYPES
    from vlmplan.checkpoints.qwen_vl import patch_width as patch_width, position_axes as position_axes, stacked_layers as stacked_layers, tower_width as tower_width, window_side as window_side
    from vlmplan.checkpoints.reference import Reference as Reference, load_reference as load_reference, random_reference as random_reference
    from vlmplan.checkpoints.regions import Compression as Compression, KEPT as KEPT, MERGED as MERGED, NORM_FLOOR as NORM_FLOOR, PACKER_EPSILON as PACKER_EPSILON, SELF_SIMILARITY as SELF_SIMILARITY, compression as compression, packer_heads as packer_heads, packer_layers as packer_layers, spread as spread
    from vlmplan.checkpoints.shaped_images import view_processor as view_processor, view_prompter as view_prompter
    from vlmplan.checkpoints.small_checkpoint import IMAGE_TOKEN as IMAGE_TOKEN, SmallModel as SmallModel, save_small as save_small, small_config as small_config, trained_tokenizer as trained_tokenizer, write_checkpoint as write_checkpoint
    from vlmplan.checkpoints.tensors import Joined as Joined, Weights as Weights, canonical as canonical
    from vlmplan.checkpoints.torch_compressors import compressor_module as compressor_module, features_of as features_of

__getattr__, __all__ = face(
    __name__,
    {
        'attention': ('rope_type',),
        'checkpoint': ('Checkpoint', 'GRIDDED_TYPES', 'LLAVA_TYPES', 'MASKED_TYPES', 'MODEL_TYPES', 'SHAPED_TYPES', 'TEXT_TYPES', 'TILED_TYPES', 'TOWER_TYPES', 'check_shapes', 'head_dim', 'local_folder', 'open_checkpoint', 'quiet_transformers', 'read_config', 'read_layers', 'side_of', 'stored_type'),
        'compressors': ('RandomWeights', 'compression_of', 'compressor_weights', 'parameter_shapes', 'read_compressor', 'weights_file', 'weights_source'),
        'gemma': ('MARKED_TYPES', 'POOLED_TYPES'),
        'internvl_chat': ('CONTEXT', 'TOKEN_NAMES', 'added_tokens', 'fast_tokenizer'),
        'lfm2': ('position_side', 'view_patch_width'),
        'opening': ('opened',),
        'pictures': ('MOST_RESIZED', 'as_rgb', 'check_resized', 'image_file'),
        'pixtral': ('PICTURED_TYPES',),
        'qwen_vl': ('patch_width', 'position_axes', 'stacked_layers', 'tower_width', 'window_side'),
        'reference': ('Reference', 'load_reference', 'random_reference'),
        'regions': ('Compression', 'KEPT', 'MERGED', 'NORM_FLOOR', 'PACKER_EPSILON', 'SELF_SIMILARITY', 'compression', 'packer_heads', 'packer_layers', 'spread'),
        'shaped_images': ('view_processor', 'view_prompter'),
        'small_checkpoint': ('IMAGE_TOKEN', 'SmallModel', 'save_small', 'small_config', 'trained_tokenizer', 'write_checkpoint'),
        'tensors': ('Joined', 'Weights', 'canonical'),
        'torch_compressors': ('compressor_module', 'features_of'),
    },
)
