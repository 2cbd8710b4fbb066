"""Recommendation of a row to deploy: the best row within limits, the excluded rows, and a program to run it."""
