"""The row to deploy: the best within limits, why others are left out, and a program to paste."""
