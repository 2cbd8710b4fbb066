"""One block of calls that get several arrays in turn, beside a block with one of them again and again. NumPy only.

The first shows if latency depends on the array, and both together if it depends on repetition (MLPerf's TEST04).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...backends.protocol import Session
from ...backends.rotation import Rotation
from ...evidence import ByArray
from . import measure
from .jobs import TimeLatency

Now = Callable[[], int]


@dataclass(kw_only=True)
class Turns:
    """Turns of a block: `rotation` of the session, which begins at the call number `turn`. `repeated`: the array of the block
    with one array."""

    session: Session
    rotation: Rotation
    turn: int
    repeated: int
    repeated_ns: float = 0.0

    @classmethod
    def of(cls, session: Session, job: TimeLatency) -> Turns | None:
        """Turns of the block that `job` requests; None for a cell with one array."""
        rotation = session.rotation
        if rotation is None:
            return None
        rotation.turn = job.turn
        return cls(session=session, rotation=rotation, turn=job.turn, repeated=job.round % len(rotation.inputs))

    def repeat(self, now: Now, *, least_ns: int, least_calls: int) -> None:
        """Measure calls with one array again and again. It is copied before each call, as the arrays in turn are."""
        self.session.rotation = Rotation(inputs=[self.rotation.inputs[self.repeated]])
        try:
            self.repeated_ns = median(measure.latency(self.session, now, least_ns=least_ns, least_calls=least_calls))
        finally:
            self.session.rotation = self.rotation

    def by_array(self, samples: measure.Samples) -> ByArray:
        """Medians of the `samples` of the calls in turn, by array."""
        count = len(self.rotation.inputs)
        numbers = (self.turn + np.arange(len(samples))) % count
        groups = (samples[numbers == number] for number in range(count))
        p50_ns = tuple(median(group) if len(group) else None for group in groups)
        return ByArray(p50_ns=p50_ns, repeated=self.repeated, repeated_ns=self.repeated_ns)


def median(samples: measure.Samples) -> float:
    """Median by nearest rank."""
    return float(np.percentile(samples, 50, method="inverted_cdf"))
