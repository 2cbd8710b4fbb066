"""The statistics of a row, as pure functions of numbers: percentiles (NumPy alone) and intervals."""
