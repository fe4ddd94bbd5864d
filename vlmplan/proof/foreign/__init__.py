"""Decoders that others exported: what can be compared of graphs, files and settings that nobody here wrote."""
