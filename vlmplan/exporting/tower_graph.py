"""What do vision towers share? The patches of an image, and a layer: CLIP's, SigLIP's and those made after it."""

from typing import Any

from vlmplan.exporting.sketch import Sketch


def patches(sketch: Sketch, tower: Any, pixels: Any) -> Any:
    """``[batch, channels, height, width] -> [batch, patches, width]``: a convolution whose stride is its kernel."""
    name, patch = "vision_tower.embeddings.patch_embedding", tower.patch_size
    kernel = [sketch.parameter(f"{name}.weight")]
    if sketch.has(f"{name}.bias"):
        kernel.append(sketch.parameter(f"{name}.bias"))
    x = sketch.op("Conv", pixels, *kernel, kernel_shape=[patch, patch], strides=[patch, patch])
    return sketch.op("Transpose", sketch.op("Reshape", x, sketch.ints(0, 0, -1)), perm=[0, 2, 1])


def tower_layer(sketch: Sketch, tower: Any, x: Any, name: str, visible: Any | None = None) -> Any:
    """Attention and an MLP, each after a norm; ``visible [batch, 1, patches, patches]`` says who sees whom, if not all.

    ``tower`` is the tower's transformers configuration, ``name`` the layer's among the tensors.
    """
    epsilon, heads = tower.layer_norm_eps, tower.num_attention_heads
    normed = sketch.layer_norm(x, f"{name}.layer_norm1", epsilon)
    parts = [sketch.linear(normed, f"{name}.self_attn.{part}_proj") for part in "qkv"]
    seen = [] if visible is None else [visible]
    attended = sketch.op("Attention", *parts, *seen, q_num_heads=heads, kv_num_heads=heads)
    x = sketch.op("Add", x, sketch.linear(attended, f"{name}.self_attn.out_proj"))
    normed = sketch.layer_norm(x, f"{name}.layer_norm2", epsilon)
    inner = sketch.activation(sketch.linear(normed, f"{name}.mlp.fc1"), tower.hidden_act)
    return sketch.op("Add", x, sketch.linear(inner, f"{name}.mlp.fc2"))
