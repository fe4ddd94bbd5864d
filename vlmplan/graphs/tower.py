"""What do vision towers share? An image's patches, a first token, squares joined; a layer of CLIP's and SigLIP's."""

from typing import Any

from vlmplan.graphs.sketch import Sketch


def patches(sketch: Sketch, patch: int, pixels: Any, name: str = "vision_tower.embeddings.patch_embedding") -> Any:
    """``[batch, channels, height, width] -> [batch, patches, width]``: a convolution whose stride is its kernel.

    ``patch`` is a patch's side in pixels, ``name`` the convolution's among the tensors.
    """
    kernel = [sketch.parameter(f"{name}.weight")]
    if sketch.has(f"{name}.bias"):
        kernel.append(sketch.parameter(f"{name}.bias"))
    x = sketch.op("Conv", pixels, *kernel, kernel_shape=[patch, patch], strides=[patch, patch])
    return sketch.op("Transpose", sketch.op("Reshape", x, sketch.ints(0, 0, -1)), perm=[0, 2, 1])


def with_first(sketch: Sketch, x: Any, pixels: Any, name: str, width: int) -> Any:
    """``x [batch, patches, width]`` of ``pixels`` with the token of a tensor's name before them."""
    batch = sketch.op("Shape", pixels, start=0, end=1)
    shape = sketch.op("Concat", batch, sketch.ints(1, width), axis=0)
    return sketch.op("Concat", sketch.op("Expand", sketch.parameter(name), shape), x, axis=1)


def averaged(sketch: Sketch, x: Any, grid: int, factor: int) -> Any:
    """``[batch, (grid x factor)², width] -> [batch, grid², width]``: the mean of each square of patches."""
    if factor == 1:
        return x
    x = sketch.op("Reshape", x, sketch.ints(0, grid, factor, grid, factor, -1))
    pooled = sketch.op("ReduceMean", x, sketch.ints(2, 4), keepdims=0)
    return sketch.op("Reshape", pooled, sketch.ints(0, grid * grid, -1))


def joined(sketch: Sketch, x: Any, side: int, factor: int, width: int) -> Any:
    """``[tiles, side², width] -> [tiles, (side / factor)², width x factor²]``: squares of patches, row by row."""
    grid = side // factor
    x = sketch.op("Reshape", x, sketch.ints(0, grid, factor, grid, factor, -1))
    x = sketch.op("Transpose", x, perm=[0, 1, 3, 2, 4, 5])
    return sketch.op("Reshape", x, sketch.ints(0, grid * grid, width * factor**2))


def attention_parts(sketch: Sketch, tower: Any, x: Any, name: str) -> list[Any]:
    """Queries, keys and values of a layer, after its norm: ``[batch, patches, width]`` each."""
    normed = sketch.layer_norm(x, f"{name}.layer_norm1", tower.layer_norm_eps)
    return [sketch.linear(normed, f"{name}.self_attn.{part}_proj") for part in "qkv"]


def tower_layer(
    sketch: Sketch, tower: Any, x: Any, name: str, visible: Any | None = None, parts: list[Any] | None = None
) -> Any:
    """Attention and an MLP, each after a norm; ``visible [batch, 1, patches, patches]`` says who sees whom, if not all.

    ``tower`` is the tower's transformers configuration, ``name`` the layer's among the tensors; ``parts`` are its
    queries, keys and values where they are drawn.
    """
    epsilon, heads = tower.layer_norm_eps, tower.num_attention_heads
    parts = parts or attention_parts(sketch, tower, x, name)
    seen = [] if visible is None else [visible]
    attended = sketch.op("Attention", *parts, *seen, q_num_heads=heads, kv_num_heads=heads)
    x = sketch.op("Add", x, sketch.linear(attended, f"{name}.self_attn.out_proj"))
    normed = sketch.layer_norm(x, f"{name}.layer_norm2", epsilon)
    inner = sketch.activation(sketch.linear(normed, f"{name}.mlp.fc1"), tower.hidden_act)
    return sketch.op("Add", x, sketch.linear(inner, f"{name}.mlp.fc2"))
