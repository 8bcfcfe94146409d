"""Whether an object with a state may be used now.

Each such object holds one of the three values. It tests and sets it while it holds the GIL, so that no lock is needed.
An object is UNMADE as long as no __init__ has run, and IN_USE during a call, also where the call lets go of the GIL.
"""
from libc.stdint cimport int32_t


cdef enum:
    UNMADE = 0                   # what the memory of a new object holds
    FREE
    IN_USE


cdef inline int claim(thing, int32_t *use) except -1:
    """Keep everybody else out until `use` is FREE again, which the caller sees to."""
    if use[0] != FREE:
        from kwsrt.errors import not_free
        raise not_free(thing, use[0] == IN_USE)
    use[0] = IN_USE
    return 0
