"""Libraries of antibodies against antigens: the best of millions, in blocks that are never lost."""

from paratope.screening.run import Screened, ScreenOptions, screen

__all__ = ["ScreenOptions", "Screened", "screen"]
