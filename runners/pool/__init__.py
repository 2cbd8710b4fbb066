"""The parent's side of workers: start, ask, bound and end a process, and find out what can run here. Loads no framework."""
