"""From records to what people read: pure functions, no processes and no runtimes.

record (what was stored) -> stats -> columns (what each figure means) -> table -> render (formats)
"""
