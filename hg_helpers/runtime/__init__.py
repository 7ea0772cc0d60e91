"""Machinery beneath the lesson: how a run is written down, stopped, spread over processes and made faster.

Nothing in here is needed to understand the model, and nothing in here knows what a cohort is, but for the address of
the public one. A learner need not open this room.
"""
