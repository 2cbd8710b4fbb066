from .loop import calls as calls
from .loop import phase as phase
from .runners.measure import Beside as Beside
from .runners.measure import measure as measure

__version__: str
