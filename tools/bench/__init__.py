"""Benchmarks against other runtimes, one command a table; see README.md here."""
