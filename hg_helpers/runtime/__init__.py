"""Machinery beneath the lesson, which knows no cohort but the public one's address. No learner needs it."""
