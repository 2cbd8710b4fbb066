"""Code of a worker process: the loop that answers requests, and the functions of the jobs.

Imports NumPy, the runtime of the job and this folder; never a module of the parent. Python 3.10 or later.
"""
