"""What a leaderboard shows: one function a section, from rows and verdicts to words, tables and nothing else."""
