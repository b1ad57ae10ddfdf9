"""Judging predictions: metrics with honest intervals, baselines, diagnostics in plain words.

`evaluate` turns any table of measured and predicted values into a `Report`; `compare` puts several
on the same rows. Neither needs a model.
"""
