"""How rows of the facts become configs of paddleocr-vl: what no row says."""

from recipe import Recipe

RECIPES = {"PaddleOCR-VL": Recipe(kind="paddleocr_vl", text="paddleocr_vl_text", vllm="")}
