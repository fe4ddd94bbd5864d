"""What is a family's own of its checkpoints? What is drawn, how tensors are read, how PyTorch and processors run."""
