"""Verdicts from cells: collapse, decoupling, size. Needs NumPy and SciPy; no LLM."""
