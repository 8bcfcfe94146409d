from numpy.typing import ArrayLike

from kwsrt.frontend import FrontEnd
from kwsrt.network import Network
from kwsrt.scores import Scores

LONGEST_STRIDE: int

class Stream:
    def __init__(
        self,
        frontend: FrontEnd,
        network: Network,
        *,
        thin: str = "full",
        stride: int | None = None,
        gate: float | None = None,
        silence: int | None = None,
    ) -> None: ...
    @property
    def thin(self) -> str: ...
    @thin.setter
    def thin(self, value: str) -> None: ...
    @property
    def window(self) -> int: ...
    @property
    def stride(self) -> int: ...
    @property
    def decisions(self) -> int: ...
    @property
    def memory(self) -> int: ...
    def reset(self) -> None: ...
    def finish(self) -> Scores: ...
    def push(self, samples: ArrayLike) -> Scores: ...
