"""Statistics right of the seam: cells in, rows out. Needs NumPy, SciPy, scikit-learn, mapie and netcal; no LLM."""
