"""A measured landscape replayed round by round: what a strategy finds, and how soon."""

from paratope.campaigns.campaign_simulation.landscape import Landscape, landscape_of
from paratope.campaigns.campaign_simulation.replay import (
    Comparison,
    Replay,
    ReplayOptions,
    compare,
    replay,
    saved_rounds,
    write_replay,
)
from paratope.campaigns.campaign_simulation.strategies import (
    STRATEGIES,
    ModelStrategy,
    Plate,
    RandomStrategy,
    parse_strategies,
)

__all__ = [
    "STRATEGIES",
    "Comparison",
    "Landscape",
    "ModelStrategy",
    "Plate",
    "RandomStrategy",
    "Replay",
    "ReplayOptions",
    "compare",
    "landscape_of",
    "parse_strategies",
    "replay",
    "saved_rounds",
    "write_replay",
]
