"""Which client files does an export need? Configuration, processor and tokenizer, as each family's clients read."""
