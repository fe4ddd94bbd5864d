"""What the files of several families have in common: their keys, towers, decoders, projectors and image rules."""
