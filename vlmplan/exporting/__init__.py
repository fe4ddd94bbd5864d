"""A checkpoint as ONNX: a checkpoint and an order -> graphs, weights and client files in one folder; running it."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.exporting.allowance import Allowance as Allowance, OutOfTime as OutOfTime, RUN_TIMEOUT_S as RUN_TIMEOUT_S
    from vlmplan.exporting.answers import Answer as Answer, PLACEHOLDER as PLACEHOLDER, Prompts as Prompts, answer as answer, cut_within as cut_within
    from vlmplan.exporting.client_files import TOKENIZER_FILES as TOKENIZER_FILES, chat_template as chat_template, part_of as part_of, texts as texts
    from vlmplan.exporting.genai_files import GENAI_CLIENT as GENAI_CLIENT, GENAI_MARKS as GENAI_MARKS, check_runs as check_runs
    from vlmplan.exporting.manifest import ClientLayout as ClientLayout, DECODER as DECODER, EMBED as EMBED, FILE_NAME as FILE_NAME, GRAPHS as GRAPHS, GRAPH_REVISION as GRAPH_REVISION, Manifest as Manifest, VISION as VISION, data_file as data_file, file_sha256 as file_sha256, read_manifest as read_manifest
    from vlmplan.exporting.orders import EXTERNAL_ABOVE_BYTES as EXTERNAL_ABOVE_BYTES, ExportChoices as ExportChoices, ExportOrder as ExportOrder, compressed as compressed, export_order as export_order, planned_base as planned_base
    from vlmplan.exporting.positions import joined_positions as joined_positions
    from vlmplan.exporting.runner import Generation as Generation, Model as Model, OnnxModel as OnnxModel, Prompt as Prompt, decoder_pass as decoder_pass, empty_cache as empty_cache, generate as generate, open_session as open_session, prompt_embeds as prompt_embeds, question_embedding as question_embedding, stepped as stepped
    from vlmplan.exporting.shapes import Shapes as Shapes
    from vlmplan.exporting.templates import EndlessTemplate as EndlessTemplate, templated as templated
    from vlmplan.exporting.tiles import Pictures as Pictures, Squares as Squares, Tiling as Tiling, USUAL_IMAGE as USUAL_IMAGE, tiling as tiling
    from vlmplan.exporting.timed import TimedRequest as TimedRequest, shaped_prompt as shaped_prompt, workload_prompt as workload_prompt
    from vlmplan.exporting.write import LIBRARIES as LIBRARIES, Parts as Parts, baked_question_ids as baked_question_ids, check_plan as check_plan, export as export, manifest_of as manifest_of, open_parts as open_parts, weight_bytes as weight_bytes, write_graph as write_graph

__getattr__, __all__ = face(
    __name__,
    {
        'allowance': ('Allowance', 'OutOfTime', 'RUN_TIMEOUT_S'),
        'answers': ('Answer', 'PLACEHOLDER', 'Prompts', 'answer', 'cut_within'),
        'client_files': ('TOKENIZER_FILES', 'chat_template', 'part_of', 'texts'),
        'genai_files': ('GENAI_CLIENT', 'GENAI_MARKS', 'check_runs'),
        'manifest': ('ClientLayout', 'DECODER', 'EMBED', 'FILE_NAME', 'GRAPHS', 'GRAPH_REVISION', 'Manifest', 'VISION', 'data_file', 'file_sha256', 'read_manifest'),
        'orders': ('EXTERNAL_ABOVE_BYTES', 'ExportChoices', 'ExportOrder', 'compressed', 'export_order', 'planned_base'),
        'positions': ('joined_positions',),
        'runner': ('Generation', 'Model', 'OnnxModel', 'Prompt', 'decoder_pass', 'empty_cache', 'generate', 'open_session', 'prompt_embeds', 'question_embedding', 'stepped'),
        'shapes': ('Shapes',),
        'templates': ('EndlessTemplate', 'templated'),
        'tiles': ('Pictures', 'Squares', 'Tiling', 'USUAL_IMAGE', 'tiling'),
        'timed': ('TimedRequest', 'shaped_prompt', 'workload_prompt'),
        'write': ('LIBRARIES', 'Parts', 'baked_question_ids', 'check_plan', 'export', 'manifest_of', 'open_parts', 'weight_bytes', 'write_graph'),
    },
)
