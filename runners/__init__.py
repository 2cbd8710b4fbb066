"""What is done: measure, check, preview and train, and the worker processes that do it.

    worker/     what runs in a worker process
    pool/       starts, asks, bounds and ends workers
    sweep/      which cell is measured when, and when it has had enough
    prepare/    training, checkpoints and exports

`infer`, `check` and `preview` prepare what a command names and hand it to a sweep. The parent (everything but `worker/`)
loads no framework.
"""
