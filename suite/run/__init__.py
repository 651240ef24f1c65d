"""A run: its plan, its cells, its leaderboard."""
