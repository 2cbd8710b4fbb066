"""What is done: plan, measure, verify, train, and the worker processes that do it.

The parent (plan, isolate, sweep, prepare) loads no framework; `worker` and the jobs it names run in workers.
"""
