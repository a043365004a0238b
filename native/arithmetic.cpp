// Arithmetic, comparisons, selection: the ops that are an instruction or a few.
#include <cmath>
#include <type_traits>

#include "loops.h"
#include "vmath.h"

namespace rushlight {
namespace {

// Integers wrap around, as in NumPy.
template <typename T, bool = std::is_integral<T>::value> struct Wrapping { using type = T; };
template <typename T> struct Wrapping<T, true> { using type = typename std::make_unsigned<T>::type; };
template <typename T> using U = typename Wrapping<T>::type;

template <typename T> inline bool is_nan(T x) { return x != x; }

struct Add { template <typename T> static T apply(T a, T b) { return T(U<T>(a) + U<T>(b)); } };
struct Subtract { template <typename T> static T apply(T a, T b) { return T(U<T>(a) - U<T>(b)); } };
struct Multiply { template <typename T> static T apply(T a, T b) { return T(U<T>(a) * U<T>(b)); } };
struct Divide { template <typename T> static T apply(T a, T b) { return a / b; } };
struct Maximum { template <typename T> static T apply(T a, T b) { return a > b || is_nan(a) ? a : b; } };
struct Minimum { template <typename T> static T apply(T a, T b) { return a < b || is_nan(a) ? a : b; } };
struct Fmax { template <typename T> static T apply(T a, T b) { return a >= b || is_nan(b) ? a : b; } };
struct Fmin { template <typename T> static T apply(T a, T b) { return a <= b || is_nan(b) ? a : b; } };
struct CopySign { template <typename T> static T apply(T a, T b) { return vmath::with_sign(a, b); } };
struct Negative { template <typename T> static T apply(T a) { return T(-U<T>(a)); } };
struct Absolute {
    template <typename T> static T apply(T a) {
        if constexpr (std::is_integral<T>::value) return a < 0 ? T(-U<T>(a)) : a;
        else return std::fabs(a);
    }
};
struct Sqrt { template <typename T> static T apply(T a) { return std::sqrt(a); } };
struct Rsqrt { template <typename T> static T apply(T a) { return T(1) / std::sqrt(a); } };
struct Square { template <typename T> static T apply(T a) { return T(U<T>(a) * U<T>(a)); } };
struct Reciprocal { template <typename T> static T apply(T a) { return T(1) / a; } };
struct Floor { template <typename T> static T apply(T a) { return std::floor(a); } };
struct Ceil { template <typename T> static T apply(T a) { return std::ceil(a); } };
struct Trunc { template <typename T> static T apply(T a) { return std::trunc(a); } };
struct Frac { template <typename T> static T apply(T a) { return a - std::trunc(a); } };
struct Rint { template <typename T> static T apply(T a) { return std::nearbyint(a); } };
struct Sign { template <typename T> static T apply(T a) { return T(a > 0) - T(a < 0); } };
struct Relu { template <typename T> static T apply(T a) { return a > T(0) || is_nan(a) ? a : T(0); } };
struct ReluGradient { template <typename T> static T apply(T g, T y) { return y <= T(0) ? T(0) : g; } };
struct LeakyRelu { template <typename T> static T apply(T a, T slope) { return a > T(0) ? a : a * slope; } };
struct LeakyReluGradient { template <typename T> static T apply(T g, T a, T slope) { return a > T(0) ? g : g * slope; } };
template <typename T> inline T limited(T a, T low, T high) {
    const T r = a < low ? low : a;
    return r > high ? high : r;
}
struct Hardsigmoid { template <typename T> static T apply(T a) { return limited(a + T(3), T(0), T(6)) / T(6); } };
struct HardsigmoidGradient { template <typename T> static T apply(T g, T a) { return (a > T(-3)) & (a < T(3)) ? g / T(6) : T(0); } };
struct Hardswish { template <typename T> static T apply(T a) { return a * limited(a + T(3), T(0), T(6)) / T(6); } };
struct HardswishGradient { template <typename T> static T apply(T g, T a) { return g * (a <= T(-3) ? T(0) : a >= T(3) ? T(1) : a / T(3) + T(0.5)); } };
struct Softshrink { template <typename T> static T apply(T a, T limit) { return a > limit ? a - limit : a < -limit ? a + limit : a * T(0); } };
struct TanhGradient { template <typename T> static T apply(T g, T y) { return g * (T(1) - y * y); } };
struct SigmoidGradient { template <typename T> static T apply(T g, T y) { return g * (y * (T(1) - y)); } };
struct Copy { template <typename T> static T apply(T a) { return a; } };
// By bits, so that both values are read and the loop has no branch.
struct Where {
    template <typename T> static T apply(T c, T a, T b) {
        const vmath::Bits<T> mask = -static_cast<vmath::Bits<T>>(c != T(0));
        return vmath::from_bits<T>((vmath::bits_of(a) & mask) | (vmath::bits_of(b) & ~mask));
    }
};
struct Clamp { template <typename T> static T apply(T a, T low, T high) { return limited(a, low, high); } };

struct Equal { template <typename T> static bool apply(T a, T b) { return a == b; } };
struct NotEqual { template <typename T> static bool apply(T a, T b) { return a != b; } };
struct Less { template <typename T> static bool apply(T a, T b) { return a < b; } };
struct LessEqual { template <typename T> static bool apply(T a, T b) { return a <= b; } };
struct Greater { template <typename T> static bool apply(T a, T b) { return a > b; } };
struct GreaterEqual { template <typename T> static bool apply(T a, T b) { return a >= b; } };
struct And { template <typename T> static bool apply(T a, T b) { return (a != T(0)) & (b != T(0)); } };
struct Or { template <typename T> static bool apply(T a, T b) { return (a != T(0)) | (b != T(0)); } };
struct Xor { template <typename T> static bool apply(T a, T b) { return (a != T(0)) != (b != T(0)); } };
struct Not { template <typename T> static bool apply(T a) { return a == T(0); } };
struct IsNan { template <typename T> static bool apply(T a) { return a != a; } };
struct IsInf { template <typename T> static bool apply(T a) { return std::fabs(a) == vmath::infinity<T>(); } };
struct IsFinite { template <typename T> static bool apply(T a) { return std::fabs(a) < vmath::infinity<T>(); } };

using i64 = std::int64_t;
using i32 = std::int32_t;
using byte = std::uint8_t;

template <typename F> constexpr Loops float_unary(const char* name, int cost = 1) {
    return {name, 1, cost, {unary_loop<float, float, F>, unary_loop<double, double, F>}, {}};
}
template <typename F> constexpr Loops float_binary(const char* name, int cost = 1) {
    return {name, 2, cost, {binary_loop<float, float, F>, binary_loop<double, double, F>}, {}};
}
template <typename F> constexpr Loops any_unary(const char* name) {
    return {name, 1, 1, {unary_loop<float, float, F>, unary_loop<double, double, F>, unary_loop<i64, i64, F>, unary_loop<i32, i32, F>}, {}};
}
template <typename F> constexpr Loops any_binary(const char* name) {
    return {name, 2, 1, {binary_loop<float, float, F>, binary_loop<double, double, F>, binary_loop<i64, i64, F>, binary_loop<i32, i32, F>}, {}};
}
template <typename F> constexpr Loops compare(const char* name) {
    return {name, 2, 1,
            {binary_loop<float, float, F>, binary_loop<double, double, F>},
            {binary_loop<float, byte, F>, binary_loop<double, byte, F>, binary_loop<i64, byte, F>, binary_loop<i32, byte, F>, binary_loop<byte, byte, F>}};
}
template <typename F> constexpr Loops question(const char* name) {
    return {name, 1, 1, {unary_loop<float, float, F>, unary_loop<double, double, F>}, {unary_loop<float, byte, F>, unary_loop<double, byte, F>}};
}
template <typename F> constexpr Loops bits(const char* name) {  // of bool; on masks inside float programs: logic
    return {name, 2, 1, {binary_loop<float, float, F>, binary_loop<double, double, F>}, {nullptr, nullptr, nullptr, nullptr, binary_loop<byte, byte, F>}};
}

}  // namespace

extern const Loops arithmetic_ops[] = {
    any_binary<Add>("add"), any_binary<Subtract>("subtract"), any_binary<Multiply>("multiply"), float_binary<Divide>("divide"),
    any_binary<Maximum>("maximum"), any_binary<Minimum>("minimum"), float_binary<Fmax>("fmax"), float_binary<Fmin>("fmin"),
    float_binary<CopySign>("copysign"), any_unary<Negative>("negative"), any_unary<Absolute>("absolute"), any_unary<Square>("square"),
    float_unary<Sqrt>("sqrt"), float_unary<Rsqrt>("rsqrt"), float_unary<Reciprocal>("reciprocal"), float_unary<Floor>("floor"),
    float_unary<Ceil>("ceil"), float_unary<Trunc>("trunc"), float_unary<Frac>("frac"), float_unary<Rint>("rint"), float_unary<Sign>("sign"), float_unary<Relu>("relu"),
    float_unary<Copy>("copy"), float_binary<ReluGradient>("relu_gradient"), float_binary<TanhGradient>("tanh_gradient"),
    float_binary<SigmoidGradient>("sigmoid_gradient"), compare<Equal>("equal"), compare<NotEqual>("not_equal"), compare<Less>("less"),
    compare<LessEqual>("less_equal"), compare<Greater>("greater"), compare<GreaterEqual>("greater_equal"), compare<And>("logical_and"),
    compare<Or>("logical_or"), compare<Xor>("logical_xor"), bits<And>("bitwise_and"), bits<Or>("bitwise_or"), bits<Xor>("bitwise_xor"),
    {"logical_not", 1, 1, {unary_loop<float, float, Not>, unary_loop<double, double, Not>},
     {unary_loop<float, byte, Not>, unary_loop<double, byte, Not>, unary_loop<i64, byte, Not>, unary_loop<i32, byte, Not>, unary_loop<byte, byte, Not>}},
    {"invert", 1, 1, {unary_loop<float, float, Not>, unary_loop<double, double, Not>},
     {nullptr, nullptr, nullptr, nullptr, unary_loop<byte, byte, Not>}},
    question<IsNan>("isnan"), question<IsInf>("isinf"), question<IsFinite>("isfinite"),
    float_binary<LeakyRelu>("leaky_relu"), {"leaky_relu_gradient", 3, 1, {ternary_loop<float, LeakyReluGradient>, ternary_loop<double, LeakyReluGradient>}, {}},
    float_unary<Hardsigmoid>("hardsigmoid"), float_binary<HardsigmoidGradient>("hardsigmoid_gradient"), float_unary<Hardswish>("hardswish"),
    float_binary<HardswishGradient>("hardswish_gradient"), float_binary<Softshrink>("softshrink"),
    {"where", 3, 1, {ternary_loop<float, Where>, ternary_loop<double, Where>}, {}},
    {"clamp", 3, 1, {ternary_loop<float, Clamp>, ternary_loop<double, Clamp>}, {}},
    {nullptr, 0, 0, {}, {}},
};

}  // namespace rushlight
