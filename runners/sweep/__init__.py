"""Plan, rounds, cells and journal: the order in which cells are measured, the end of each, and the record on the disk."""
