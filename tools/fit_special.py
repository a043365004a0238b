"""Makes src/rushlight/kernels/special_tables.py: Chebyshev coefficients of the special functions, from mpmath's values at 40 digits.

    python tools/fit_special.py > src/rushlight/kernels/special_tables.py

Each entry fits a smooth function on an interval; what the functions and their variables are is said beside them. Coefficients below
1e-18 of the largest are dropped, so that the tables are as short as double precision allows.
"""

from mpmath import airyai, airybi, besseli, besselj, besselk, bessely, cos, erfc, erfinv, exp, log, mp, mpf, pi, sin, sqrt

mp.dps = 40


def amplitudes(order, x):
    """(P, Q x) with J = sqrt(2 / (pi x)) (P cos a - Q sin a), Y = sqrt(2 / (pi x)) (P sin a + Q cos a), a = x - order pi / 2 - pi / 4."""
    a = x - order * pi / 2 - pi / 4
    j, y = besselj(order, x) * sqrt(pi * x / 2), bessely(order, x) * sqrt(pi * x / 2)
    return j * cos(a) + y * sin(a), (y * cos(a) - j * sin(a)) * x


def airy_amplitudes(z):
    """(P, Q zeta) with Ai(-z) = (P sin a - Q cos a) / (sqrt(pi) z^(1/4)), a = zeta + pi / 4, zeta = 2/3 z^(3/2)."""
    zeta = 2 * z ** 1.5 / 3
    a = zeta + pi / 4
    ai, bi = airyai(-z) * sqrt(pi) * z ** 0.25, airybi(-z) * sqrt(pi) * z ** 0.25
    return ai * sin(a) + bi * cos(a), (bi * sin(a) - ai * cos(a)) * zeta


def normal_tail(s):
    """x > 0 where a normal variable exceeds x with probability exp(-s^2 / 2): Newton's method on the logarithm."""
    x = s
    for _ in range(40):
        upper = erfc(x / sqrt(2)) / 2
        step = (log(upper) + s * s / 2) * upper * sqrt(2 * pi) * exp(x * x / 2)
        x += step
        if abs(step) < mpf(10) ** -35:
            break
    return x


def of_zeta(zeta):
    return (1.5 * zeta) ** (mpf(2) / 3)


# name: (function, from, to, what it is)
FITS = {
    "ERFINV_NEAR": (lambda w: erfinv(sqrt(1 - exp(-w))) / sqrt(1 - exp(-w)) if w else sqrt(pi) / 2, 0, 5, "-log(1 - x^2): erfinv(x) / x"),
    "ERFINV_FAR": (lambda r: erfinv(sqrt(1 - exp(-r * r))) / sqrt(1 - exp(-r * r)), mpf(2.2), mpf(6.2),
                   "sqrt(-log(1 - x^2)): erfinv(x) / x"),
    "NDTRI_NEAR": (normal_tail, mpf(1.75), 8, "s = sqrt(-2 log p): -ndtri(p)"),
    "NDTRI_FAR": (lambda u: normal_tail(1 / u) * u, mpf(1) / 40, mpf(1) / 8, "1/s: -ndtri(p) / s"),
    "I0_NEAR": (lambda x: exp(-x) * besseli(0, x), 0, 8, "x: exp(-x) I0(x)"),
    "I0_FAR": (lambda u: sqrt(1 / u) * exp(-1 / u) * besseli(0, 1 / u), 0, mpf(1) / 8, "1/x: sqrt(x) exp(-x) I0(x)"),
    "I1_NEAR": (lambda x: exp(-x) * besseli(1, x) / x, 0, 8, "x: exp(-x) I1(x) / x"),
    "I1_FAR": (lambda u: sqrt(1 / u) * exp(-1 / u) * besseli(1, 1 / u), 0, mpf(1) / 8, "1/x: sqrt(x) exp(-x) I1(x)"),
    "K0_NEAR": (lambda v: besselk(0, sqrt(v)) + log(sqrt(v) / 2) * besseli(0, sqrt(v)), 0, 4, "x^2: K0(x) + log(x/2) I0(x)"),
    "K0_FAR": (lambda u: sqrt(1 / u) * exp(1 / u) * besselk(0, 1 / u), 0, mpf(1) / 2, "1/x: sqrt(x) exp(x) K0(x)"),
    "K1_NEAR": (lambda v: sqrt(v) * (besselk(1, sqrt(v)) - log(sqrt(v) / 2) * besseli(1, sqrt(v))), 0, 4,
                "x^2: x (K1(x) - log(x/2) I1(x))"),
    "K1_FAR": (lambda u: sqrt(1 / u) * exp(1 / u) * besselk(1, 1 / u), 0, mpf(1) / 2, "1/x: sqrt(x) exp(x) K1(x)"),
    "J0_NEAR": (lambda v: besselj(0, sqrt(v)), 0, 64, "x^2: J0(x)"),
    "J1_NEAR": (lambda v: besselj(1, sqrt(v)) / sqrt(v), 0, 64, "x^2: J1(x) / x"),
    "Y0_NEAR": (lambda v: bessely(0, sqrt(v)) - 2 / pi * log(sqrt(v)) * besselj(0, sqrt(v)), 0, 64, "x^2: Y0(x) - 2/pi log(x) J0(x)"),
    "Y1_NEAR": (lambda v: (bessely(1, sqrt(v)) - 2 / pi * (log(sqrt(v)) * besselj(1, sqrt(v)) - 1 / sqrt(v))) / sqrt(v), 0, 64,
                "x^2: (Y1(x) - 2/pi (log(x) J1(x) - 1/x)) / x"),
    "P0": (lambda w: amplitudes(0, 1 / sqrt(w))[0], 0, mpf(1) / 64, "1/x^2: P of J0 and Y0"),
    "Q0": (lambda w: amplitudes(0, 1 / sqrt(w))[1], 0, mpf(1) / 64, "1/x^2: x Q of J0 and Y0"),
    "P1": (lambda w: amplitudes(1, 1 / sqrt(w))[0], 0, mpf(1) / 64, "1/x^2: P of J1 and Y1"),
    "Q1": (lambda w: amplitudes(1, 1 / sqrt(w))[1], 0, mpf(1) / 64, "1/x^2: x Q of J1 and Y1"),
    "AIRY_NEAR": (airyai, -5, 1, "x: Ai(x)"),
    "AIRY_FAR": (lambda u: airyai(of_zeta(1 / u)) * 2 * sqrt(pi) * of_zeta(1 / u) ** 0.25 * exp(1 / u), 0, mpf(3) / 2,
                 "1/zeta, zeta = 2/3 x^(3/2): 2 sqrt(pi) x^(1/4) exp(zeta) Ai(x)"),
    "AIRY_P": (lambda w: airy_amplitudes(of_zeta(1 / sqrt(w)))[0], 0, mpf(9) / 500, "1/zeta^2: P of Ai(-x)"),
    "AIRY_Q": (lambda w: airy_amplitudes(of_zeta(1 / sqrt(w)))[1], 0, mpf(9) / 500, "1/zeta^2: zeta Q of Ai(-x)"),
}


def chebyshev(function, low, high, count=64):
    """The coefficients of the interpolant at Chebyshev's points, cut where they no longer count."""
    values = []
    for i in range(count):
        t = cos(pi * (i + mpf(1) / 2) / count)
        values.append(function((high - low) * (t + 1) / 2 + low))
    c = [2 * sum(v * cos(pi * k * (i + mpf(1) / 2) / count) for i, v in enumerate(values)) / count for k in range(count)]
    c[0] /= 2
    largest = max(abs(each) for each in c)
    while abs(c[-1]) < largest * mpf(10) ** -18:
        c.pop()
    return c


def main():
    print('"""Chebyshev coefficients, made by tools/fit_special.py: (from, to, c0, c1, ...). The comment says: variable: function."""')
    print("# ruff: noqa: E501\n")
    for name, (function, low, high, what) in FITS.items():
        numbers = ", ".join(repr(float(c)) for c in (mpf(low), mpf(high), *chebyshev(function, low, high)))
        print(f"# {what}\n{name} = ({numbers})")


if __name__ == "__main__":
    main()
