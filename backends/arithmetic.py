"""Types of a runtime's arithmetic, by sums of products whose answers differ between the types. NumPy only.

For runtimes that do not report the types of their kernels. The sums run with the options of the session.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Numbers = Sequence[float]
Answer = Callable[[Numbers, Numbers], float]  # the sum of the products of values and weights

FINE = 1 + 2.0**-15  # more digits than FP16 has
MIDDLE = 1 + 2.0**-9  # digits of FP16, and more than BF16 has
COARSE = 16 * (1 + 2.0**-10)  # an FP16 number, whose square has more digits than FP16
REST = 2.0**-12  # its square, minus the square that is rounded to FP16


def arithmetic_of(answer: Answer) -> str:
    """Types that the sums of `answer` show: `fp32`, `fp32+fp16` (FP16 values, summed in FP32), `fp16` or `bf16`."""
    if all(_keeps(answer, number) for number in (FINE, MIDDLE)):
        return "fp32"
    if not _keeps(answer, MIDDLE):
        return "bf16"
    pairs = [(COARSE, COARSE), (-256 * MIDDLE, 1.0)]
    # products that are rounded to FP16 lose the rest in one order of the sum or in the other
    rests = [answer(*map(list, zip(*order))) for order in (pairs, pairs[::-1])]
    return "fp32+fp16" if rests == [REST, REST] else "fp16"


def _keeps(answer: Answer, number: float) -> bool:
    """True if `number` comes back whole, as a value and as a weight."""
    return answer([number], [1.0]) == answer([1.0], [number]) == float(np.float32(number))
