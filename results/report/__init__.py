"""One report of runs, to read and to pass on: what it shows, its plots, its page and its exports.

data (what is shown) -> points (what is drawn), sheet (on what) -> plots -> inline (in a page) -> page; exports (other formats)
"""
