"""A compressed model against the dense one on items that both have answered, from files that exist already."""
