"""A checkpoint as ONNX: a checkpoint and an order -> graphs, weights and client files in one folder; running it."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.exporting.answers import Answer as Answer, PLACEHOLDER as PLACEHOLDER, Prompts as Prompts, answer as answer, templated as templated
    from vlmplan.exporting.checkpoint import Checkpoint as Checkpoint, MODEL_TYPES as MODEL_TYPES, TEXT_TYPES as TEXT_TYPES, TOWER_TYPES as TOWER_TYPES, canonical as canonical, local_folder as local_folder, open_checkpoint as open_checkpoint, quiet_transformers as quiet_transformers, read_config as read_config, read_layers as read_layers
    from vlmplan.exporting.client_files import TOKENIZER_FILES as TOKENIZER_FILES, chat_template as chat_template, part_of as part_of, texts as texts
    from vlmplan.exporting.compressors import RandomWeights as RandomWeights, compressor_weights as compressor_weights, parameter_shapes as parameter_shapes, read_compressor as read_compressor, weights_file as weights_file
    from vlmplan.exporting.decoder_graph import head_dim as head_dim
    from vlmplan.exporting.manifest import DECODER as DECODER, EMBED as EMBED, FILE_NAME as FILE_NAME, GRAPHS as GRAPHS, GRAPH_REVISION as GRAPH_REVISION, Manifest as Manifest, VISION as VISION, data_file as data_file, file_sha256 as file_sha256, read_manifest as read_manifest
    from vlmplan.exporting.orders import EXTERNAL_ABOVE_BYTES as EXTERNAL_ABOVE_BYTES, ExportChoices as ExportChoices, ExportOrder as ExportOrder, compressed as compressed, order as order, planned_base as planned_base
    from vlmplan.exporting.pictures import as_rgb as as_rgb, image_file as image_file
    from vlmplan.exporting.quantise import quantised as quantised
    from vlmplan.exporting.reference import Reference as Reference, load_reference as load_reference, random_reference as random_reference
    from vlmplan.exporting.runner import Generation as Generation, Model as Model, OnnxModel as OnnxModel, Prompt as Prompt, decoder_pass as decoder_pass, decoder_step as decoder_step, empty_cache as empty_cache, generate as generate, open_session as open_session, prompt_embeds as prompt_embeds, question_embedding as question_embedding
    from vlmplan.exporting.small_checkpoint import IMAGE_TOKEN as IMAGE_TOKEN, SmallModel as SmallModel, save_small as save_small, small_config as small_config, trained_tokenizer as trained_tokenizer, write_checkpoint as write_checkpoint
    from vlmplan.exporting.timed import TimedRequest as TimedRequest, workload_prompt as workload_prompt
    from vlmplan.exporting.torch_compressors import compressor_module as compressor_module, features_of as features_of
    from vlmplan.exporting.vision_graph import Compression as Compression, compression as compression
    from vlmplan.exporting.write import LIBRARIES as LIBRARIES, Parts as Parts, baked_question_ids as baked_question_ids, check_plan as check_plan, export as export, manifest_of as manifest_of, open_parts as open_parts, weight_bytes as weight_bytes, write_graph as write_graph

__getattr__, __all__ = face(
    __name__,
    {
        'answers': ('Answer', 'PLACEHOLDER', 'Prompts', 'answer', 'templated'),
        'checkpoint': ('Checkpoint', 'MODEL_TYPES', 'TEXT_TYPES', 'TOWER_TYPES', 'canonical', 'local_folder', 'open_checkpoint', 'quiet_transformers', 'read_config', 'read_layers'),
        'client_files': ('TOKENIZER_FILES', 'chat_template', 'part_of', 'texts'),
        'compressors': ('RandomWeights', 'compressor_weights', 'parameter_shapes', 'read_compressor', 'weights_file'),
        'decoder_graph': ('head_dim',),
        'manifest': ('DECODER', 'EMBED', 'FILE_NAME', 'GRAPHS', 'GRAPH_REVISION', 'Manifest', 'VISION', 'data_file', 'file_sha256', 'read_manifest'),
        'orders': ('EXTERNAL_ABOVE_BYTES', 'ExportChoices', 'ExportOrder', 'compressed', 'order', 'planned_base'),
        'pictures': ('as_rgb', 'image_file'),
        'quantise': ('quantised',),
        'reference': ('Reference', 'load_reference', 'random_reference'),
        'runner': ('Generation', 'Model', 'OnnxModel', 'Prompt', 'decoder_pass', 'decoder_step', 'empty_cache', 'generate', 'open_session', 'prompt_embeds', 'question_embedding'),
        'small_checkpoint': ('IMAGE_TOKEN', 'SmallModel', 'save_small', 'small_config', 'trained_tokenizer', 'write_checkpoint'),
        'timed': ('TimedRequest', 'workload_prompt'),
        'torch_compressors': ('compressor_module', 'features_of'),
        'vision_graph': ('Compression', 'compression'),
        'write': ('LIBRARIES', 'Parts', 'baked_question_ids', 'check_plan', 'export', 'manifest_of', 'open_parts', 'weight_bytes', 'write_graph'),
    },
)
