"""Run folders: their contents, their readers, and the values of each round."""
