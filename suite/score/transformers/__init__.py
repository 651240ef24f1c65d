"""Scoring with networks of the transformers library: which tokens go through a network together, and what it says."""
