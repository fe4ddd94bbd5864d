"""The parts that need torch, transformers and ONNX Runtime: graphs, compressors, export, the runner, validation."""
