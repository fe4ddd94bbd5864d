"""A configuration and tensors -> ONNX graphs drawn operator by operator, whole or rounded."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.graphs.decoder import DecoderOptions as DecoderOptions
    from vlmplan.graphs.decoder import decoder_graph as decoder_graph
    from vlmplan.graphs.decoder import embedding_graph as embedding_graph
    from vlmplan.graphs.gemma import gemma_decoder_graph as gemma_decoder_graph
    from vlmplan.graphs.gemma import gemma_embedding_graph as gemma_embedding_graph
    from vlmplan.graphs.gemma import gemma_encoder_graph as gemma_encoder_graph
    from vlmplan.graphs.internvit import internvit_graph as internvit_graph
    from vlmplan.graphs.lfm2 import lfm2_decoder_graph as lfm2_decoder_graph
    from vlmplan.graphs.lfm2 import view_graph as view_graph
    from vlmplan.graphs.pixtral import picture_graph as picture_graph
    from vlmplan.graphs.quantise import quantised as quantised
    from vlmplan.graphs.qwen_vl import GRID_NAMES as GRID_NAMES
    from vlmplan.graphs.qwen_vl import patch_graph as patch_graph
    from vlmplan.graphs.sketch import OPSET as OPSET
    from vlmplan.graphs.tiles import tile_graph as tile_graph
    from vlmplan.graphs.vision import encoder_graph as encoder_graph

__getattr__, __all__ = face(
    __name__,
    {
        "decoder": ("DecoderOptions", "decoder_graph", "embedding_graph"),
        "gemma": ("gemma_decoder_graph", "gemma_embedding_graph", "gemma_encoder_graph"),
        "internvit": ("internvit_graph",),
        "lfm2": ("lfm2_decoder_graph", "view_graph"),
        "pixtral": ("picture_graph",),
        "quantise": ("quantised",),
        "qwen_vl": ("GRID_NAMES", "patch_graph"),
        "sketch": ("OPSET",),
        "tiles": ("tile_graph",),
        "vision": ("encoder_graph",),
    },
)
