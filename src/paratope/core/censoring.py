"""What a value says about the true one: it is it, at least it, or at most it."""

import enum


class Censoring(enum.IntEnum):
    """What a measured value says about the true pKd (or score).

    The integers are what arrays hold: ``censoring == Censoring.EXACT`` is a mask, and the sign
    says on which side of the value the truth lies. A Kd "> 10 uM" is a pKd ``AT_MOST`` 5: the
    sign turns once, where a Kd is read (`paratope.core.units.parse_kd`), and nowhere else.
    """

    AT_MOST = -1
    EXACT = 0
    AT_LEAST = 1
