"""Run folders: what one holds, how it is read back, and what a round of it comes to."""
