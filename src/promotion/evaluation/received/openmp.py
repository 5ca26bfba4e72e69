"""OpenMP for the boosters: threads that leave the processor to others, and a runtime where the machine has none.

It stands alone, because received models are loaded with it in the sandbox and with their own libraries.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

try:
    from promotion.errors import UsageError
except ModuleNotFoundError:
    UsageError = RuntimeError  # type: ignore[misc,assignment]  # where a received model is loaded

_RUNTIME = "libgomp.so.1"
# A thread that spins while it waits takes the processor from the one it waits for, as soon as a machine has more to do.
# Read by each copy of the runtime when it is loaded, so this stands before any booster's library is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@cache
def load_lightgbm() -> ModuleType:
    """Import LightGBM; every import of it goes through here.

    Its wheel expects the system's OpenMP runtime, which a bare Linux lacks. scikit-learn's wheel brings the same one,
    by a name of its own so that nobody else finds it: a copy in memory is given the usual name.

    Raises:
        UsageError: There is no runtime at all.
    """
    try:
        import lightgbm
    except OSError as error:
        provide_runtime(error)
        import lightgbm
    return lightgbm


def provide_runtime(missing: OSError) -> None:
    """Load a runtime where an import failed for want of one, which can then be tried again.

    Raises:
        OSError: The failure was another.
        UsageError: There is no runtime at all.
    """
    if _RUNTIME not in str(missing):
        raise missing
    sklearn = find_spec("sklearn")
    folder = Path(sklearn.origin or "").parents[1] / "scikit_learn.libs" if sklearn else Path()
    bundled = next(folder.glob("libgomp-*.so*"), None)
    if bundled is None:
        raise UsageError(f"LightGBM needs {_RUNTIME}, which this machine lacks: apt-get install libgomp1")
    # What is loaded later and asks for the usual name gets what was loaded under it.
    own, usual = (b"\0%s\0" % name.encode() for name in (bundled.name, _RUNTIME))
    memory = os.memfd_create(_RUNTIME)
    try:
        with open(memory, "wb", closefd=False) as file:
            file.write(bundled.read_bytes().replace(own, usual.ljust(len(own), b"\0")))
        ctypes.CDLL(f"/proc/self/fd/{memory}")
    except OSError as error:
        raise UsageError(
            f"LightGBM needs {_RUNTIME}, and {bundled} cannot take its place: apt-get install libgomp1"
        ) from error
    finally:
        os.close(memory)
