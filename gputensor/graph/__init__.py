"""Captured functions: what one did is recorded as a graph, simplified, and run again as a program.

Read in this order: :mod:`ir`, what a graph is; :mod:`tracer`, :mod:`trace` and :mod:`record`, how
a function leaves one; :mod:`interpret`, what it means; :mod:`passes` and :mod:`fuse`, how it gets
shorter; :mod:`loops` and :mod:`cpu`, how it runs on the CPU; :mod:`kernel_groups`,
:mod:`kernel_text`, :mod:`generate` and :mod:`cuda`, how on CUDA; :mod:`guards`, when it holds;
:mod:`capture`, what users call.

:mod:`eager` makes kernels of single operations, by the same generator: :mod:`outline` finds what a
function computes, :mod:`plans` makes a launch of it.
"""
