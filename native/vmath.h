// Mathematical functions without branches and without calls, so that loops over them become vector code. Good to 1-3 ulp; nan, inf and
// zeros behave as in the C library. float functions that need care compute in double. Polynomials are our own minimax fits, except
// where a source is named.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#define RL_INLINE __attribute__((always_inline)) inline

namespace rushlight {
namespace vmath {

template <typename T> struct Format;
template <> struct Format<float> {
    using Bits = std::uint32_t;
    static constexpr int mantissa = 23, bias = 127;
    static constexpr Bits sqrt_half = 0x3f3504f3u;
    static constexpr float magic = 12582912.0f;            // 1.5 * 2^23: adding it rounds to an integer
    static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    static constexpr float exp_low = -104.0f, exp_high = 90.0f, exp_normal = -87.0f;
};
template <> struct Format<double> {
    using Bits = std::uint64_t;
    static constexpr int mantissa = 52, bias = 1023;
    static constexpr Bits sqrt_half = 0x3fe6a09e667f3bcdull;
    static constexpr double magic = 6755399441055744.0;    // 1.5 * 2^52
    static constexpr double ln2_high = 0.693147180369123816490, ln2_low = 1.90821492927058770002e-10;
    static constexpr double exp_low = -746.0, exp_high = 711.0, exp_normal = -708.0;
};
template <typename T> using Bits = typename Format<T>::Bits;

template <typename T> RL_INLINE Bits<T> bits_of(T x) { return __builtin_bit_cast(Bits<T>, x); }
template <typename T> RL_INLINE T from_bits(Bits<T> b) { return __builtin_bit_cast(T, b); }
template <typename T> constexpr T infinity() { return std::numeric_limits<T>::infinity(); }
template <typename T> constexpr T nan_value() { return std::numeric_limits<T>::quiet_NaN(); }
template <typename T> RL_INLINE T absolute(T x) { return std::fabs(x); }
template <typename T> RL_INLINE T with_sign(T size, T sign) {
    constexpr Bits<T> mask = Bits<T>(1) << (sizeof(T) * 8 - 1);
    return from_bits<T>((bits_of(size) & ~mask) | (bits_of(sign) & mask));
}

// 2^k for the integer that `shifted` holds after a magic number was added.
template <typename T> RL_INLINE T power_of_two(T shifted) {
    return from_bits<T>((bits_of(shifted) - bits_of(Format<T>::magic) + Bits<T>(Format<T>::bias)) << Format<T>::mantissa);
}

template <typename T, typename... C> RL_INLINE T horner(T x, T first, C... rest) {  // coefficients from the lowest power on
    if constexpr (sizeof...(rest) == 0) {
        (void)x;
        return first;
    } else {
        return first + x * horner(x, T(rest)...);
    }
}

// exp(r) - 1 - r for |r| <= ln(2) / 2
RL_INLINE float exp_less_one_and_r(float r) {
    return r * r * horner(r, 0.500000007820176401f, 0.166666668644820394f, 0.0416662669042356562f, 0.00833326336427654822f,
                              0.00139463706368039859f, 0.000199189724918829884f);
}
RL_INLINE double exp_less_one_and_r(double r) {
    return r * r * horner(r, 0.5, 0.166666666666666712, 0.0416666666666666847, 0.00833333333332584774, 0.00138888888888738026,
                              0.00019841269875820394, 0.0000248015873487445853, 2.75572541383656611e-6, 2.75572515599542513e-7,
                              2.51057395840510174e-8, 2.09220448629000942e-9);
}

template <typename T> RL_INLINE T exp_less_one(T r) { return r + exp_less_one_and_r(r); }

// x = k ln(2) + r with |r| <= ln(2) / 2, for x within the range of exp; k as a float, and 2^k in two factors that don't overflow
template <typename T> struct Reduced {
    T r, rest, first, second;  // rest: what rounding took from r
};
template <typename T> RL_INLINE Reduced<T> reduce(T x) {
    using F = Format<T>;
    T y = x < F::exp_low ? F::exp_low : x;
    y = y > F::exp_high ? F::exp_high : y;
    T shifted = y * T(1.44269504088896340736) + F::magic;
    const T k = shifted - F::magic;
    const T half = k * T(0.5) + F::magic;
    const T rest = (k - (half - F::magic)) + F::magic;
    const T high = y - k * F::ln2_high, low = k * F::ln2_low, r = high - low;
    return {r, (high - r) - low, power_of_two(half), power_of_two(rest)};
}

// Nearly correctly rounded: 1 + r is taken apart into a sum and its error.
template <typename T> RL_INLINE T exp(T x) {
    const Reduced<T> a = reduce(x);
    const T sum = T(1) + a.r, error = a.r - (sum - T(1));
    return (sum + (error + (exp_less_one_and_r(a.r) + a.rest))) * a.first * a.second;
}

// exp(x) for weights of sums: 0 where the result would be subnormal, numbers with which processors compute some fifty times slower
template <typename T> RL_INLINE T exp_or_zero(T x) {
    constexpr T low = Format<T>::exp_normal;
    const T r = exp(x < low ? low : x);
    return x < low ? T(0) : r;
}

// exp(x) / 2, which reaches further
template <typename T> RL_INLINE T half_exp(T x) {
    const Reduced<T> a = reduce(x);
    return (exp_less_one(a.r) + T(1)) * (a.first * T(0.5)) * a.second;
}

template <typename T> RL_INLINE T expm1(T x) {
    const Reduced<T> a = reduce(x);
    const T p = exp_less_one(a.r);
    // 2^k p + (2^k - 1), with one of the factors kept back so that nothing overflows early
    const T inverse = T(1) / a.second;
    const T r = (p * a.first + (a.first - inverse)) * a.second;
    return x == T(0) ? x : x < T(-40) ? T(-1) : r;
}

template <typename T> RL_INLINE T exp2(T x) {
    using F = Format<T>;
    const T low = T(-F::bias - F::mantissa - 2), high = T(F::bias + 1);
    T y = x < low ? low : x;
    y = y > high ? high : y;
    const T shifted = y + F::magic;
    const T k = shifted - F::magic;
    const T half = k * T(0.5) + F::magic;
    const T rest = (k - (half - F::magic)) + F::magic;
    return (exp_less_one((y - k) * T(0.693147180559945309417)) + T(1)) * power_of_two(half) * power_of_two(rest);
}

// log(1 + f) for sqrt(1/2) - 1 <= f <= sqrt(2) - 1: the series of atanh in s = f / (2 + f)
RL_INLINE float log_one_plus(float f) {
    const float s = f / (2.0f + f), z = s * s;
    return f - s * (f - z * horner(z, 0.6666666666f, 0.4f, 0.2857142857f, 0.2222222222f, 0.1818181818f));
}
RL_INLINE double log_one_plus(double f) {
    const double s = f / (2.0 + f), z = s * s;
    return f - s * (f - z * horner(z, 2.0 / 3, 2.0 / 5, 2.0 / 7, 2.0 / 9, 2.0 / 11, 2.0 / 13, 2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21, 2.0 / 23));
}

// x = 2^k (1 + f), sqrt(1/2) <= 1 + f < sqrt(2), for positive normal x
template <typename T> struct Parts {
    T k, f;
};
template <typename T> RL_INLINE Parts<T> parts_of(T x) {
    using F = Format<T>;
    constexpr Bits<T> mask = (Bits<T>(1) << F::mantissa) - 1;
    const Bits<T> shifted = bits_of(x) - F::sqrt_half + (Bits<T>(F::bias) << F::mantissa);
    const T two = T(Bits<T>(1) << F::mantissa);  // as a number its low bits are an integer
    const T k = from_bits<T>((shifted >> F::mantissa) | bits_of(two)) - (two + T(F::bias));
    return {k, from_bits<T>((shifted & mask) + F::sqrt_half) - T(1)};
}

template <typename T> RL_INLINE T log(T x) {
    using F = Format<T>;
    const bool tiny = x < std::numeric_limits<T>::min();
    const Parts<T> a = parts_of(tiny ? x * T(Bits<T>(1) << F::mantissa) : x);
    const T k = tiny ? a.k - T(F::mantissa) : a.k;
    const T r = k * F::ln2_high + (log_one_plus(a.f) + k * F::ln2_low);
    const T special = x == T(0) ? -infinity<T>() : x < T(0) ? nan_value<T>() : x;
    return (x > T(0)) & (x < infinity<T>()) ? r : special;
}

template <typename T> RL_INLINE T log1p(T x) {
    const T u = T(1) + x;
    const T rest = x > T(1) ? T(1) - (u - x) : x - (u - T(1));
    const T r = log(u) + rest / u;
    return (x > T(-1)) & (x < infinity<T>()) ? (x == T(0) ? x : r) : log(u);
}

RL_INLINE float log2(float x) { return static_cast<float>(log(static_cast<double>(x)) * 1.44269504088896340736); }
RL_INLINE float log10(float x) { return static_cast<float>(log(static_cast<double>(x)) * 0.434294481903251827651); }

RL_INLINE float tanh(float x) {
    const float y = absolute(x), z = y > 0.625f ? 0.390625f : y * y;
    const float near = y + y * z * horner(z, -0.3333333432674408f, 0.13333304226398468f, -0.053959403187036514f, 0.021769952028989792f,
                                          -0.008346956223249435f, 0.0022958184126764536f);
    const float shifted = (y > 10.0f ? 10.0f : y) * 2.8853900817779268f + Format<float>::magic, k = shifted - Format<float>::magic;
    const float r = (y > 10.0f ? 10.0f : y) * 2.0f - k * Format<float>::ln2_high - k * Format<float>::ln2_low;   // exp(2 y) = 2^k exp(r)
    const float far = 1.0f - 2.0f / ((exp_less_one(r) + 1.0f) * power_of_two(shifted) + 1.0f);
    return x != x ? x : with_sign(y > 0.625f ? far : near, x);
}
RL_INLINE double tanh(double x) {
    const double y = absolute(x), e = expm1(2.0 * (y > 20.0 ? 20.0 : y));
    const double r = e / (e + 2.0);
    return x == 0.0 ? x : with_sign(r, x);
}

template <typename T> RL_INLINE T cosh(T x) {
    const T e = half_exp(absolute(x));
    return e + T(0.25) / e;
}
template <typename T> RL_INLINE T sinh(T x) {
    const T y = absolute(x), e = half_exp(y), small = expm1(y < T(1) ? y : T(1));
    return x == T(0) ? x : with_sign(y < T(1) ? T(0.5) * (small + small / (small + T(1))) : e - T(0.25) / e, x);
}

template <typename T> RL_INLINE T sigmoid(T x) { return T(1) / (T(1) + exp(-x)); }

// sigmoid and tanh for the gates of recurrent layers: half the work, good to 5 ulp (our own fits; sigmoid below -87 is 1e-38, not 0).
RL_INLINE float gate(float x) {
    float y = x < -87.0f ? -87.0f : x;
    y = y > 87.0f ? 87.0f : y;
    const float shifted = Format<float>::magic - y * 1.4426950216293335f, k = shifted - Format<float>::magic;  // exp(-y) = 2^k 2^f
    const float f = (-y * 1.4426950216293335f - k) - y * 1.925963033500011e-08f;
    const float p = 1.0f + f * horner(f, 0.6931471824645996f, 0.24022647738456726f, 0.055503323674201965f, 0.00961843691766262f,
                                      0.0013398875016719103f, 0.00015353360504377633f);
    return 1.0f / (1.0f + from_bits<float>(bits_of(p) + (bits_of(shifted) << 23)));
}
RL_INLINE float gate_tanh(float x) {
    float y = x < -9.02f ? -9.02f : x;
    y = y > 9.02f ? 9.02f : y;
    const float z = y * y;
    const float r = y * horner(z, 1.4800000190734863f, 0.19802001118659973f, 0.005171192344278097f, 3.046387791982852e-05f, 1.9712631527113444e-08f) /
                    horner(z, 1.4800000190734863f, 0.6913530826568604f, 0.03828927129507065f, 0.00048590110964141786f, 1.1487964002299123e-06f);
    return r > 1.0f ? 1.0f : r < -1.0f ? -1.0f : r;
}
RL_INLINE double gate(double x) { return sigmoid(x); }
RL_INLINE double gate_tanh(double x) { return tanh(x); }

// log(1 + x) for 0 <= x <= 1
template <typename T> RL_INLINE T log1p_of_fraction(T x) {
    const T u = T(1) + x;
    const Parts<T> a = parts_of(u);
    return a.k * Format<T>::ln2_high + (log_one_plus(a.f) + (a.k * Format<T>::ln2_low + (x - (u - T(1))) / u));
}

// log(1 + exp(x))
template <typename T> RL_INLINE T softplus(T x) {
    const T r = (x > T(0) ? x : T(0)) + log1p_of_fraction(exp(-absolute(x)));
    return x != x ? x : r;
}

template <typename T> RL_INLINE T atanh(T x) {
    const T y = absolute(x);
    return with_sign(T(0.5) * log1p((y + y) / (T(1) - y)), x);
}

// log(exp(a) + exp(b))
template <typename T> RL_INLINE T logaddexp(T a, T b) {
    const T r = (a > b ? a : b) + log1p_of_fraction(exp(-absolute(a - b)));
    return a == b ? a + T(0.693147180559945309417) : (a != a) | (b != b) ? a + b : r;
}

// sqrt(a^2 + b^2), without overflow
RL_INLINE float hypot(float a, float b) {
    const double x = a, y = b;
    const float r = static_cast<float>(std::sqrt(x * x + y * y));
    return (absolute(a) == infinity<float>()) | (absolute(b) == infinity<float>()) ? infinity<float>() : r;
}
RL_INLINE double hypot(double a, double b) {
    const double x = absolute(a), y = absolute(b), larger = x > y ? x : y;
    const double scale = larger > 1e150 ? 0x1p-600 : larger < 1e-140 ? 0x1p600 : 1.0, p = x * scale, q = y * scale;
    const double r = std::sqrt(p * p + q * q) / scale;
    return (x == infinity<double>()) | (y == infinity<double>()) ? infinity<double>() : r;
}

// x tanh(softplus(x)) and its slope: with n = exp(x) the tanh is n (n + 2) / (n (n + 2) + 2); beyond 20 it is 1
template <typename T> RL_INLINE T mish(T x) {
    const T n = exp(x > T(20) ? T(20) : x), w = n * (n + T(2));
    return x * (w / (w + T(2)));
}
template <typename T> RL_INLINE T mish_slope(T x) {
    const T n = exp(x > T(20) ? T(20) : x), w = n * (n + T(2)), inverse = T(1) / (w + T(2));
    return w * inverse + x * (T(4) * n * (n + T(1)) * inverse * inverse);
}

// --- the error function. double: W. J. Cody, "Rational Chebyshev approximations for the error function", 1969 ---------------------------

RL_INLINE double erf_small(double x, double t) {
    return x * horner(t, 3.20937758913846947e3, 3.77485237685302021e2, 1.13864154151050156e2, 3.16112374387056560e0, 1.85777706184603153e-1) /
           horner(t, 2.84423683343917062e3, 1.28261652607737228e3, 2.44024637934444173e2, 2.36012909523441209e1, 1.0);
}

// exp(y^2) erfc(y) for y > 0.46875
RL_INLINE double erfc_scaled(double y) {
    const double z = y < 4.0 ? y : 4.0, w = 1.0 / (y * y > 16.0 ? y * y : 16.0);
    const double middle = horner(z, 1.23033935479799725e3, 2.05107837782607147e3, 1.71204761263407058e3, 8.81952221241769090e2,
                                 2.98635138197400131e2, 6.61191906371416295e1, 8.88314979438837594e0, 5.64188496988670089e-1,
                                 2.15311535474403846e-8) /
                          horner(z, 1.23033935480374942e3, 3.43936767414372164e3, 4.36261909014324716e3, 3.29079923573345963e3,
                                 1.62138957456669019e3, 5.37181101862009858e2, 1.17693950891312499e2, 1.57449261107098347e1, 1.0);
    const double p = horner(w, 6.58749161529837803e-4, 1.60837851487422766e-2, 1.25781726111229246e-1, 3.60344899949804439e-1,
                            3.05326634961232344e-1, 1.63153871373020978e-2);
    const double q = horner(w, 2.33520497626869185e-3, 6.05183413124413191e-2, 5.27905102951428412e-1, 1.87295284992346725e0,
                            2.56852019228982242e0, 1.0);
    const double far = (0.5641895835477562869 - w * p / q) / y;
    return y <= 4.0 ? middle : far;
}

// exp(-y^2) with the rounding error of the square taken out
RL_INLINE double square_exp(double y) {
    const double high = from_bits<double>(bits_of(y) & 0xfffffffff8000000ull);
    return exp(-high * high) * exp(-(y - high) * (y + high));
}

RL_INLINE double erfc(double x) {
    const double y = absolute(x), capped = y > 28.0 ? 28.0 : y;
    const double tail = erfc_scaled(capped) * square_exp(capped);
    const double small = y < 0.46875 ? y : 0.46875;
    const double near = 1.0 - with_sign(erf_small(small, small * small), x);
    return y <= 0.46875 ? near : x < 0.0 ? 2.0 - tail : tail;
}
RL_INLINE double erf(double x) {
    const double y = absolute(x), capped = y > 6.0 ? 6.0 : y;
    const double small = y < 0.46875 ? y : 0.46875;
    const double r = y <= 0.46875 ? erf_small(y, small * small) : 1.0 - erfc_scaled(capped) * square_exp(capped);
    return with_sign(y != y ? y : r, x);
}

RL_INLINE float erf(float x) {
    const float y = absolute(x), t = x * x, z = y > 4.05f ? 4.05f : y;
    const float near = y + y * horner(t > 1.0f ? 1.0f : t, 0.128379166825625074f, -0.37612635554710542f, 0.112837237889990951f,
                                      -0.0268609961401698463f, 0.00520508564891083866f, -0.000818983674947832948f, 0.000085746397563558896f);
    const float far = 1.0f - exp(horner(z, 0.000154503787844321869f, -1.12941563444111922f, -0.633551989760251245f, -0.108049804991785443f,
                                        0.024967713691273204f, -0.00411245941048751015f, 0.000422179614577769302f, -0.0000200178907694962117f));
    return with_sign(t < 0.8f ? near : far, x);
}
RL_INLINE float erfc(float x) { return static_cast<float>(erfc(static_cast<double>(x))); }

// P(normal > z) for z >= 0, relatively exact far out. float: exp(-z^2 / 2) t P(t) with t = 1 / (1 + 0.3 z), our own fit (kernels/special.py)
RL_INLINE float normal_tail(float z, float density) {
    const float t = 1.0f / (1.0f + 0.3f * z);
    return density * (t * horner(t, 0.11962639602720244f, 0.12079828503879189f, 0.09963780757111926f, 0.12946858930052496f, -0.05539344342501744f,
                                 0.2082069233918127f, -0.15827659688919532f, 0.035931973090509856f));
}
RL_INLINE double normal_tail(double z, double) { return 0.5 * erfc(z * 0.70710678118654752440); }

// --- sine and cosine: float through double, exact reduction up to 2^28 ----------------------------------------------------------------

constexpr float TRIGONOMETRIC_LIMIT = 268435456.0f;  // beyond, the C library's reduction is needed

RL_INLINE double sin_polynomial(double r, double z) {
    return r + r * z * horner(z, -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800);
}
RL_INLINE double cos_polynomial(double z) {
    return 1.0 + z * horner(z, -0.5, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600);
}
// sin(x + quarter * pi / 2)
RL_INLINE float sin_shifted(float x, std::uint64_t quarter) {
    const double y = x;
    const double shifted = y * 0.63661977236758134308 + Format<double>::magic;
    const double k = shifted - Format<double>::magic;
    const double r = (y - k * 1.57079631090164184570) - k * 1.58932547735281966916e-8;
    const std::uint64_t q = bits_of(shifted) + quarter;
    const double z = r * r;
    const double value = (q & 1) != 0 ? cos_polynomial(z) : sin_polynomial(r, z);
    return static_cast<float>(from_bits<double>(bits_of(value) ^ ((q & 2) << 62)));
}
RL_INLINE float sin(float x) { return sin_shifted(x, 0); }
RL_INLINE float cos(float x) { return sin_shifted(x, 1); }

// double, up to 2^19: pi / 2 in three parts, of which a whole number times the first two is exact; what is left is r + rest.
constexpr double TRIGONOMETRIC_LIMIT_DOUBLE = 524288.0;
RL_INLINE double sin_shifted(double x, std::uint64_t quarter) {
    const double shifted = x * 0.63661977236758134308 + Format<double>::magic, k = shifted - Format<double>::magic;
    const double first = x - k * 1.57079632673412561417e+00, second = k * 6.07710050630396597660e-11;
    const double r = first - second, rest = ((first - r) - second) - k * 2.02226624879595063154e-21;
    const std::uint64_t q = bits_of(shifted) + quarter;
    const double z = r * r, half = 0.5 * z, near_one = 1.0 - half;
    const double sine = r + (r * z * horner(z, -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800, 1.0 / 6227020800, -1.0 / 1307674368000,
                                            1.0 / 355687428096000) + rest * near_one);
    const double cosine = near_one + (((1.0 - near_one) - half) + (z * z * horner(z, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600,
                                                                                  -1.0 / 87178291200, 1.0 / 20922789888000) - r * rest));
    return from_bits<double>(bits_of((q & 1) != 0 ? cosine : sine) ^ ((q & 2) << 62));
}
RL_INLINE double sin(double x) { return x == 0.0 ? x : sin_shifted(x, 0); }
RL_INLINE double cos(double x) { return sin_shifted(x, 1); }

// --- the gamma function's logarithm and its derivative: Stirling's series at x + n >= 10, as in kernels/special.py ------------------------

// log(x) of a positive normal number (inf gives something finite)
RL_INLINE double log_normal(double x) {
    const Parts<double> a = parts_of(x);
    return a.k * Format<double>::ln2_high + (log_one_plus(a.f) + a.k * Format<double>::ln2_low);
}

// log gamma(x), x > 0
RL_INLINE double lgamma_positive(double x) {
    double y = x, product = 1.0;
#pragma GCC unroll 10
    for (int i = 0; i < 10; ++i) {
        const bool low = y < 10.0;
        product *= low ? y : 1.0;
        y += low ? 1.0 : 0.0;
    }
    const double w = 1.0 / (y * y);
    const double tail = horner(w, 1.0 / 12, -1.0 / 360, 1.0 / 1260, -1.0 / 1680, 1.0 / 1188, -691.0 / 360360, 1.0 / 156, -3617.0 / 122400,
                               43867.0 / 244188, -174611.0 / 125400);
    // Around the zeros at 1 and 2 the difference cancels; log gamma(2 + d) is a Taylor series (A&S 6.1.33, log(1 + d) taken out).
    const double zero = x > 1.5 ? 2.0 : 1.0, offset = x - zero;
    const bool inside = absolute(offset) <= 0.5;
    const double d = inside ? offset : 0.0;
    const double near = d * d * horner(d, 0.3224670334241132, -0.0673523010531981, 0.020580808427784546, -0.007385551028673986,
                        0.0028905103307415234, -0.001192753911703261, 0.0005096695247430425, -0.00022315475845357936,
                        9.945751278180853e-05, -4.492623673813314e-05, 2.0507212775670694e-05, -9.439488275268395e-06,
                        4.374866789907487e-06, -2.039215753801366e-06, 9.55141213040742e-07, -4.492469198764566e-07,
                        2.1207184805554667e-07, -1.00432248239681e-07, 4.769810169363981e-08, -2.2711094608943164e-08,
                        1.0838659214896955e-08, -5.183475041970047e-09, 2.4836745438024785e-09, -1.1921401405860912e-09,
                        5.731367241678862e-10, -2.7595228851242334e-10) + d * 0.42278433509846713939;
    const double far = (y - 0.5) * log_normal(y) - y + 0.91893853320467274178 + tail / y;
    const double r = (inside ? near : far) - log_normal(inside ? (x > 1.5 ? 1.0 : x) : product);
    return x == infinity<double>() ? x : r;
}

RL_INLINE double lgamma(double x) {
    const bool reflect = x < 0.5;
    const double r = lgamma_positive(reflect ? 1.0 - x : x);
    const double fraction = absolute(x - std::trunc(x)), least = fraction < 0.5 ? fraction : 1.0 - fraction;  // exact also next to 0
    const double sine = sin(3.14159265358979323846 * least), size = absolute(x);
    const bool tiny = size < 1e-300;
    const double part = log(tiny ? size : sine);
    const double mirrored = 1.14472988584940017414 - part - r;  // gamma(x) gamma(1 - x) = pi / sin(pi x)
    const double left = tiny ? -part : mirrored;
    const double value = reflect ? (std::floor(x) == x ? infinity<double>() : left) : r;
    return x != x ? x : value;
}

RL_INLINE double digamma(double x) {
    const bool reflect = x < 0.0;
    double y = reflect ? 1.0 - x : x, r = 0.0;
#pragma GCC unroll 10
    for (int i = 0; i < 10; ++i) {
        const bool low = y < 10.0;
        r -= low ? 1.0 / y : 0.0;
        y = low ? y + 1.0 : y;
    }
    const double w = 1.0 / (y * y);
    r += log(y) - 0.5 / y - w * horner(w, 1.0 / 12, -1.0 / 120, 1.0 / 252, -1.0 / 240, 1.0 / 132, -691.0 / 32760, 1.0 / 12, -3617.0 / 8160,
                                       43867.0 / 14364, -174611.0 / 6600);
    const double whole = std::trunc(x), angle = 3.14159265358979323846 * (x - whole);
    const double mirrored = x == whole ? nan_value<double>() : r - 3.14159265358979323846 * cos(angle) / sin(angle);
    const double value = reflect ? mirrored : x == infinity<double>() ? x : r;
    return x == 0.0 ? with_sign(infinity<double>(), -x) : x != x ? x : value;
}
RL_INLINE float lgamma(float x) { return static_cast<float>(lgamma(static_cast<double>(x))); }
RL_INLINE float digamma(float x) { return static_cast<float>(digamma(static_cast<double>(x))); }

// --- powers: float through double ------------------------------------------------------------------------------------------------------

RL_INLINE float pow(float base, float exponent) {
    const double x = base, y = exponent, size = absolute(x);
    const double r = exp2(y * (log(size) * 1.44269504088896340736));
    const bool whole = y == std::trunc(y);
    const bool odd = whole & (y * 0.5 != std::trunc(y * 0.5)) & (absolute(y) < 9007199254740992.0);
    const bool undefined = (x < 0.0) & !whole & (size < infinity<double>());
    double value = size == 1.0 ? 1.0 : r;
    value = odd ? with_sign(value, x) : value;
    value = undefined ? nan_value<double>() : value;
    const double sum = x + y;
    value = sum != sum ? ((x != x) | (y != y) ? sum : value) : value;
    return static_cast<float>((y == 0.0) | (x == 1.0) ? 1.0 : value);
}

// --- the rectifiers of neural networks -------------------------------------------------------------------------------------------------

template <typename T> RL_INLINE T gelu(T x) {
    const T y = absolute(x), z = y > T(40) ? T(40) : y;
    const T tail = normal_tail(z, exp(T(-0.5) * z * z));
    return ((x > T(0)) | (x != x) ? x : T(0)) - (z * tail);
}
template <typename T> RL_INLINE T gelu_slope(T x) {
    const T y = absolute(x), z = y > T(40) ? T(40) : y;
    const T density = exp(T(-0.5) * z * z), tail = normal_tail(z, density);
    const T below = tail - z * density * T(0.39894228040143267794), slope = x < T(0) ? below : T(1) - below;
    return x != x ? x : slope;
}
template <typename T> RL_INLINE T gelu_tanh(T x) {
    return T(0.5) * x * (T(1) + tanh(x * (T(0.79788456080286535588) + T(0.0356774081363001) * x * x)));
}
template <typename T> RL_INLINE T gelu_tanh_slope(T x) {
    const T t = tanh(x * (T(0.79788456080286535588) + T(0.0356774081363001) * x * x));
    return T(0.5) * (T(1) + t + x * (T(1) - t * t) * (T(0.79788456080286535588) + T(0.1070322244089003) * x * x));
}
template <typename T> RL_INLINE T silu_slope(T x) {
    const T s = sigmoid(x);
    return s * (T(1) + x * (T(1) - s));
}

}  // namespace vmath
}  // namespace rushlight
