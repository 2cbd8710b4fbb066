"""Parent's side of workers: start, ask, limit and end a process, and probe the backends. Loads no framework."""
