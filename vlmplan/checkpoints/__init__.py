"""What a checkpoint holds and computes: files -> configuration, tensors, compressor; the torch model to measure by."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.checkpoints.checkpoint import Checkpoint as Checkpoint, Joined as Joined, LLAVA_TYPES as LLAVA_TYPES, MODEL_TYPES as MODEL_TYPES, TEXT_TYPES as TEXT_TYPES, TILED_TYPES as TILED_TYPES, TOWER_TYPES as TOWER_TYPES, Weights as Weights, canonical as canonical, check_shapes as check_shapes, head_dim as head_dim, image_token_of as image_token_of, local_folder as local_folder, open_checkpoint as open_checkpoint, quiet_transformers as quiet_transformers, read_config as read_config, read_layers as read_layers
    from vlmplan.checkpoints.compressors import RandomWeights as RandomWeights, compression_of as compression_of, compressor_weights as compressor_weights, parameter_shapes as parameter_shapes, read_compressor as read_compressor, weights_file as weights_file, weights_source as weights_source
    from vlmplan.checkpoints.pictures import as_rgb as as_rgb, image_file as image_file
    from vlmplan.checkpoints.reference import Reference as Reference, load_reference as load_reference, random_reference as random_reference
    from vlmplan.checkpoints.regions import Compression as Compression, PACKER_EPSILON as PACKER_EPSILON, compression as compression, packer_heads as packer_heads, packer_layers as packer_layers
    from vlmplan.checkpoints.small_checkpoint import IMAGE_TOKEN as IMAGE_TOKEN, SmallModel as SmallModel, save_small as save_small, small_config as small_config, trained_tokenizer as trained_tokenizer, write_checkpoint as write_checkpoint
    from vlmplan.checkpoints.torch_compressors import compressor_module as compressor_module, features_of as features_of

__getattr__, __all__ = face(
    __name__,
    {
        'checkpoint': ('Checkpoint', 'Joined', 'LLAVA_TYPES', 'MODEL_TYPES', 'TEXT_TYPES', 'TILED_TYPES', 'TOWER_TYPES', 'Weights', 'canonical', 'check_shapes', 'head_dim', 'image_token_of', 'local_folder', 'open_checkpoint', 'quiet_transformers', 'read_config', 'read_layers'),
        'compressors': ('RandomWeights', 'compression_of', 'compressor_weights', 'parameter_shapes', 'read_compressor', 'weights_file', 'weights_source'),
        'pictures': ('as_rgb', 'image_file'),
        'reference': ('Reference', 'load_reference', 'random_reference'),
        'regions': ('Compression', 'PACKER_EPSILON', 'compression', 'packer_heads', 'packer_layers'),
        'small_checkpoint': ('IMAGE_TOKEN', 'SmallModel', 'save_small', 'small_config', 'trained_tokenizer', 'write_checkpoint'),
        'torch_compressors': ('compressor_module', 'features_of'),
    },
)
