"""Statistics of a row, as pure functions of numbers: percentiles (NumPy only) and intervals (SciPy)."""
