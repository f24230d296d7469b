"""What the processor has to offer, read without loading anything."""
import os

THREADS = ("OMP_NUM_THREADS", "MXNET_OMP_MAX_THREADS")  # what a user sets, each of which wins

def physical_cores():
    """Count the physical cores that this process may run on.

    Returns
    -------
    int
        Distinct cores in the affinity mask; hardware threads of one core count once. Where the
        system does not tell (no Linux sysfs), the processors in the mask, or all of them.

    Notes
    -----
    Source of the topology files: Linux, Documentation/admin-guide/cputopology.rst.
    """
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cores = set()
    for cpu in os.sched_getaffinity(0):
        try:
            with open(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") as f:
                cores.add(f.read().strip())
        except OSError:
            cores.add(str(cpu))
    return len(cores)
