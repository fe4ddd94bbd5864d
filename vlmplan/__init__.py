"""vlmplan: from a GPU, a task and a budget to the vision-language model that answers best."""

__version__ = "0.1.0"
