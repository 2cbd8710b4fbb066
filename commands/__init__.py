"""The commands, one module each: what the command line says becomes a value of spec, a function of runners, and a table.

`options` declares what several commands share, `output` prints and logs, `runs` makes run folders. click and spec; everything
else is imported late, so that `--help` stays fast.
"""
