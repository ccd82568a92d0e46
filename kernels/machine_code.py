"""Machine code from texts in LLVM's language, by llvmlite, which comes with Numba."""

import ctypes
import functools
import importlib.util
import sys
import threading
from typing import Any

__all__ = ["compiled", "usable"]

_compiling = threading.Lock()


def usable() -> bool:
    """Whether there is llvmlite, and the interpreter that the code is written for."""
    return sys.implementation.name == "cpython" and importlib.util.find_spec("llvmlite") is not None


@functools.cache
def _target() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmparser()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )


def compiled(text: str, *names: str) -> list[int]:
    """Addresses of functions of a text. The code stays where it is until the process ends."""
    import llvmlite.binding as llvm

    with _compiling:
        machine = _target()
        module = llvm.parse_assembly(text)
        module.verify()
        options = llvm.create_pipeline_tuning_options(speed_level=3)
        options.loop_vectorization = True
        builder = llvm.create_pass_builder(machine, options)
        builder.getModulePassManager().run(module, builder)
        engine = llvm.create_mcjit_compiler(module, machine)
        engine.finalize_object()
        # Never freed, as threads may run the code while the interpreter ends.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))
        return [engine.get_function_address(name) for name in names]
