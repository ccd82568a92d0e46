"""Where CuPy 14 offers less than NumPy 2: names and keywords it lacks, functions that wait.

``tests/test_standin.py`` compares these tables with an installed CuPy.
"""

__all__ = [
    "ABSENT",
    "ABSENT_KEYWORDS",
    "CUBLAS",
    "LAYOUT_KEPT",
    "MUTATING",
    "NEVER_KEYWORDS",
    "SYNCHRONIZING",
    "THRUST",
    "UFUNC_KEYWORDS",
    "words",
]


def words(text: str) -> set[str]:
    """Words of a text."""
    return set(text.split())


# Names of NumPy's namespaces that CuPy's do not have.
ABSENT = {
    "": words("""
        False_ ScalarType True_ asmatrix block bmat busday_count busday_offset busdaycalendar
        bytes_ char character clongdouble complex256 core ctypeslib datetime64 datetime_as_string
        datetime_data dtypes einsum_path emath errstate f2py flexible float128 frompyfunc fromregex
        geomspace get_include getbufsize geterr geterrcall histogram_bin_edges info insert
        is_busday isnat little_endian longdouble ma matrix matvec memmap nanpercentile nanquantile
        ndenumerate nditer nested_iters object_ polyder polydiv polyint rec recarray record
        sctypeDict setbufsize seterr seterrcall show_runtime spacing str_ strings test timedelta64
        typecodes unstack vecdot vecmat void
        """),
    "linalg": words("""
        diagonal matrix_norm multi_dot outer svdvals tensordot test trace vecdot vector_norm
        """),
    "fft": {"test"},
}

# Keywords that NumPy knows and no function of CuPy does.
NEVER_KEYWORDS = {"device", "like"}

# Keywords that NumPy's functions take and CuPy's do not.
ABSENT_KEYWORDS = {
    keyword: words(names)
    for keyword, names in {
        "axis": "lexsort trim_zeros",
        "correction": "nanstd nanvar std var",
        "count": "unpackbits",
        "hermitian": "linalg.matrix_rank linalg.pinv linalg.svd",
        "initial": "amax amin max min nanmax nanmin nanprod nansum prod sum",
        "keepdims": "count_nonzero",
        "kind": "argpartition isin partition",
        "max": "clip",
        "mean": "nanstd nanvar std var",
        "min": "clip",
        "mode": "take",
        "order": "argpartition argsort partition sort",
        "out": """
            fft.fft fft.fft2 fft.fftn fft.hfft fft.ifft fft.ifft2 fft.ifftn fft.ihfft fft.irfft
            fft.irfft2 fft.irfftn fft.rfft fft.rfft2 fft.rfftn
        """,
        "rtol": "linalg.matrix_rank linalg.pinv",
        "shape": "reshape unravel_index",
        "sorted": "unique",
        "sparse": "indices",
        "stable": "argsort sort",
        "subok": "broadcast_arrays broadcast_to copy",
        "upper": "linalg.cholesky",
        "weights": "percentile quantile",
        "where": """
            all amax amin any max mean min nanmax nanmean nanmin nanprod nanstd nansum nanvar prod
            std sum var
        """,
    }.items()
}

UFUNC_KEYWORDS = {"out", "casting", "dtype"}

# What `ufunc.reduce` and the like are written for.
UFUNC_METHODS = {
    "reduce": {"add", "multiply"},
    "accumulate": {"add", "multiply"},
    "reduceat": {"add"},
    "at": words("add subtract maximum minimum bitwise_and bitwise_or bitwise_xor"),
}

# The length of the result, or the value of an argument, is needed on the host.
SYNCHRONIZING = words("""
    argwhere bincount choose compress delete extract flatnonzero histogram intersect1d
    nonzero setdiff1d setxor1d trim_zeros union1d unique unique_all unique_counts unique_inverse
    unique_values
    """)

# Multiplied by cuBLAS where the numbers are floating; CuPy does not let it into a graph.
CUBLAS = words("dot einsum inner matmul tensordot vdot")

# Sorted by Thrust, which waits for its result.
THRUST = words("""
    argpartition argsort lexsort median nanmedian partition percentile quantile sort sort_complex
    """)

# What they make has the order of axes of their first argument, or views of it.
LAYOUT_KEPT = words("nan_to_num roll pad linalg.eigh linalg.solve linalg.svd")

# Write to their first argument.
MUTATING = words("copyto fill_diagonal nan_to_num place put put_along_axis putmask")
