"""A measured landscape replayed round by round: what a strategy finds, and how soon."""

from paratope.campaigns.campaign_simulation.comparison import (
    Comparison,
    Saved,
    compare,
    saved_rounds,
)
from paratope.campaigns.campaign_simulation.landscape import Landscape, landscape_of
from paratope.campaigns.campaign_simulation.output import write_replay
from paratope.campaigns.campaign_simulation.replay import Plan, Replay, RoundResult, replay
from paratope.campaigns.campaign_simulation.strategies import (
    STRATEGIES,
    BaselineStrategy,
    Choice,
    ModelStrategy,
    RandomStrategy,
    Strategy,
    fitting_models,
    parse_strategies,
)

__all__ = [
    "STRATEGIES",
    "BaselineStrategy",
    "Choice",
    "Comparison",
    "Landscape",
    "ModelStrategy",
    "Plan",
    "RandomStrategy",
    "Replay",
    "RoundResult",
    "Saved",
    "Strategy",
    "compare",
    "fitting_models",
    "landscape_of",
    "parse_strategies",
    "replay",
    "saved_rounds",
    "write_replay",
]
