"""What goes on after an interruption: attributes that a checkpoint holds."""

from collections.abc import Mapping
from typing import Any, ClassVar


class Resumable:
    """An object whose attributes named in `kept` are plain values, and all it goes on from."""

    kept: ClassVar[tuple[str, ...]]

    def state_dict(self) -> dict[str, Any]:
        """The kept attributes by name."""
        return {name: getattr(self, name) for name in self.kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from another's state; what is not in it stays."""
        for name in self.kept:
            setattr(self, name, state.get(name, getattr(self, name)))
