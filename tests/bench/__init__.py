"""How fast the package is, beside the obvious way to write it: ``python -m tests.bench``. No test asserts a time."""
