"""Seeds of tests that choose at random: another one in each run, and the same one in all workers of a run."""

import os
import random

# All workers must collect the same tests, whose names have the seeds
_seeds = random.Random(os.environ.get("PYTEST_XDIST_TESTRUNUID") or None)


def new_seed() -> int:
    """A seed, to be given as a parameter, so that the name of a test that fails says how to repeat it."""
    return _seeds.randrange(10**9)
