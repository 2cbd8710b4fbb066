"""Everything that runs in a worker process: the loop that answers requests, and the jobs that it names.

NumPy, the runtime that a job needs, and this folder; of the parent's modules, none. Python 3.10 and later.
"""
