"""A cluster worker that counts steps with the others, without training."""

import os
import sys
import time
from typing import Any

from keras_pspnet.training import cluster as clusters


def work(
    run: dict[str, str], timeout: float, joining: float, steps: int, fails: Any
) -> None:
    """Joins the cluster of TF_CONFIG, takes steps and exits.

    Args:
        run: Values that must be the same on all workers.
        timeout: Seconds after which a silent worker is lost.
        joining: Seconds that workers wait for each other.
        steps: Number of steps.
        fails: Seconds that the second step takes, or "fails".
    """
    clusters.JOINING = joining
    cluster = clusters.cluster_from_environment()
    print("joins", flush=True)
    try:
        strategy = cluster.strategy(timeout)
        with clusters.watching(cluster):
            clusters.check_same(cluster, strategy, run)
            for step in range(steps):
                met = clusters.exchange(strategy, step)
                if met != [step] * cluster.size:
                    sys.exit("out of step")
                if step == 0:
                    print("started", flush=True)
                if step == 1 and fails == "fails":
                    raise RuntimeError("out of paint")
                time.sleep(fails if step == 1 and fails else 0.05)
    except (
        clusters.WorkerLostError,
        RuntimeError,
        OSError,
        ValueError,
    ) as error:
        line = f"{type(error).__name__}: {error}"
        print(line, file=sys.stderr, flush=True)
        os._exit(75 if isinstance(error, clusters.WorkerLostError) else 1)
    print("ended", flush=True)
