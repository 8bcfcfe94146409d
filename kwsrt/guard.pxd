"""Whether an object with a state may be used now.

Each such object holds one of these, which it tests and sets while it holds the GIL: that costs nothing. An object is
UNMADE as long as no __init__ has run, IN_USE during a call, also while the call lets go of the GIL.
"""

cdef enum:
    UNMADE = 0                   # what the memory of a new object holds
    FREE
    IN_USE
