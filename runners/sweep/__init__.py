"""Which cell is measured when, and when it has had enough: plan, rounds, visits, and the journal of what was measured."""
