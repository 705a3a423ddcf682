"""``npubench`` whose sweeps take their time over each point and write down when it has finished.

Worker processes import this file too, and do the same. A line of the log that ``SWEPT_LOG`` names
is the axes of a point and the system's monotonic time, written before the point goes anywhere. The
point whose axes are ``SWEPT_STUCK`` never ends.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence

import npubench.study.spread
import npubench.study.sweep
from npubench.study.session import Session
from npubench.study.sweep import Group, Task

PAUSE_S = 0.003
groups_of = npubench.study.sweep.run_groups


def run_groups(tasks: Sequence[Task], session: Session) -> Iterator[Group]:
    log = os.open(os.environ["SWEPT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        for group in groups_of(tasks, session):
            time.sleep(PAUSE_S)
            for _, point in group:
                while ",".join(point.axes.values()) == os.environ.get("SWEPT_STUCK"):
                    time.sleep(1)
                line = json.dumps([list(point.axes.values()), time.monotonic()])
                os.write(log, line.encode() + b"\n")
            yield group
    finally:
        os.close(log)


npubench.study.spread.run_groups = npubench.study.sweep.run_groups = run_groups  # type: ignore[attr-defined]  # on purpose

if __name__ == "__main__":
    from npubench.cli.app import main

    main()
