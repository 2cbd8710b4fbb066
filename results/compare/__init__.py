"""Comparison of two sides of runs, cell by cell: ratio, interval, verdict; and limits that fail on regressions."""
