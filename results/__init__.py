"""Results of measurements, from stored runs to tables and decisions. NumPy and SciPy; no framework, no clock, no process.

    stats/      statistics, as pure functions of numbers
    store/      run folders and their records
    table/      one row a cell, one definition a column
    compare/    run against run, and gates
    recommend/  the row to deploy
    report/     the page, images and data files
    imports/    other tools' files as rows
    trackers/   rows for MLflow, Weights & Biases and TensorBoard

Imports go one way: stats <- store <- table <- compare, recommend <- report, trackers; imports stands alone.
"""
