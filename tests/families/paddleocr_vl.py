"""How paddleocr-vl is tried against transformers: a small model, and how its processor counts."""

from part import TEXT, VISION, Part
from processors import area

_FILE = {"size": {"shortest_edge": 147384, "longest_edge": 2822400}}  # of the file beside the checkpoint
PARTS = {
    "paddleocr_vl": Part(
        config={"text_config": TEXT, "vision_config": VISION},
        count=area("paddleocr_vl", "PaddleOCRVL", _FILE),
        settings=[
            {"min_pixels": 112896, "max_pixels": 1003520},
            {"size": {"shortest_edge": 147456, "longest_edge": 2359296}},
            {"size": {"shortest_edge": 147384, "longest_edge": 600000}},
            {"min_pixels": 3136, "max_pixels": 99999},
            {"min_pixels": 1000000, "max_pixels": 2822400},
        ],
    ),
}
