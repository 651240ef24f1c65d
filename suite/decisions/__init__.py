"""What may be lost: policies of acceptance. Needs NumPy, SciPy and pydantic; no LLM."""
