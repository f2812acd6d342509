"""Whether kernels that Numba compiles have PyTorch's threads: others would take turns with those.

Intel's OpenMP library is loaded before all others (`cpu.launcher`), and so serves PyTorch's calls
as well as GNU's, which are Numba's.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numba
import torch
from numba.np.ufunc import parallel

logger = logging.getLogger(__name__)

_OPENMP = "libiomp5"


def shares_threads() -> bool:
    # Numba's number becomes OpenMP's as soon as it asks for threads, as `get_num_threads` does.
    same = torch.get_num_threads() == numba.config.NUMBA_NUM_THREADS
    if _OPENMP not in Path("/proc/self/maps").read_text() or not same:
        return False
    numba.config.THREADING_LAYER = "omp"
    try:
        parallel._launch_threads()  # noqa: SLF001 -- as the first kernel would do
    except ValueError as error:  # there is no GNU OpenMP that Numba could call
        logger.info("no kernels by Numba: %s", str(error).partition("\n")[0])
        return False
    return bool(numba.threading_layer() == "omp")  # another may have been chosen before
