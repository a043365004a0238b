// The transcendental ops; vmath.h has the functions.
#include "loops.h"
#include "vmath.h"

namespace rushlight {
namespace {

#define RUSHLIGHT_FUNCTION(Name, function) \
    struct Name { template <typename T> static T apply(T a) { return vmath::function(a); } }

RUSHLIGHT_FUNCTION(Exp, exp);
RUSHLIGHT_FUNCTION(Exp2, exp2);
RUSHLIGHT_FUNCTION(Expm1, expm1);
RUSHLIGHT_FUNCTION(Log, log);
RUSHLIGHT_FUNCTION(Log1p, log1p);
RUSHLIGHT_FUNCTION(Log10, log10);
RUSHLIGHT_FUNCTION(Tanh, tanh);
RUSHLIGHT_FUNCTION(Sinh, sinh);
RUSHLIGHT_FUNCTION(Cosh, cosh);
RUSHLIGHT_FUNCTION(Atanh, atanh);
RUSHLIGHT_FUNCTION(Sigmoid, sigmoid);
RUSHLIGHT_FUNCTION(Softplus, softplus);
RUSHLIGHT_FUNCTION(Erf, erf);
RUSHLIGHT_FUNCTION(Lgamma, lgamma);
RUSHLIGHT_FUNCTION(Digamma, digamma);
RUSHLIGHT_FUNCTION(Gelu, gelu);
RUSHLIGHT_FUNCTION(GeluTanh, gelu_tanh);
RUSHLIGHT_FUNCTION(Mish, mish);
RUSHLIGHT_FUNCTION(Sin, sin);
RUSHLIGHT_FUNCTION(Cos, cos);

// The inverse of erf: x times a function of w = -log(1 - x^2), as M. Giles, "Approximating the erfinv function" (2010), has it, with fits of our own: in the
// middle of w, in the tails of its root.
RL_INLINE float erfinv_near(float w) {
    return vmath::horner(w - 2.5f, 1.50140941f, 0.24664028f, -0.00417738827f, -0.00125272525f, 0.000218345886f, -4.97306974e-06f, -3.46309298e-06f,
                         4.68266961e-07f, 2.32647999e-08f, -8.94141383e-09f);
}
RL_INLINE float erfinv_far(float w) {
    return vmath::horner(std::sqrt(w) - 3.125f, 2.95832014f, 1.00371873f, 0.00704954052f, -0.00530106528f, 0.00377803552f, -0.00252181897f, 0.00131894695f,
                         -0.000320153049f, -0.000179548893f, 0.000126669169f);
}
RL_INLINE double erfinv_near(double w) {
    return vmath::horner(
        w * 0.4 - 1.0,
        1.501409351110792, 0.6166006918604175, -0.026108235777397543, -0.01957356105954724, 0.00852540095093571, -0.00048789839832821423,
        -0.0008341356436274527, 0.000292190685163798, 2.0472417318135177e-05, -4.143207161087569e-05, 8.652724308992298e-06, 2.8516533407504126e-06,
        -1.853877624556771e-06, 1.358328533200264e-07, 1.9955253577447377e-07, -7.089712161469048e-08, -6.723947932139947e-09, 1.1039320695967968e-08,
        -1.976273137724939e-09, -9.755337189136472e-10, 4.4154081401624575e-10, 3.858161126784112e-11, -3.8266700213012684e-11);
}
RL_INLINE double erfinv_far(double w) {  // a Chebyshev series, by Clenshaw's recurrence
    constexpr double terms[] = {
        4.0461266063571015, 2.0123374511038765, 0.005669537722043336, -0.0033723772623099084, 0.001518232594119263, -0.0006657301462467379,
        0.0002808213665051502, -0.00010541505956894615, 3.119358139404364e-05, -5.012781600456639e-06, -1.3414066684310858e-06, 1.484801514377752e-06,
        -6.508168455040075e-07, 1.5298083393163477e-07, 5.433331234853974e-09, -2.241182739913004e-08, 1.0428229831561504e-08,
        -2.3267630322011537e-09, -1.222488460583256e-10, 3.196272010131592e-10, -1.3179047537646382e-10, 2.5287837661261422e-11,
        2.2346316303820186e-12, -3.4948952981758944e-12, 1.3383343198346088e-12, -2.709778452886767e-13, -2.1365541401463633e-15,
        2.7376014955846443e-14, -1.340662269493792e-14, 3.960214529715124e-15, -5.553995731825455e-16, -1.784063230518916e-16, 1.6202913246529098e-16,
        -6.236053987077956e-17, 1.2176539762868688e-17};
    const double t = (std::sqrt(w) - 4.2) * 0.5, twice = t + t;
    double one = 0, two = 0;
#pragma GCC unroll 64
    for (int k = static_cast<int>(sizeof(terms) / sizeof(double)) - 1; k > 0; --k) {
        const double next = twice * one - two + terms[k];
        two = one;
        one = next;
    }
    return t * one - two + terms[0];
}

struct ErfinvPlace {  // w; 0 where there is no inverse
    template <typename T> static T apply(T x) { return std::fabs(x) < T(1) ? -vmath::log((T(1) - x) * (T(1) + x)) : T(0); }
};
struct ErfinvNear { template <typename T> static T apply(T w) { return erfinv_near(w); } };
struct ErfinvFar { template <typename T> static T apply(T w, T near) { return w > T(5) ? erfinv_far(w) : near; } };
struct ErfinvEnd {
    template <typename T> static T apply(T x, T factor) {
        const T size = std::fabs(x), end = size == T(1) ? vmath::with_sign(vmath::infinity<T>(), x) : vmath::nan_value<T>();
        return size < T(1) ? x * factor : end;
    }
};
template <typename T> void erfinv_loop(const void* a_, const void*, const void*, void* out_, index_t n, unsigned) {
    constexpr index_t PART = 512;
    const T* a = static_cast<const T*>(a_);
    T *out = static_cast<T*>(out_), w[PART], factor[PART];
    for (index_t start = 0; start < n; start += PART) {
        const index_t count = n - start < PART ? n - start : PART;
        unary_loop<T, T, ErfinvPlace>(a + start, nullptr, nullptr, w, count, 0);
        unary_loop<T, T, ErfinvNear>(w, nullptr, nullptr, factor, count, 0);
        T largest = 0;
#pragma omp simd reduction(max : largest)
        for (index_t i = 0; i < count; ++i) largest = w[i] > largest ? w[i] : largest;
        if (largest > T(5)) binary_loop<T, T, ErfinvFar>(w, factor, nullptr, factor, count, 0);
        binary_loop<T, T, ErfinvEnd>(a + start, factor, nullptr, out + start, count, 0);
    }
}

// float without a step through double: exact for powers of two, since the exponent is added last.
RL_INLINE float log2(float x) {
    const bool tiny = x < std::numeric_limits<float>::min();
    const vmath::Parts<float> a = vmath::parts_of(tiny ? x * 8388608.0f : x);
    const float r = (tiny ? a.k - 23.0f : a.k) + vmath::log_one_plus(a.f) * 1.44269504088896340736f;
    const float special = x == 0.0f ? -vmath::infinity<float>() : x < 0.0f ? vmath::nan_value<float>() : x;
    return (x > 0.0f) & (x < vmath::infinity<float>()) ? r : special;
}
struct Log2 { template <typename T> static T apply(T a) { return log2(a); } };

// exp(-s y^2) for 0 <= y <= 16 and a power of two s, with the rounding error of the square taken out
RL_INLINE float square_exp(float y, float s) {
    const float high = vmath::from_bits<float>(vmath::bits_of(y) & 0xfffff000u);
    return vmath::exp(-s * high * high) * vmath::exp(-s * (y - high) * (y + high));
}
RL_INLINE float erfc(float x) {
    const float y = std::fabs(x), capped = y > 12.0f ? 12.0f : y;
    const float tail = 2.0f * vmath::normal_tail(capped * 1.41421356237309505f, square_exp(capped, 1.0f));
    return x != x ? x : x < 0.0f ? 2.0f - tail : tail;
}
RL_INLINE double erfc(double x) { return vmath::erfc(x); }
struct Erfc { template <typename T> static T apply(T a) { return erfc(a); } };

// The probability that a normal variable is below x.
RL_INLINE float ndtr(float x) {
    const float y = std::fabs(x), capped = y > 16.0f ? 16.0f : y;
    const float tail = vmath::normal_tail(capped, square_exp(capped, 0.5f));
    return x != x ? x : x > 0.0f ? 1.0f - tail : tail;
}
RL_INLINE double ndtr(double x) {
    const double z = x * 0.70710678118654752440, far = 0.5 * vmath::erfc(-z), near = 0.5 + 0.5 * vmath::erf(z);
    return std::fabs(z) < 1.0 ? near : far;
}
struct Ndtr { template <typename T> static T apply(T a) { return ndtr(a); } };

struct NextAfter {
    template <typename T> static T apply(T a, T b) {
        using B = vmath::Bits<T>;
        const B bits = vmath::bits_of(a), step = (a < b) == (a > T(0)) ? bits + 1 : bits - 1;
        const T moved = a == T(0) ? vmath::with_sign(vmath::from_bits<T>(B(1)), b) : vmath::from_bits<T>(step);
        return (a != a) | (b != b) ? a + b : a == b ? b : moved;
    }
};
struct LogAddExp2 {
    template <typename T> static T apply(T a, T b) {
        const T r = (a > b ? a : b) + vmath::log1p_of_fraction(vmath::exp2(-std::fabs(a - b))) * T(1.44269504088896340736);
        return a == b ? a + T(1) : (a != a) | (b != b) ? a + b : r;
    }
};

struct Hypot { template <typename T> static T apply(T a, T b) { return vmath::hypot(a, b); } };
struct LogAddExp { template <typename T> static T apply(T a, T b) { return vmath::logaddexp(a, b); } };
struct Silu { template <typename T> static T apply(T a) { return a / (T(1) + vmath::exp(-a)); } };
struct MishGradient { template <typename T> static T apply(T g, T a) { return g * vmath::mish_slope(a); } };
struct GeluGradient { template <typename T> static T apply(T g, T a) { return g * vmath::gelu_slope(a); } };
struct GeluTanhGradient { template <typename T> static T apply(T g, T a) { return g * vmath::gelu_tanh_slope(a); } };
struct SiluGradient { template <typename T> static T apply(T g, T a) { return g * vmath::silu_slope(a); } };
struct Power { template <typename T> static T apply(T a, T b) { return vmath::pow(a, b); } };

// Numbers whose reduction modulo pi needs hundreds of bits go to the C library, one by one.
template <typename T, typename F, double (*function)(double)>
void trigonometric_loop(const void* a_, const void* b, const void* c, void* out_, index_t n, unsigned scalar) {
    constexpr T LIMIT = sizeof(T) == 4 ? T(vmath::TRIGONOMETRIC_LIMIT) : T(vmath::TRIGONOMETRIC_LIMIT_DOUBLE);
    const T* a = static_cast<const T*>(a_);
    T* out = static_cast<T*>(out_);
    T largest = T(0);
#pragma omp simd reduction(max : largest)
    for (index_t i = 0; i < n; ++i) {
        const T size = std::fabs(a[i]);
        largest = size > largest ? size : largest;
    }
    if (largest <= LIMIT) return unary_loop<T, T, F>(a_, b, c, out_, n, scalar);
    for (index_t i = 0; i < n; ++i) out[i] = static_cast<T>(function(a[i]));
}
template <typename F, double (*function)(double)> constexpr Loops trigonometric(const char* name) {
    return {name, 1, 8, {trigonometric_loop<float, F, function>, trigonometric_loop<double, F, function>}, {}};
}

// What is left of a division, from the quotient rounded towards zero: exact as long as that has few enough bits. Others go to the C library.
struct Remainder {
    static float near(float a, float b, bool* far) {
        const double x = std::fabs(double(a)), y = std::fabs(double(b)), q = std::trunc(x / y), r = x - q * y;
        *far = q >= 536870912.0;               // q y has to fit 53 bits
        return static_cast<float>(settle(r, x, y));
    }
#if defined(__FMA__) || defined(__aarch64__)
    static double near(double a, double b, bool* far) {
        const double x = std::fabs(a), y = std::fabs(b), q = std::trunc(x / y), r = __builtin_fma(-q, y, x);
        *far = (q >= 4503599627370496.0) | ((y < 1e-290) & (y > 0.0));
        return settle(r, x, y);
    }
#else
    static double near(double, double, bool* far) {
        *far = true;
        return 0.0;
    }
#endif

  private:
    static double settle(double r, double x, double y) {  // the quotient may have been rounded up
        r = r < 0.0 ? r + y : r;
        return (y == vmath::infinity<double>()) & (x < y) ? x : r;
    }
};

// F::apply(a, b, fmod(a, b))
template <typename T, typename F> void remainder_loop(const void* a_, const void* b_, const void*, void* out_, index_t n, unsigned scalar) {
    constexpr index_t PART = 256;
    const T *a = static_cast<const T*>(a_), *b = static_cast<const T*>(b_);
    T *out = static_cast<T*>(out_), x[PART], y[PART], rest[PART];
    for (index_t start = 0; start < n; start += PART) {
        const index_t count = n - start < PART ? n - start : PART;
        for (index_t i = 0; i < count; ++i) x[i] = scalar & 1u ? *a : a[start + i];
        for (index_t i = 0; i < count; ++i) y[i] = scalar & 2u ? *b : b[start + i];
        int any = 0;
#pragma omp simd reduction(| : any)
        for (index_t i = 0; i < count; ++i) {
            bool far;
            rest[i] = vmath::with_sign(Remainder::near(x[i], y[i], &far), x[i]);
            any |= far ? 1 : 0;
        }
        if (any) {
            for (index_t i = 0; i < count; ++i) rest[i] = std::fmod(x[i], y[i]);
        }
#pragma omp simd
        for (index_t i = 0; i < count; ++i) out[start + i] = F::apply(x[i], y[i], rest[i]);
    }
}

struct Fmod { template <typename T> static T apply(T, T, T rest) { return rest; } };
struct Modulo {  // with the divisor's sign
    template <typename T> static T apply(T, T b, T rest) { return (rest != T(0)) & ((b < T(0)) != (rest < T(0))) ? rest + b : rest; }
};
struct FloorDivide {  // from the exact remainder, so that rounding a / b up to a whole number does no harm
    template <typename T> static T apply(T a, T b, T rest) {
        const T exact = (a - rest) / b, q = (rest != T(0)) & ((b < T(0)) != (rest < T(0))) ? exact - T(1) : exact;
        const T low = std::floor(q), whole = q - low > T(0.5) ? low + T(1) : low;
        return b == T(0) ? a / b : q == T(0) ? vmath::with_sign(T(0), a / b) : whole;
    }
};
template <typename F> constexpr Loops remainder_op(const char* name) { return {name, 2, 16, {remainder_loop<float, F>, remainder_loop<double, F>}, {}}; }

template <typename F> constexpr Loops both(const char* name, int cost) {
    return {name, 1, cost, {unary_loop<float, float, F>, unary_loop<double, double, F>}, {}};
}
template <typename F> constexpr Loops gradient(const char* name, int cost) {
    return {name, 2, cost, {binary_loop<float, float, F>, binary_loop<double, double, F>}, {}};
}
template <typename F> constexpr Loops single(const char* name, int cost) { return {name, 1, cost, {unary_loop<float, float, F>}, {}}; }

}  // namespace

extern const Loops math_ops[] = {
    both<Exp>("exp", 4), both<Exp2>("exp2", 4), both<Expm1>("expm1", 6), both<Log>("log", 6), both<Log1p>("log1p", 8), single<Log2>("log2", 10),
    single<Log10>("log10", 10), both<Tanh>("tanh", 8), both<Sinh>("sinh", 12), both<Cosh>("cosh", 6), both<Atanh>("arctanh", 10),
    both<Sigmoid>("sigmoid", 6), both<Softplus>("softplus", 12), both<Erf>("erf", 8),
    both<Erfc>("erfc", 20), both<Ndtr>("ndtr", 20), {"erfinv", 1, 16, {erfinv_loop<float>, erfinv_loop<double>}, {}}, both<Lgamma>("lgamma", 80), both<Digamma>("digamma", 80), both<Gelu>("gelu", 8),
    both<GeluTanh>("gelu_tanh", 10), both<Silu>("silu", 6), both<Mish>("mish", 8), gradient<MishGradient>("mish_gradient", 10),
    gradient<GeluGradient>("gelu_gradient", 10), gradient<GeluTanhGradient>("gelu_tanh_gradient", 12), gradient<SiluGradient>("silu_gradient", 8),
    trigonometric<Sin, std::sin>("sin"), trigonometric<Cos, std::cos>("cos"),
    remainder_op<Fmod>("fmod"), remainder_op<Modulo>("remainder"), remainder_op<FloorDivide>("floor_divide"),
    gradient<Hypot>("hypot", 4), gradient<LogAddExp>("logaddexp", 12), gradient<LogAddExp2>("logaddexp2", 12),
    gradient<NextAfter>("nextafter", 3),
    {"power", 2, 24, {binary_loop<float, float, Power>}, {}},
    {nullptr, 0, 0, {}, {}},
};

}  // namespace rushlight
