"""Benchmarks: ``python -m gputensor bench NAME``, or ``python benchmarks/NAME.py``.

A module has the peers that it can be compared with (``PEERS``), its rounds (``REPEATS``) and
``run(where, peers, repeats)``, which prints what it measures and returns a ``common.Report``.
"""
