"""One row a cell, one definition a column, and every format that a table is shown in."""
