"""The built-in task: a byte-level GPT on English prose of the public domain."""
