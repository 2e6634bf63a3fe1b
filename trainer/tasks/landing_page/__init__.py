"""The built-in task without a language model: a landing page and an e-mail that leads to it."""
