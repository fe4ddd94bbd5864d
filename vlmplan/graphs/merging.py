"""How do image features come into the places of image tokens within the graph of embeddings? For onnxruntime-genai.

transformers.js and ``vlmplan`` put them there themselves; onnxruntime-genai hands token ids and features to one graph
and expects the embeddings of the whole prompt. From the second call on it hands over no features: what is generated is
text then, an image token too. Any other number of features than of image tokens is an error when the graph runs.
"""

from typing import Any

from vlmplan.graphs.sketch import Sketch


def features_input(sketch: Sketch, width: int, *, ranked: bool) -> Any:
    """Return the input ``image_features [tokens, width]``, or of any rank where it is not ``ranked``.

    onnxruntime-genai hands over ``[images, tokens, width]`` of a vision encoder that gives three axes, and none of text
    alone as ``[0, width]`` all the same.
    """
    return sketch.input("image_features", ["num_image_tokens", width] if ranked else None)


def merged(sketch: Sketch, ids: Any, embeds: Any, features: Any, image_token: int, width: int) -> Any:
    """Return ``embeds [batch, tokens, width]`` with the rows of ``features``, in order, where ``ids`` have the token."""
    rows = sketch.op("Reshape", sketch.inner(features), sketch.ints(-1, width))
    given = sketch.op("Greater", sketch.op("Shape", rows, start=0, end=1), sketch.ints(0))
    places = sketch.op("And", sketch.op("Equal", ids, sketch.scalar(image_token)), given)
    return sketch.op("ScatterND", embeds, sketch.op("Transpose", sketch.op("NonZero", places), perm=[1, 0]), rows)
