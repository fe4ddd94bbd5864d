"""What a checkpoint holds and computes: files -> configuration, tensors, compressor; the torch model to measure by."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.checkpoints.attention import rope_type as rope_type
    from vlmplan.checkpoints.checkpoint import GRIDDED_TYPES as GRIDDED_TYPES
    from vlmplan.checkpoints.checkpoint import LLAVA_TYPES as LLAVA_TYPES
    from vlmplan.checkpoints.checkpoint import MASKED_TYPES as MASKED_TYPES
    from vlmplan.checkpoints.checkpoint import MODEL_TYPES as MODEL_TYPES
    from vlmplan.checkpoints.checkpoint import SHAPED_TYPES as SHAPED_TYPES
    from vlmplan.checkpoints.checkpoint import TEXT_TYPES as TEXT_TYPES
    from vlmplan.checkpoints.checkpoint import TILED_TYPES as TILED_TYPES
    from vlmplan.checkpoints.checkpoint import TOWER_TYPES as TOWER_TYPES
    from vlmplan.checkpoints.checkpoint import Checkpoint as Checkpoint
    from vlmplan.checkpoints.checkpoint import check_shapes as check_shapes
    from vlmplan.checkpoints.checkpoint import head_dim as head_dim
    from vlmplan.checkpoints.checkpoint import local_folder as local_folder
    from vlmplan.checkpoints.checkpoint import open_checkpoint as open_checkpoint
    from vlmplan.checkpoints.checkpoint import quiet_transformers as quiet_transformers
    from vlmplan.checkpoints.checkpoint import read_config as read_config
    from vlmplan.checkpoints.checkpoint import read_layers as read_layers
    from vlmplan.checkpoints.checkpoint import side_of as side_of
    from vlmplan.checkpoints.checkpoint import stored_type as stored_type
    from vlmplan.checkpoints.compressors import RandomWeights as RandomWeights
    from vlmplan.checkpoints.compressors import compression_of as compression_of
    from vlmplan.checkpoints.compressors import compressor_weights as compressor_weights
    from vlmplan.checkpoints.compressors import own_weights as own_weights
    from vlmplan.checkpoints.compressors import parameter_shapes as parameter_shapes
    from vlmplan.checkpoints.compressors import read_compressor as read_compressor
    from vlmplan.checkpoints.compressors import weights_file as weights_file
    from vlmplan.checkpoints.compressors import weights_source as weights_source
    from vlmplan.checkpoints.families.gemma import MARKED_TYPES as MARKED_TYPES
    from vlmplan.checkpoints.families.gemma import POOLED_TYPES as POOLED_TYPES
    from vlmplan.checkpoints.families.internvl_chat import CONTEXT as CONTEXT
    from vlmplan.checkpoints.families.internvl_chat import TOKEN_NAMES as TOKEN_NAMES
    from vlmplan.checkpoints.families.internvl_chat import added_tokens as added_tokens
    from vlmplan.checkpoints.families.internvl_chat import fast_tokenizer as fast_tokenizer
    from vlmplan.checkpoints.families.lfm2 import position_side as position_side
    from vlmplan.checkpoints.families.lfm2 import view_patch_width as view_patch_width
    from vlmplan.checkpoints.families.lfm2_images import view_processor as view_processor
    from vlmplan.checkpoints.families.lfm2_images import view_prompter as view_prompter
    from vlmplan.checkpoints.families.pixtral import PICTURED_TYPES as PICTURED_TYPES
    from vlmplan.checkpoints.families.qwen_vl import patch_width as patch_width
    from vlmplan.checkpoints.families.qwen_vl import position_axes as position_axes
    from vlmplan.checkpoints.families.qwen_vl import stacked_layers as stacked_layers
    from vlmplan.checkpoints.families.qwen_vl import tower_width as tower_width
    from vlmplan.checkpoints.families.qwen_vl import window_side as window_side
    from vlmplan.checkpoints.opening import opened as opened
    from vlmplan.checkpoints.pictures import MOST_RESIZED as MOST_RESIZED
    from vlmplan.checkpoints.pictures import as_rgb as as_rgb
    from vlmplan.checkpoints.pictures import check_resized as check_resized
    from vlmplan.checkpoints.pictures import image_file as image_file
    from vlmplan.checkpoints.reference import Reference as Reference
    from vlmplan.checkpoints.reference import load_reference as load_reference
    from vlmplan.checkpoints.reference import random_reference as random_reference
    from vlmplan.checkpoints.regions import KEPT as KEPT
    from vlmplan.checkpoints.regions import MERGED as MERGED
    from vlmplan.checkpoints.regions import NORM_FLOOR as NORM_FLOOR
    from vlmplan.checkpoints.regions import PACKER_EPSILON as PACKER_EPSILON
    from vlmplan.checkpoints.regions import SELF_SIMILARITY as SELF_SIMILARITY
    from vlmplan.checkpoints.regions import Compression as Compression
    from vlmplan.checkpoints.regions import compression as compression
    from vlmplan.checkpoints.regions import packer_heads as packer_heads
    from vlmplan.checkpoints.regions import packer_layers as packer_layers
    from vlmplan.checkpoints.regions import spread as spread
    from vlmplan.checkpoints.small_checkpoint import IMAGE_TOKEN as IMAGE_TOKEN
    from vlmplan.checkpoints.small_checkpoint import SmallModel as SmallModel
    from vlmplan.checkpoints.small_checkpoint import save_small as save_small
    from vlmplan.checkpoints.small_checkpoint import small_config as small_config
    from vlmplan.checkpoints.small_checkpoint import trained_tokenizer as trained_tokenizer
    from vlmplan.checkpoints.small_checkpoint import write_checkpoint as write_checkpoint
    from vlmplan.checkpoints.tensors import Joined as Joined
    from vlmplan.checkpoints.tensors import Weights as Weights
    from vlmplan.checkpoints.tensors import canonical as canonical
    from vlmplan.checkpoints.torch_compressors import compressor_module as compressor_module
    from vlmplan.checkpoints.torch_compressors import features_of as features_of

__getattr__, __all__ = face(
    __name__,
    {
        "attention": ("rope_type",),
        "checkpoint": (
            "Checkpoint",
            "GRIDDED_TYPES",
            "LLAVA_TYPES",
            "MASKED_TYPES",
            "MODEL_TYPES",
            "SHAPED_TYPES",
            "TEXT_TYPES",
            "TILED_TYPES",
            "TOWER_TYPES",
            "check_shapes",
            "head_dim",
            "local_folder",
            "open_checkpoint",
            "quiet_transformers",
            "read_config",
            "read_layers",
            "side_of",
            "stored_type",
        ),
        "compressors": (
            "RandomWeights",
            "compression_of",
            "compressor_weights",
            "own_weights",
            "parameter_shapes",
            "read_compressor",
            "weights_file",
            "weights_source",
        ),
        "families.gemma": ("MARKED_TYPES", "POOLED_TYPES"),
        "families.internvl_chat": ("CONTEXT", "TOKEN_NAMES", "added_tokens", "fast_tokenizer"),
        "families.lfm2": ("position_side", "view_patch_width"),
        "families.lfm2_images": ("view_processor", "view_prompter"),
        "families.pixtral": ("PICTURED_TYPES",),
        "families.qwen_vl": ("patch_width", "position_axes", "stacked_layers", "tower_width", "window_side"),
        "opening": ("opened",),
        "pictures": ("MOST_RESIZED", "as_rgb", "check_resized", "image_file"),
        "reference": ("Reference", "load_reference", "random_reference"),
        "regions": (
            "Compression",
            "KEPT",
            "MERGED",
            "NORM_FLOOR",
            "PACKER_EPSILON",
            "SELF_SIMILARITY",
            "compression",
            "packer_heads",
            "packer_layers",
            "spread",
        ),
        "small_checkpoint": (
            "IMAGE_TOKEN",
            "SmallModel",
            "save_small",
            "small_config",
            "trained_tokenizer",
            "write_checkpoint",
        ),
        "tensors": ("Joined", "Weights", "canonical"),
        "torch_compressors": ("compressor_module", "features_of"),
    },
)
