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
RUSHLIGHT_FUNCTION(Log2, log2);
RUSHLIGHT_FUNCTION(Log10, log10);
RUSHLIGHT_FUNCTION(Tanh, tanh);
RUSHLIGHT_FUNCTION(Sinh, sinh);
RUSHLIGHT_FUNCTION(Cosh, cosh);
RUSHLIGHT_FUNCTION(Sigmoid, sigmoid);
RUSHLIGHT_FUNCTION(Softplus, softplus);
RUSHLIGHT_FUNCTION(Erf, erf);
RUSHLIGHT_FUNCTION(Erfc, erfc);
RUSHLIGHT_FUNCTION(Gelu, gelu);
RUSHLIGHT_FUNCTION(GeluTanh, gelu_tanh);
RUSHLIGHT_FUNCTION(Sin, sin);
RUSHLIGHT_FUNCTION(Cos, cos);

struct Silu { template <typename T> static T apply(T a) { return a / (T(1) + vmath::exp(-a)); } };
struct Mish { template <typename T> static T apply(T a) { return a * vmath::tanh(vmath::softplus(a)); } };
struct GeluGradient { template <typename T> static T apply(T g, T a) { return g * vmath::gelu_slope(a); } };
struct GeluTanhGradient { template <typename T> static T apply(T g, T a) { return g * vmath::gelu_tanh_slope(a); } };
struct SiluGradient { template <typename T> static T apply(T g, T a) { return g * vmath::silu_slope(a); } };
struct Power { template <typename T> static T apply(T a, T b) { return vmath::pow(a, b); } };

// Numbers whose reduction modulo pi needs hundreds of bits go to the C library, one by one.
template <typename F, double (*function)(double)>
void trigonometric_loop(const void* a_, const void* b, const void* c, void* out_, index_t n, unsigned scalar) {
    const float* a = static_cast<const float*>(a_);
    float* out = static_cast<float*>(out_);
    float largest = 0.0f;
#pragma omp simd reduction(max : largest)
    for (index_t i = 0; i < n; ++i) {
        const float size = std::fabs(a[i]);
        largest = size > largest ? size : largest;
    }
    if (largest <= vmath::TRIGONOMETRIC_LIMIT) return unary_loop<float, float, F>(a_, b, c, out_, n, scalar);
    for (index_t i = 0; i < n; ++i) out[i] = static_cast<float>(function(a[i]));
}

template <typename F> constexpr Op both(const char* name, int cost) {
    return {name, 1, cost, {unary_loop<float, float, F>, unary_loop<double, double, F>}, {}};
}
template <typename F> constexpr Op gradient(const char* name, int cost) {
    return {name, 2, cost, {binary_loop<float, float, F>, binary_loop<double, double, F>}, {}};
}
template <typename F> constexpr Op single(const char* name, int cost) { return {name, 1, cost, {unary_loop<float, float, F>}, {}}; }

}  // namespace

extern const Op math_ops[] = {
    both<Exp>("exp", 4), both<Exp2>("exp2", 4), both<Expm1>("expm1", 6), both<Log>("log", 6), both<Log1p>("log1p", 8), single<Log2>("log2", 10),
    single<Log10>("log10", 10), both<Tanh>("tanh", 8), both<Sinh>("sinh", 12), both<Cosh>("cosh", 6), both<Sigmoid>("sigmoid", 6), both<Softplus>("softplus", 12), both<Erf>("erf", 8),
    both<Erfc>("erfc", 20), both<Gelu>("gelu", 8), both<GeluTanh>("gelu_tanh", 10), both<Silu>("silu", 6), both<Mish>("mish", 20),
    gradient<GeluGradient>("gelu_gradient", 10), gradient<GeluTanhGradient>("gelu_tanh_gradient", 12), gradient<SiluGradient>("silu_gradient", 8),
    {"sin", 1, 8, {trigonometric_loop<Sin, std::sin>}, {}}, {"cos", 1, 8, {trigonometric_loop<Cos, std::cos>}, {}},
    {"power", 2, 24, {binary_loop<float, float, Power>}, {}},
    {nullptr, 0, 0, {}, {}},
};

}  // namespace rushlight
