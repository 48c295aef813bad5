"""Random programs with slices: every form agrees with plain NumPy, gradients with differences."""

import numpy as np
import pytest

from tests.integration.random_spans import Writer
from tests.integration.stages import check, load

WINDOW = "a slice between two run-time bounds at a fixed distance reaches beyond the array"


@pytest.mark.parametrize("seed", range(40))
def test_random_slices(seed, tmp_path):
    text = Writer(seed).text()
    program = load(text, tmp_path / f"slices_{seed}.py")
    rng = np.random.default_rng(seed)
    # Sizes up to 8 may be unrolled: half of the programs have loops.
    size = 5 if seed % 2 else 9
    args = (rng.normal(size=size), rng.normal(size=(size, size)) * 0.5)
    try:
        check(program, args, seed=seed)
    except IndexError as error:
        if str(error) != WINDOW:
            raise
    except AssertionError as error:
        raise AssertionError(f"{error}\n{text}") from None
