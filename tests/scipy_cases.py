"""SciPy's functions with tensors: which keep the tape, measured for docs/scipy.md.

Run as a script, with or without ``SCIPY_ARRAY_API=1``, it prints the outcome of each.
"""

import json
import warnings

import numpy as np
import scipy.cluster.vq as vq
import scipy.constants as constants
import scipy.differentiate as differentiate
import scipy.fft as fft
import scipy.integrate as integrate
import scipy.interpolate as interpolate
import scipy.linalg as linalg
import scipy.ndimage as ndimage
import scipy.optimize as optimize
import scipy.signal as signal
import scipy.spatial.distance as distance
import scipy.special as special
import scipy.stats as stats
from scipy.spatial.transform import Rotation

import gputensor as gt

RNG = np.random.default_rng(0)
V = RNG.uniform(0.2, 0.8, 6)
M = RNG.uniform(0.2, 0.8, (4, 5))
S = M[:, :4] @ M[:, :4].T + np.eye(4)
AT = np.linspace(0, 1, 6)
T = RNG.uniform(1.1, 1.9, 5)
ZEROS = np.array([0.9, 0.3])
SECTION = np.array([[1.0, 0.5, 0.2, 1.0, 0.3, 0.1]])


def named(module, names, values, form=lambda f: f):
    prefix = module.__name__.removeprefix("scipy.")
    return {f"{prefix}.{n}": (form(getattr(module, n)), values) for n in names.split()}


def beside(x, other):
    """An array of the library that `x` is of: SciPy takes no two."""
    return gt.asarray(other) if isinstance(x, gt.Tensor) else other


def magnitude(f):
    return lambda x: abs(f(x))


def against(denominator):
    """Of a function of a filter's numerator and denominator one result, in order of size."""
    return lambda f: lambda x: np.sort(abs(f(x, beside(x, np.array(denominator)))[0]))


def response(f, *gain):
    """The response of a filter by its numerator, or its zeros."""
    return lambda x: abs(f(x, beside(x, ZEROS), *gain, worN=beside(x, AT + 0.1))[1])


def of_rotation(part):
    return lambda x: getattr(Rotation.from_quat(x), part)()


def with_first(number):
    return lambda f: lambda x: f(number, x)


# By name, a function of one array, and what it is called with.
CASES = {
    **named(
        special,
        "cbrt digamma erf erfc erfinv exp2 expit expm1 gammaln log1p psi sinc softplus "
        "log_softmax logsumexp softmax ellipk entr erfcx exp10 exprel gamma i0 i1 j0 log_expit "
        "log_ndtr loggamma logit ndtr ndtri rgamma spence",
        V,
    ),
    **named(special, "round", V),
    **named(special, "polygamma", V, lambda f: lambda x: f(1, x)),
    **named(special, "multigammaln", V + 3, lambda f: lambda x: f(x, 2)),
    **named(
        special,
        "rel_entr xlogy beta betaln gammainc gammaincc huber kl_div xlog1py zeta",
        V + 1,
        with_first(1.5),
    ),
    **named(fft, "fft ifft rfft fftshift ifftshift ihfft", V, magnitude),
    **named(fft, "irfft hfft dct idct dst", V),
    **named(fft, "fft2 ifft2 fftn ifftn rfft2 rfftn ihfft2 ihfftn", M, magnitude),
    **named(fft, "irfft2 irfftn hfft2 hfftn", M),
    **named(fft, "fftfreq rfftfreq", np.array(0.5), lambda f: lambda x: f(6, d=x)),
    **named(fft, "fht ifht", V, lambda f: lambda x: f(x, 0.1, 0.5)),
    **named(integrate, "trapezoid cumulative_trapezoid cumulative_simpson simpson", V),
    **named(integrate, "romb", V[:5]),
    **named(integrate, "fixed_quad", V, lambda f: lambda x: f(lambda t: x[0] * t, 0, 1)[0]),
    **named(integrate, "tanhsinh", V, lambda f: lambda x: f(lambda t: t**2, 0 * x, x).integral),
    **named(integrate, "solve_ivp", V, lambda f: lambda x: f(lambda t, y: -y, (0, 1), x).y),
    **named(linalg, "block_diag", M, lambda f: lambda x: f(x, x)),
    **named(linalg, "cholesky det eigvalsh expm inv norm pinv svdvals", S),
    **named(linalg, "fiedler", V),
    **named(linalg, "solve_circulant", V, lambda f: lambda x: f(x, beside(x, AT))),
    **named(linalg, "orthogonal_procrustes", S, lambda f: lambda x: f(x, beside(x, M[:, :4]))[1]),
    **named(optimize, "rosen rosen_der rosen_hess", V),
    **named(optimize, "rosen_hess_prod", V, lambda f: lambda x: f(x, beside(x, AT))),
    **named(
        stats,
        "circmean circstd circvar differential_entropy gmean gstd gzscore hmean iqr kstat kstatvar "
        "kurtosis lmoment sem skew tmax tmean tmin tstd tvar variation zscore entropy expectile "
        "median_abs_deviation tsem false_discovery_control",
        V,
    ),
    **named(stats, "describe", V, lambda f: lambda x: f(x).variance),
    **named(stats, "mode", V, lambda f: lambda x: f(x).mode),
    **named(stats, "quantile", V, lambda f: lambda x: f(x, beside(x, np.array(0.3)))),
    **named(stats, "sigmaclip", V, lambda f: lambda x: f(x).clipped),
    **named(stats, "trim_mean", V, lambda f: lambda x: f(x, 0.2)),
    **named(stats, "yeojohnson_llf", V, lambda f: lambda x: f(0.5, x)),
    **named(stats, "moment", V, lambda f: lambda x: f(x, order=3)),
    **named(stats, "pmean", V, lambda f: lambda x: f(x, 2.0)),
    **named(stats, "zmap", V, lambda f: lambda x: f(x, beside(x, AT))),
    **named(stats, "pearsonr", V, lambda f: lambda x: f(x, beside(x, AT)).statistic),
    **named(stats, "directional_stats", M, lambda f: lambda x: f(x).mean_direction),
    "stats.norm.logpdf": (stats.norm.logpdf, V),
    **named(
        signal,
        "convolve fftconvolve oaconvolve correlate",
        V,
        lambda f: lambda x: f(x, beside(x, T)),
    ),
    **named(signal, "envelope gausspulse medfilt", V),
    **named(signal, "hilbert", V, magnitude),
    **named(signal, "hilbert2", M, magnitude),
    **named(signal, "kaiser_atten", np.array(0.1), with_first(11)),
    **named(signal, "kaiser_beta", np.array(30.0)),
    **named(signal, "freqs", V[:2], response),
    **named(signal, "freqs_zpk freqz_zpk", V[:2], lambda f: response(f, 1.0)),
    **named(
        signal,
        "freqresp dfreqresp",
        V[:2],
        lambda f: (
            lambda x: abs(
                f(
                    (x, beside(x, np.array([1, 0.3])), *([0.1] if "d" in f.__name__ else [])),
                    w=beside(x, AT),
                )[1]
            )
        ),
    ),
    **named(
        signal,
        "group_delay",
        np.array([1, 0.5]),
        lambda f: lambda x: f((x, beside(x, np.array([1, 0.3]))), w=beside(x, AT))[1],
    ),
    **named(
        signal, "lfilter_zi", V[:3], lambda f: lambda x: f(x, beside(x, np.array([1, 0.3, 0])))
    ),
    **named(
        signal,
        "lfiltic",
        V[:2],
        lambda f: lambda x: f(beside(x, np.array([1, 0.5, 0.2])), beside(x, np.array([1, 0.3])), x),
    ),
    **named(signal, "normalize", V[:2], against([2.0, 0.3])),
    **named(signal, "lp2lp lp2hp lp2bp lp2bs", V[:2], against([1.0, 0.3])),
    **named(
        signal,
        "lp2lp_zpk lp2hp_zpk lp2bp_zpk lp2bs_zpk bilinear_zpk",
        V[:2],
        lambda f: lambda x: abs(f(x, beside(x, ZEROS), 1.0, 2.0)[0]),
    ),
    **named(signal, "tf2zpk", np.array([1, 0.5, 0.04]), against([1.0, 0.3, 0.2])),
    **named(signal, "zpk2tf", V[:2], lambda f: lambda x: f(x, beside(x, ZEROS), 1.0)[0]),
    **named(signal, "sos2tf sos2zpk", SECTION, lambda f: lambda x: np.sort(abs(f(x)[0]))),
    **named(signal, "gauss_spline", V, lambda f: lambda x: f(x, 3)),
    **named(signal, "freqz", V, lambda f: lambda x: abs(f(x)[1])),
    **named(signal, "resample", V, lambda f: lambda x: f(x, 4)),
    **named(
        signal,
        "lfilter filtfilt",
        np.concatenate([V, V]),
        lambda f: lambda x: f(beside(x, np.array([1, 0.5])), beside(x, np.array([1, 0.3])), x),
    ),
    **named(signal, "vectorstrength", V, lambda f: lambda x: f(x, beside(x, np.array(1.0)))[0]),
    **named(signal, "welch", V, lambda f: lambda x: f(x, nperseg=6)[1]),
    **named(ndimage, "gaussian_filter", M, lambda f: lambda x: f(x, 1.0)),
    **named(ndimage, "laplace sobel", M),
    **named(distance, "cosine euclidean", V, lambda f: lambda x: f(x, beside(x, AT))),
    **named(distance, "pdist", M),
    **named(
        interpolate,
        "CubicSpline PchipInterpolator make_interp_spline",
        V,
        lambda f: lambda x: f(beside(x, AT), x)(beside(x, T - 1)),
    ),
    **named(vq, "whiten", M),
    **named(differentiate, "derivative", V, lambda f: lambda x: f(lambda t: t**2, x).df),
    **named(
        differentiate,
        "jacobian",
        V,
        lambda f: lambda x: f(lambda t: t**2, x).df,
    ),
    **named(
        differentiate,
        "hessian",
        V[:2],
        lambda f: lambda x: f(lambda t: t[0] ** 3 * t[1], x).ddf,
    ),
    **named(constants, "lambda2nu nu2lambda", V),
    **named(constants, "convert_temperature", V, lambda f: lambda x: f(x, "C", "K")),
    "spatial.transform.Rotation.as_matrix": (lambda x: Rotation.from_quat(x).as_matrix(), V[:4]),
    **{
        f"spatial.transform.Rotation.{part}": (of_rotation(part), V[:4])
        for part in ("as_rotvec", "as_mrp", "magnitude")
    },
    "spatial.transform.Rotation.as_euler": (lambda x: Rotation.from_quat(x).as_euler("xyz"), V[:4]),
    "spatial.transform.Rotation.inv": (lambda x: Rotation.from_quat(x).inv().as_quat(), V[:4]),
    "spatial.transform.Rotation.as_quat": (lambda x: Rotation.from_rotvec(x).as_quat(), V[:3]),
    "spatial.transform.Rotation.from_euler": (
        lambda x: Rotation.from_euler("xyz", x).as_matrix(),
        V[:3],
    ),
    "spatial.transform.Rotation.apply": (
        lambda x: Rotation.from_rotvec(x).apply(beside(x, np.ones(3))),
        V[:3],
    ),
}


def outcome(function, values):
    """Whether the result is on the tape, with the right gradient; or what happens instead."""
    wanted = function(values)
    x = gt.tensor(values, requires_grad=True)
    try:
        out = function(x)
        if not isinstance(out, gt.Tensor) or not out.requires_grad:
            return "loses the gradient"
        np.testing.assert_allclose(out.detach().numpy(), wanted, rtol=1e-6)
        gt.gradcheck(function, x, atol=1e-4, rtol=1e-3)
    except (TypeError, gt.errors.GraphError):
        return "refuses"
    return "keeps"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps({name: outcome(*case) for name, case in CASES.items()}))
