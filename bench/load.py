"""The load generator, a process of its own: `python -m bench.load LOAD HOST:PORT OPTIONS-AS-JSON`.

Prints a line `begin` when the measured time begins and `end` when it ends, then its result as JSON.
"""

import gc
import json
import sys

import uvloop

from bench.growth import run_growth, run_plant
from bench.read import run_fill, run_hash, run_history, run_idle, run_sign_in
from bench.talk import run_group, run_paced, run_pairs

LOADS = {
    "pairs": run_pairs,
    "paced": run_paced,
    "group": run_group,
    "sign_in": run_sign_in,
    "hash": run_hash,
    "fill": run_fill,
    "history": run_history,
    "idle": run_idle,
    "plant": run_plant,
    "growth": run_growth,
}


def tell(line: str) -> None:
    """Tells the bench, at once."""
    print(line, flush=True)


async def main(load: str, address: str, options: str) -> None:
    """Runs one load."""
    host, port = address.rsplit(":", 1)
    # A collection of the generator's own heap would look like a slow server
    gc.freeze()
    gc.disable()
    print(json.dumps(await LOADS[load]((host, int(port)), json.loads(options), tell)))


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
