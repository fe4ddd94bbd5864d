"""A checkpoint as ONNX: a checkpoint and an order -> graphs, weights and client files in one folder; running it."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.exporting.allowance import RUN_TIMEOUT_S as RUN_TIMEOUT_S
    from vlmplan.exporting.allowance import Allowance as Allowance
    from vlmplan.exporting.allowance import OutOfTime as OutOfTime
    from vlmplan.exporting.answers import PLACEHOLDER as PLACEHOLDER
    from vlmplan.exporting.answers import Answer as Answer
    from vlmplan.exporting.answers import Prompts as Prompts
    from vlmplan.exporting.answers import answer as answer
    from vlmplan.exporting.answers import cut_within as cut_within
    from vlmplan.exporting.files.clients import TOKENIZER_FILES as TOKENIZER_FILES
    from vlmplan.exporting.files.clients import part_of as part_of
    from vlmplan.exporting.files.clients import texts as texts
    from vlmplan.exporting.files.genai import GENAI_CLIENT as GENAI_CLIENT
    from vlmplan.exporting.files.genai import GENAI_MARKS as GENAI_MARKS
    from vlmplan.exporting.files.genai import check_runs as check_runs
    from vlmplan.exporting.files.genai_search import GENAI_CONFIG as GENAI_CONFIG
    from vlmplan.exporting.files.genai_search import due_generation as due_generation
    from vlmplan.exporting.files.genai_search import genai_generation as genai_generation
    from vlmplan.exporting.files.generation import GENERATION_FILE as GENERATION_FILE
    from vlmplan.exporting.files.generation import checkpoint_generation as checkpoint_generation
    from vlmplan.exporting.files.generation import ending_tokens as ending_tokens
    from vlmplan.exporting.files.generation import generation_keys as generation_keys
    from vlmplan.exporting.files.generation import generation_settings as generation_settings
    from vlmplan.exporting.manifest import DECODER as DECODER
    from vlmplan.exporting.manifest import EMBED as EMBED
    from vlmplan.exporting.manifest import FILE_NAME as FILE_NAME
    from vlmplan.exporting.manifest import GRAPH_REVISION as GRAPH_REVISION
    from vlmplan.exporting.manifest import GRAPHS as GRAPHS
    from vlmplan.exporting.manifest import VISION as VISION
    from vlmplan.exporting.manifest import ClientLayout as ClientLayout
    from vlmplan.exporting.manifest import Manifest as Manifest
    from vlmplan.exporting.manifest import data_file as data_file
    from vlmplan.exporting.manifest import file_sha256 as file_sha256
    from vlmplan.exporting.manifest import read_manifest as read_manifest
    from vlmplan.exporting.orders import EXTERNAL_ABOVE_BYTES as EXTERNAL_ABOVE_BYTES
    from vlmplan.exporting.orders import ExportChoices as ExportChoices
    from vlmplan.exporting.orders import ExportOrder as ExportOrder
    from vlmplan.exporting.orders import compressed as compressed
    from vlmplan.exporting.orders import export_order as export_order
    from vlmplan.exporting.orders import planned_base as planned_base
    from vlmplan.exporting.positions import joined_positions as joined_positions
    from vlmplan.exporting.processes.optimum import optimum_export as optimum_export
    from vlmplan.exporting.runner import Generation as Generation
    from vlmplan.exporting.runner import Model as Model
    from vlmplan.exporting.runner import OnnxModel as OnnxModel
    from vlmplan.exporting.runner import Prompt as Prompt
    from vlmplan.exporting.runner import decoder_pass as decoder_pass
    from vlmplan.exporting.runner import empty_cache as empty_cache
    from vlmplan.exporting.runner import generate as generate
    from vlmplan.exporting.runner import open_session as open_session
    from vlmplan.exporting.runner import prompt_embeds as prompt_embeds
    from vlmplan.exporting.runner import question_embedding as question_embedding
    from vlmplan.exporting.runner import stepped as stepped
    from vlmplan.exporting.shapes import Shapes as Shapes
    from vlmplan.exporting.templates import EndlessTemplate as EndlessTemplate
    from vlmplan.exporting.templates import templated as templated
    from vlmplan.exporting.tiles import USUAL_IMAGE as USUAL_IMAGE
    from vlmplan.exporting.tiles import Pictures as Pictures
    from vlmplan.exporting.tiles import Squares as Squares
    from vlmplan.exporting.tiles import Tiling as Tiling
    from vlmplan.exporting.tiles import tiling as tiling
    from vlmplan.exporting.timed import TimedRequest as TimedRequest
    from vlmplan.exporting.timed import shaped_prompt as shaped_prompt
    from vlmplan.exporting.timed import workload_prompt as workload_prompt
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
        "allowance": ("Allowance", "OutOfTime", "RUN_TIMEOUT_S"),
        "answers": ("Answer", "PLACEHOLDER", "Prompts", "answer", "cut_within"),
        "files.clients": ("TOKENIZER_FILES", "part_of", "texts"),
        "files.genai": ("GENAI_CLIENT", "GENAI_MARKS", "check_runs"),
        "files.genai_search": ("GENAI_CONFIG", "due_generation", "genai_generation"),
        "files.generation": (
            "GENERATION_FILE",
            "checkpoint_generation",
            "ending_tokens",
            "generation_keys",
            "generation_settings",
        ),
        "manifest": (
            "ClientLayout",
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
        "orders": (
            "EXTERNAL_ABOVE_BYTES",
            "ExportChoices",
            "ExportOrder",
            "compressed",
            "export_order",
            "planned_base",
        ),
        "positions": ("joined_positions",),
        "processes.optimum": ("optimum_export",),
        "runner": (
            "Generation",
            "Model",
            "OnnxModel",
            "Prompt",
            "decoder_pass",
            "empty_cache",
            "generate",
            "open_session",
            "prompt_embeds",
            "question_embedding",
            "stepped",
        ),
        "shapes": ("Shapes",),
        "templates": ("EndlessTemplate", "templated"),
        "tiles": ("Pictures", "Squares", "Tiling", "USUAL_IMAGE", "tiling"),
        "timed": ("TimedRequest", "shaped_prompt", "workload_prompt"),
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
