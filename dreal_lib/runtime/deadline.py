"""Until when a run, or a batch of runs, may take.

A batch hands its deadline on to its runs by an environment variable, so that each gets what is
left.
"""

import os
import time

from dreal_lib.errors import OutOfTime, UserError

VARIABLE = "DREAL_DEADLINE"  # seconds since 1970, as `time.time()` counts
EX_TEMPFAIL = 75  # of sysexits.h: not done yet, try again
LONGEST_LEAD_SECONDS = 60.0  # a run stops no earlier than this before its time is up


def deadline_after(max_minutes: float | None) -> float | None:
    """The sooner of so many minutes from now and the batch's deadline; None without either.

    Raises:
        UserError: Bad numbers.
        OutOfTime: The batch's deadline has passed.
    """
    if max_minutes is not None and not 0 < max_minutes < float("inf"):
        raise UserError(f"--max-minutes must be above 0; got {max_minutes}; try 60")
    limits = [] if max_minutes is None else [time.time() + 60 * max_minutes]
    given = os.environ.get(VARIABLE)
    if given:
        try:
            limits.append(float(given))
        except ValueError:
            raise UserError(
                f"{VARIABLE} must be seconds since 1970; got {given!r}; unset it"
            ) from None
        if limits[-1] <= time.time():
            raise OutOfTime("time was up before the run began; the same command begins it")
    return min(limits, default=None)
