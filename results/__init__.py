"""What was measured, and what it means: nothing here runs a model. NumPy and SciPy; no framework, no clock, no process.

    stats/      statistics, as pure functions of numbers
    store/      run folders: what is in one, and how it is read back
    table/      one row a cell, one definition a column
    compare/    run against run, and gates
    recommend/  which row to deploy
    report/     the page, images and data files
    imports/    other tools' files as rows
    trackers/   rows for MLflow, Weights & Biases and TensorBoard

Imports go one way: stats <- store <- table <- compare, recommend <- report, trackers; imports stands alone.
"""
