"""From a name, a folder or a file to a network with its tokenizer, and what of it was read."""
