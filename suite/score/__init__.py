"""Scoring: from a compressed model and a task to a cell of option scores. The only stage that runs a language model."""
