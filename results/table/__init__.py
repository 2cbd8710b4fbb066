"""Table of results: one row for each cell, one definition for each column, and the formats of its text."""
