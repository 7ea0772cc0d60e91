"""The command line and what it runs, as any user could. A learner need not open this room."""
