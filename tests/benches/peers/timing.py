"""How often and how long a piece of work is repeated, the same for every framework."""

import time


def timed(work, seconds):
    """Sorted durations of repeated calls in milliseconds, after two calls that do not count."""
    work(), work()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        begin = time.perf_counter()
        work()
        times.append((time.perf_counter() - begin) * 1e3)
    return sorted(times)
