"""Answers as learners write them: of each exercise right ones written differently, and wrong ones of the usual kinds.

One module a notebook. ``ANSWERS`` maps an exercise to (right answers, wrong ones); a wrong one is a pair of the answer
and a word that the message must hold, None where no fair name can be asked for.
"""
