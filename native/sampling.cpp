// Random numbers of the gamma, binomial and Poisson families, one by one from mt19937, as PyTorch's CPU kernels draw them. kernels/gamma_sampling.py
// has the sources and the same in Python: both round alike, so this file is compiled without contracting products and sums (CMakeLists.txt).
#include <cmath>

#include "random.h"
#include "rushlight.h"

namespace rushlight {
namespace {

// A generator's words, drawn where they are needed: its state, the current block and the place in it.
struct Words {
    std::uint32_t *key, *block;
    index_t position;
    bool keep;              // whether the words of the state as it is are still to come
    index_t blocks = 0;     // how many were made
    double normal = 0;      // the second number of a pair
    bool has_normal = false;

    std::uint32_t word() {
        if (position == MT_STATE) {
            if (!keep) mt_twist(key);
            keep = false;
            mt_temper(key, block);
            position = 0;
            ++blocks;
        }
        return block[position++];
    }

    double uniform() {
        const std::uint64_t high = word() & 0x1fffffu, low = word();
        return static_cast<double>(high << 32 | low) * 0x1p-53;
    }

    double standard_normal() {
        if (has_normal) {
            has_normal = false;
            return normal;
        }
        const double u1 = uniform(), u2 = uniform();
        const double radius = std::sqrt(-2.0 * std::log1p(-u2)), angle = 2.0 * 3.141592653589793 * u1;
        normal = radius * std::sin(angle);
        has_normal = true;
        return radius * std::cos(angle);
    }
};

// Arithmetic on the parameters is that of their type.
template <typename T> double rounded(double x) { return static_cast<double>(static_cast<T>(x)); }

template <typename T> double gamma_number(Words& words, double alpha) {
    if (!(alpha >= 0.0)) return NAN;
    double scale = 1.0;
    if (alpha < 1.0) {
        if (alpha == 0.0) return 0.0;
        scale = std::pow(1.0 - words.uniform(), rounded<T>(1.0 / alpha));
        alpha = rounded<T>(alpha + 1.0);
    }
    const double squeeze = 0.0331f, third = 1.0f / 3.0f;
    const double d = rounded<T>(alpha - third), c = 1.0 / std::sqrt(9.0 * d);
    while (true) {
        double x, y;
        do {
            x = words.standard_normal();
            y = 1.0 + c * x;
        } while (!(y > 0.0));
        const double v = y * y * y, u = 1.0 - words.uniform(), xx = x * x;
        if (u < 1.0 - squeeze * xx * xx || std::log(u) < 0.5 * xx + d * (1.0 - v + std::log(v))) return scale * d * v;
    }
}

double waiting_times(Words& words, double count, double p) {
    double total = 0.0, successes = 0.0;
    const double log_failure = std::log1p(-p);
    while (true) {
        total += std::ceil(std::log(words.uniform()) / log_failure);
        if (total > count) return successes;
        successes += 1.0;
    }
}

double stirling_tail(double k) {
    static const double small[] = {0.0810614667953272,  0.0413406959554092,  0.0276779256849983,  0.02079067210376509, 0.0166446911898211,
                                   0.0138761288230707,  0.0118967099458917,  0.0104112652619720,  0.00925546218271273, 0.00833056343336287};
    if (k <= 9.0) return small[static_cast<int>(k)];
    const double square = (k + 1.0) * (k + 1.0);
    return (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / 1260.0 / square) / square) / (k + 1.0);
}

double transformed_rejection(Words& words, double count, double p) {
    const double deviation = std::sqrt(count * p * (1.0 - p));
    const double b = 1.15 + 2.53 * deviation, a = -0.0873 + 0.0248 * b + 0.01 * p, centre = count * p + 0.5, sure = 0.92 - 4.2 / b;
    const double odds = p / (1.0 - p), alpha = (2.83 + 5.1 / b) * deviation, m = std::floor((count + 1.0) * p);
    while (true) {
        const double u = words.uniform() - 0.5;
        double v = words.uniform();
        const double us = 0.5 - std::fabs(u);
        if (us == 0.0) continue;
        const double k = std::floor((2.0 * a / us + b) * u + centre);
        if (k < 0 || k > count) continue;
        if (us >= 0.07 && v <= sure) return k;
        v = std::log(v * alpha / (a / (us * us) + b));
        const double bound = (m + 0.5) * std::log((m + 1.0) / (odds * (count - m + 1.0))) + (count + 1.0) * std::log((count - m + 1.0) / (count - k + 1.0)) +
                             (k + 0.5) * std::log(odds * (count - k + 1.0) / (k + 1.0)) + stirling_tail(m) + stirling_tail(count - m) - stirling_tail(k) -
                             stirling_tail(count - k);
        if (v <= bound) return k;
    }
}

template <typename T> double binomial_number(Words& words, double count, double p) {
    if (count <= 0.0 || p <= 0.0) return 0.0;
    if (!std::isfinite(count) || std::isnan(p)) return NAN;
    if (p >= 1.0) return count;
    const double q = p <= 0.5 ? p : rounded<T>(1.0 - p);
    const double found = count * q >= 10.0 ? transformed_rejection(words, count, q) : waiting_times(words, count, q);
    return p <= 0.5 ? found : count - found;
}

double poisson_number(Words& words, double rate) {
    if (rate == 0.0 || std::isinf(rate)) return rate;
    if (rate < 10.0) {
        const double limit = std::exp(-rate);
        double product = words.uniform(), count = 0;
        while (product > limit) {
            count += 1;
            product *= words.uniform();
        }
        return count;
    }
    const double root = std::sqrt(rate), log_rate = std::log(rate), b = 0.931 + 2.53 * root, a = -0.059 + 0.02483 * b;
    const double inverse_alpha = 1.1239 + 1.1328 / (b - 3.4), sure = 0.9277 - 3.6224 / (b - 2);
    while (true) {
        const double u = words.uniform() - 0.5, v = words.uniform(), us = 0.5 - std::fabs(u);
        const double k = us != 0.0 ? std::floor((2 * a / us + b) * u + rate + 0.43) : -1;
        if (us >= 0.07 && v <= sure) return k;
        if (k < 0 || (us < 0.013 && v > us)) continue;
        if (std::log(v) + std::log(inverse_alpha) - std::log(a / (us * us) + b) <= -rate + k * log_rate - std::lgamma(k + 1.0)) return k;
    }
}

// draw(state, block, position, keep, normal or None, parameters...) -> (float64 numbers, position, keep, normal or None, blocks made)
template <typename F> PyObject* draw(PyObject* const* args, Py_ssize_t count, int parameters, F&& number) {
    PyArrayObject *key = count == 5 + parameters ? array_of(args[0], NPY_UINT32) : nullptr, *block = key == nullptr ? nullptr : array_of(args[1], NPY_UINT32);
    if (block == nullptr || PyArray_SIZE(key) != MT_STATE || PyArray_SIZE(block) != MT_STATE) {
        return PyErr_Format(PyExc_ValueError, "expected a state and a block of 624 words (uint32), a position, two flags, and parameters");
    }
    Words words = {data_of<std::uint32_t>(key), data_of<std::uint32_t>(block), PyLong_AsSsize_t(args[2]), args[3] == Py_True};
    words.has_normal = args[4] != Py_None;
    if (words.has_normal) words.normal = PyFloat_AsDouble(args[4]);
    if (PyErr_Occurred()) return nullptr;
    if (words.position < 0 || words.position > MT_STATE) return PyErr_Format(PyExc_ValueError, "the position is outside of the block");
    PyArrayObject* given[2] = {};
    const int type = PyArray_Check(args[5]) ? PyArray_TYPE(as_array(args[5])) : NPY_VOID;
    for (int i = 0; i < parameters; ++i) {
        given[i] = array_of(args[5 + i], type);
        if (given[i] == nullptr || (type != NPY_FLOAT && type != NPY_DOUBLE) || PyArray_SIZE(given[i]) != PyArray_SIZE(given[0])) {
            return PyErr_Format(PyExc_ValueError, "expected float32 or float64 parameters, as many of each");
        }
    }
    const npy_intp n = PyArray_SIZE(given[0]);
    PyArrayObject* out = new_array(1, &n, NPY_DOUBLE);
    if (out == nullptr) return nullptr;
    double* to = data_of<double>(out);
    {
        WithoutGil release(n > 64);
        for (index_t i = 0; i < n; ++i) to[i] = type == NPY_FLOAT ? number(words, given, i, 0.0f) : number(words, given, i, 0.0);
    }
    return Py_BuildValue("NnNNn", out, words.position, PyBool_FromLong(words.keep), words.has_normal ? PyFloat_FromDouble(words.normal) : Py_NewRef(Py_None), words.blocks);
}

PyObject* gamma_numbers(PyObject*, PyObject* const* args, Py_ssize_t count) {
    return draw(args, count, 1, [](Words& words, PyArrayObject** given, index_t i, auto type) {
        using T = decltype(type);
        return gamma_number<T>(words, data_of<T>(given[0])[i]);
    });
}

PyObject* binomial_numbers(PyObject*, PyObject* const* args, Py_ssize_t count) {
    return draw(args, count, 2, [](Words& words, PyArrayObject** given, index_t i, auto type) {
        using T = decltype(type);
        return binomial_number<T>(words, data_of<T>(given[0])[i], data_of<T>(given[1])[i]);
    });
}

PyObject* poisson_numbers(PyObject*, PyObject* const* args, Py_ssize_t count) {
    return draw(args, count, 1, [](Words& words, PyArrayObject** given, index_t i, auto type) { return poisson_number(words, data_of<decltype(type)>(given[0])[i]); });
}

PyMethodDef methods[] = {
    {"gamma_numbers", reinterpret_cast<PyCFunction>(gamma_numbers), METH_FASTCALL,
     "gamma_numbers(state, block, position, keep, normal, alphas): gamma numbers of rate 1, and the generator after them."},
    {"binomial_numbers", reinterpret_cast<PyCFunction>(binomial_numbers), METH_FASTCALL,
     "binomial_numbers(state, block, position, keep, normal, counts, chances): successes, and the generator after them."},
    {"poisson_numbers", reinterpret_cast<PyCFunction>(poisson_numbers), METH_FASTCALL,
     "poisson_numbers(state, block, position, keep, normal, rates): counts, and the generator after them."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int add_sampling(PyObject* module) { return PyModule_AddFunctions(module, methods); }

}  // namespace rushlight
