"""Machinery beneath the lesson: nothing in here knows a cohort, but for the public one's address; no learner needs it."""
