"""Pages and an API over the models: one process on this machine, see `paratope serve`."""
