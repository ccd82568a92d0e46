"""Captured functions: what one did is recorded as a graph, simplified, and run again as a program.

Read in this order: :mod:`ir`, what a graph is; :mod:`trace` and :mod:`record`, how a function
leaves one; :mod:`interpret`, what it means; :mod:`passes` and :mod:`fuse`, how it gets shorter;
:mod:`loops` and :mod:`cpu`, how it runs; :mod:`guards`, when it holds; :mod:`capture`, what users
call.
"""
