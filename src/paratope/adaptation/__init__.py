"""From a campaign's measurements to a model of it, and what to expect of that model."""
