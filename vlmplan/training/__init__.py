"""Training and evaluation: the parts that make a model rather than plan or prove one."""
