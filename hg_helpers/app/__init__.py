"""The command line and the programs behind it: demo, sampling into files, doctor.

Everything in here uses the rooms below as any user could. A learner need not open this room.
"""
