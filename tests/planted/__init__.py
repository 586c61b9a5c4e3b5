"""Planted bugs: deliberate breaks of the product, each of which some test must notice.

A bug is a table in `bugs/*.toml`: a text of one source file, which must occur there exactly once, and what stands
there instead. `make planted` plants each in a copy of the tree and runs the few tests that are named with it; one of
them must fail. A bug that no test notices fails the run: a test is missing.
"""
