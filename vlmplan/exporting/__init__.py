"""A checkpoint as ONNX: a checkpoint and an order -> graphs, weights and client files in one folder; running it."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.exporting.answers import PLACEHOLDER as PLACEHOLDER
    from vlmplan.exporting.answers import Answer as Answer
    from vlmplan.exporting.answers import Prompts as Prompts
    from vlmplan.exporting.answers import answer as answer
    from vlmplan.exporting.answers import templated as templated
    from vlmplan.exporting.checkpoint import MODEL_TYPES as MODEL_TYPES
    from vlmplan.exporting.checkpoint import TEXT_TYPES as TEXT_TYPES
    from vlmplan.exporting.checkpoint import TOWER_TYPES as TOWER_TYPES
    from vlmplan.exporting.checkpoint import Checkpoint as Checkpoint
    from vlmplan.exporting.checkpoint import canonical as canonical
    from vlmplan.exporting.checkpoint import local_folder as local_folder
    from vlmplan.exporting.checkpoint import open_checkpoint as open_checkpoint
    from vlmplan.exporting.checkpoint import quiet_transformers as quiet_transformers
    from vlmplan.exporting.checkpoint import read_config as read_config
    from vlmplan.exporting.checkpoint import read_layers as read_layers
    from vlmplan.exporting.client_files import TOKENIZER_FILES as TOKENIZER_FILES
    from vlmplan.exporting.client_files import chat_template as chat_template
    from vlmplan.exporting.client_files import part_of as part_of
    from vlmplan.exporting.client_files import texts as texts
    from vlmplan.exporting.compressors import RandomWeights as RandomWeights
    from vlmplan.exporting.compressors import compressor_weights as compressor_weights
    from vlmplan.exporting.compressors import parameter_shapes as parameter_shapes
    from vlmplan.exporting.compressors import read_compressor as read_compressor
    from vlmplan.exporting.compressors import weights_file as weights_file
    from vlmplan.exporting.decoder_graph import head_dim as head_dim
    from vlmplan.exporting.manifest import DECODER as DECODER
    from vlmplan.exporting.manifest import EMBED as EMBED
    from vlmplan.exporting.manifest import FILE_NAME as FILE_NAME
    from vlmplan.exporting.manifest import GRAPH_REVISION as GRAPH_REVISION
    from vlmplan.exporting.manifest import GRAPHS as GRAPHS
    from vlmplan.exporting.manifest import VISION as VISION
    from vlmplan.exporting.manifest import Manifest as Manifest
    from vlmplan.exporting.manifest import data_file as data_file
    from vlmplan.exporting.manifest import file_sha256 as file_sha256
    from vlmplan.exporting.manifest import read_manifest as read_manifest
    from vlmplan.exporting.orders import EXTERNAL_ABOVE_BYTES as EXTERNAL_ABOVE_BYTES
    from vlmplan.exporting.orders import ExportChoices as ExportChoices
    from vlmplan.exporting.orders import ExportOrder as ExportOrder
    from vlmplan.exporting.orders import compressed as compressed
    from vlmplan.exporting.orders import order as order
    from vlmplan.exporting.orders import planned_base as planned_base
    from vlmplan.exporting.pictures import as_rgb as as_rgb
    from vlmplan.exporting.pictures import image_file as image_file
    from vlmplan.exporting.quantise import quantised as quantised
    from vlmplan.exporting.reference import Reference as Reference
    from vlmplan.exporting.reference import load_reference as load_reference
    from vlmplan.exporting.reference import random_reference as random_reference
    from vlmplan.exporting.runner import Generation as Generation
    from vlmplan.exporting.runner import Model as Model
    from vlmplan.exporting.runner import OnnxModel as OnnxModel
    from vlmplan.exporting.runner import Prompt as Prompt
    from vlmplan.exporting.runner import decoder_pass as decoder_pass
    from vlmplan.exporting.runner import decoder_step as decoder_step
    from vlmplan.exporting.runner import empty_cache as empty_cache
    from vlmplan.exporting.runner import generate as generate
    from vlmplan.exporting.runner import open_session as open_session
    from vlmplan.exporting.runner import prompt_embeds as prompt_embeds
    from vlmplan.exporting.runner import question_embedding as question_embedding
    from vlmplan.exporting.small_checkpoint import IMAGE_TOKEN as IMAGE_TOKEN
    from vlmplan.exporting.small_checkpoint import SmallModel as SmallModel
    from vlmplan.exporting.small_checkpoint import save_small as save_small
    from vlmplan.exporting.small_checkpoint import small_config as small_config
    from vlmplan.exporting.small_checkpoint import trained_tokenizer as trained_tokenizer
    from vlmplan.exporting.small_checkpoint import write_checkpoint as write_checkpoint
    from vlmplan.exporting.timed import TimedRequest as TimedRequest
    from vlmplan.exporting.timed import workload_prompt as workload_prompt
    from vlmplan.exporting.torch_compressors import compressor_module as compressor_module
    from vlmplan.exporting.torch_compressors import features_of as features_of
    from vlmplan.exporting.vision_graph import Compression as Compression
    from vlmplan.exporting.vision_graph import compression as compression
    from vlmplan.exporting.write import LIBRARIES as LIBRARIES
    from vlmplan.exporting.write import Parts as Parts
    from vlmplan.exporting.write import baked_question_ids as baked_question_ids
    from vlmplan.exporting.write import check_plan as check_plan
    from vlmplan.exporting.write import export as export
    from vlmplan.exporting.write import manifest_of as manifest_of
    from vlmplan.exporting.write import open_parts as open_parts
    from vlmplan.exporting.write import weight_bytes as weight_bytes
    from vlmplan.exporting.write import write_graph as write_graph

__getattr__, __all__ = face(
    __name__,
    {
        "answers": ("Answer", "PLACEHOLDER", "Prompts", "answer", "templated"),
        "checkpoint": (
            "Checkpoint",
            "MODEL_TYPES",
            "TEXT_TYPES",
            "TOWER_TYPES",
            "canonical",
            "local_folder",
            "open_checkpoint",
            "quiet_transformers",
            "read_config",
            "read_layers",
        ),
        "client_files": ("TOKENIZER_FILES", "chat_template", "part_of", "texts"),
        "compressors": ("RandomWeights", "compressor_weights", "parameter_shapes", "read_compressor", "weights_file"),
        "decoder_graph": ("head_dim",),
        "manifest": (
            "DECODER",
            "EMBED",
            "FILE_NAME",
            "GRAPHS",
            "GRAPH_REVISION",
            "Manifest",
            "VISION",
            "data_file",
            "file_sha256",
            "read_manifest",
        ),
        "orders": ("EXTERNAL_ABOVE_BYTES", "ExportChoices", "ExportOrder", "compressed", "order", "planned_base"),
        "pictures": ("as_rgb", "image_file"),
        "quantise": ("quantised",),
        "reference": ("Reference", "load_reference", "random_reference"),
        "runner": (
            "Generation",
            "Model",
            "OnnxModel",
            "Prompt",
            "decoder_pass",
            "decoder_step",
            "empty_cache",
            "generate",
            "open_session",
            "prompt_embeds",
            "question_embedding",
        ),
        "small_checkpoint": (
            "IMAGE_TOKEN",
            "SmallModel",
            "save_small",
            "small_config",
            "trained_tokenizer",
            "write_checkpoint",
        ),
        "timed": ("TimedRequest", "workload_prompt"),
        "torch_compressors": ("compressor_module", "features_of"),
        "vision_graph": ("Compression", "compression"),
        "write": (
            "LIBRARIES",
            "Parts",
            "baked_question_ids",
            "check_plan",
            "export",
            "manifest_of",
            "open_parts",
            "weight_bytes",
            "write_graph",
        ),
    },
)
