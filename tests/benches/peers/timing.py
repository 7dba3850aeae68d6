"""How often and how long a piece of work is repeated, the same for every framework."""

import time


def timed(work, seconds, threads):
    """Sorted durations of repeated calls in milliseconds, after two calls that do not count: of one
    thread the processor time of the whole process, of more threads the time that passes."""
    clock = time.process_time if threads == 1 else time.perf_counter
    work(), work()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        begin = clock()
        work()
        times.append((clock() - begin) * 1e3)
    return sorted(times)
