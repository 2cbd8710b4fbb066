"""Two sides of runs, cell by cell: ratio, interval, verdict; and the gates that fail on them."""
