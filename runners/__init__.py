"""Runners of the commands: measure, check, preview and train, and the worker processes that do the work.

    worker/     what runs in a worker process
    pool/       starts, asks, limits and ends workers
    sweep/      order of the cells, rounds, and the end of each cell
    prepare/    training, checkpoints and exports

`infer`, `check` and `preview` prepare the files of a command, and start a sweep. The parent (all folders but `worker/`)
loads no framework.
"""
