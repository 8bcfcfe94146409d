"""Where the installed kwsrt is, for commands that are run in a checkout."""

import os
import sys
from importlib.machinery import PathFinder
from types import TracebackType


def installed(here: str) -> tuple[str, list[str]]:
    """`__file__` and `__path__` of the kwsrt whose compiled modules can be imported, other than the one in `here`.

    Raises
    ------
    ImportError : there is none; the message says how to build it.
    """
    checkout = os.path.dirname(os.path.realpath(here))
    others = [entry for entry in sys.path if os.path.realpath(entry or os.curdir) != checkout]
    for finder in sys.meta_path:  # where a checkout is installed editable, that is not PathFinder
        spec = PathFinder.find_spec("kwsrt", others) if finder is PathFinder else finder.find_spec("kwsrt", None)
        found = list(spec.submodule_search_locations or ()) if spec is not None else []
        if spec is not None and spec.origin and PathFinder.find_spec("kwsrt.frontend", found) is not None:
            return spec.origin, found
    error = ImportError(f"kwsrt is not built: run `{sys.executable} -m pip install .` in {checkout}", name="kwsrt")
    before = sys.excepthook

    def show(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
        if value is error:
            print(f"ImportError: {error}", file=sys.stderr)  # where it was raised helps nobody
        else:
            before(kind, value, trace)

    sys.excepthook = show
    raise error
