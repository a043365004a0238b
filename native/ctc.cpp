// Connectionist temporal classification: the forward and backward lattices in log-probabilities, several states at a time, in double.
#include <cmath>
#include <vector>

#include "function.h"
#include "pool.h"
#include "vmath.h"

namespace rushlight {
namespace {

constexpr double NEVER = -std::numeric_limits<double>::infinity();
constexpr index_t PAD = 2;  // states in front of the first one, never reached

// One sequence: its log-probabilities (steps rows of `classes`, `row` apart), and the path of labels with blanks between.
template <typename T> struct Sequence {
    const T* logs;
    index_t row, steps, classes, states;
    const std::int64_t* labels;
    std::int64_t blank;

    std::int64_t state(index_t s) const { return s % 2 == 0 ? blank : labels[s / 2]; }
    bool skips(index_t s) const { return s >= 2 && state(s) != blank && state(s) != state(s - 2); }
};

// after[s] = log(e^before[s] + e^before[s-1] + e^(before[s-2] + skip[s])) + emit[s]
void advance(const double* before, const double* skip, const double* emit, double* after, index_t states) {
#pragma omp simd
    for (index_t s = 0; s < states; ++s) {
        const double a = before[s], b = before[s - 1], c = before[s - 2] + skip[s];
        double top = a > b ? a : b;
        top = c > top ? c : top;
        top = top == NEVER ? 0.0 : top;
        const double sum = vmath::exp(a - top) + vmath::exp(b - top) + vmath::exp(c - top);
        after[s] = vmath::log(sum) + top + emit[s];
    }
}

// Memory of one thread for sequences of up to so many states and steps.
struct Lattice {
    std::vector<double> skip, mirrored, emit, forward, line, other;
    index_t width = 0;

    void prepare(index_t states, index_t steps) {
        width = states + PAD;
        for (auto* each : {&skip, &mirrored, &emit}) each->assign(static_cast<std::size_t>(states), 0.0);
        forward.assign(static_cast<std::size_t>(width * (steps > 0 ? steps : 1)), NEVER);
        line.assign(static_cast<std::size_t>(width), NEVER);
        other.assign(static_cast<std::size_t>(width), NEVER);
    }
    double* at(index_t t) { return forward.data() + t * width + PAD; }
};

template <typename T> void read_states(const Sequence<T>& q, index_t t, double* emit, bool backwards) {
    const T* logs = q.logs + t * q.row;
    for (index_t s = 0; s < q.states; ++s) emit[s] = static_cast<double>(logs[q.state(backwards ? q.states - 1 - s : s)]);
}

// The log-probability of the labels; the lattice keeps what leads to each state at each time.
template <typename T> double forward_pass(const Sequence<T>& q, Lattice& m) {
    if (q.steps == 0) return q.states == 1 ? 0.0 : NEVER;
    for (index_t s = 0; s < q.states; ++s) m.skip[s] = q.skips(s) ? 0.0 : NEVER;
    for (index_t t = 0; t < q.steps; ++t) {
        read_states(q, t, m.emit.data(), false);
        if (t > 0) advance(m.at(t - 1), m.skip.data(), m.emit.data(), m.at(t), q.states);
        else for (index_t s = 0; s < 2 && s < q.states; ++s) m.at(0)[s] = m.emit[s];
    }
    const double* last = m.at(q.steps - 1);
    if (q.states == 1) return last[0];
    const double a = last[q.states - 1], b = last[q.states - 2], top = a > b ? a : b;
    return top == NEVER ? NEVER : std::log(std::exp(a - top) + std::exp(b - top)) + top;
}

// out = e^logs less the share that each class has in the paths.
template <typename T> void backward_pass(const Sequence<T>& q, Lattice& m, double end, T* out) {
    const index_t n = q.states;
    for (index_t s = 0; s < n; ++s) m.mirrored[s] = s >= 2 && q.skips(n + 1 - s) ? 0.0 : NEVER;
    double *line = m.line.data() + PAD, *other = m.other.data() + PAD;
    for (index_t t = q.steps - 1; t >= 0; --t) {
        read_states(q, t, m.emit.data(), true);
        if (t == q.steps - 1) {
            for (index_t s = 0; s < 2 && s < n; ++s) other[s] = m.emit[s];
        } else {
            advance(line, m.mirrored.data(), m.emit.data(), other, n);
        }
        std::swap(line, other);
        const T* logs = q.logs + t * q.row;
        T* slope = out + t * q.row;
#pragma omp simd
        for (index_t c = 0; c < q.classes; ++c) slope[c] = vmath::exp(logs[c]);
        const double* reached = m.at(t);
#pragma omp simd
        for (index_t s = 0; s < n; ++s) {
            const double emit = m.emit[s] == NEVER ? 0.0 : m.emit[s];
            m.emit[s] = vmath::exp(reached[n - 1 - s] + line[s] - emit - end);
        }
        for (index_t s = 0; s < n; ++s) {
            const std::int64_t label = q.state(n - 1 - s);
            slope[label] = static_cast<T>(slope[label] - m.emit[s]);
        }
    }
}

template <typename T> void one(const Sequence<T>& q, Lattice& m, T* loss, T* gradient) {
    m.prepare(q.states, q.steps);
    const double end = forward_pass(q, m);
    *loss = static_cast<T>(-end);
    if (gradient == nullptr) return;
    if (!std::isinf(end)) return backward_pass(q, m, end, gradient);
    for (index_t t = 0; t < q.steps; ++t) {
        for (index_t c = 0; c < q.classes; ++c) gradient[t * q.row + c] = vmath::nan_value<T>();
    }
}

// Whether all labels of a sequence name classes.
bool named(const std::int64_t* labels, index_t count, index_t classes) {
    for (index_t i = 0; i < count; ++i) if (labels[i] < 0 || labels[i] >= classes) return false;
    return true;
}

// (log-probabilities (T, N, C), labels one after the other, steps of each, labels of each, blank, whether gradients are wanted) -> (losses, gradients or None)
template <typename T> PyObject* ctc_of(PyObject* const* args, int type) {
    Contiguous logs(args[0], type), labels(args[1], NPY_INT64), steps(args[2], NPY_INT64), counts(args[3], NPY_INT64);
    if (!logs || !labels || !steps || !counts || PyArray_NDIM(logs.get()) != 3) return nullptr;
    const index_t n = PyArray_DIM(logs.get(), 1), classes = PyArray_DIM(logs.get(), 2), rows = PyArray_DIM(logs.get(), 0);
    const long long blank = PyLong_AsLongLong(args[4]);
    const int wanted = flag(args[5]);
    if (PyErr_Occurred() || steps.size() != n || counts.size() != n || blank < 0 || blank >= classes) return nullptr;
    std::vector<index_t> start(static_cast<std::size_t>(n) + 1, 0);
    for (index_t i = 0; i < n; ++i) {
        const std::int64_t count = counts.data<std::int64_t>()[i], length = steps.data<std::int64_t>()[i];
        if (count < 0 || length < 0 || length > rows) return nullptr;
        start[i + 1] = start[i] + count;
    }
    if (start[n] != labels.size() || !named(labels.data<std::int64_t>(), labels.size(), classes)) return nullptr;
    const npy_intp shape = n;
    PyArrayObject* losses = new_array(1, &shape, type);
    PyArrayObject* slopes = losses == nullptr || !wanted ? nullptr : as_array(PyArray_ZEROS(3, PyArray_DIMS(logs.get()), type, 0));
    if (losses == nullptr || (wanted && slopes == nullptr)) {
        Py_XDECREF(losses);
        return nullptr;
    }
    {
        WithoutGil release;
        parallel_for(n, 1, [&](index_t begin, index_t end) {
            Lattice lattice;
            for (index_t i = begin; i < end; ++i) {
                const index_t count = counts.data<std::int64_t>()[i];
                const Sequence<T> q{logs.data<T>() + i * classes, n * classes, steps.data<std::int64_t>()[i], classes, 2 * count + 1,
                                    labels.data<std::int64_t>() + start[i], blank};
                one(q, lattice, data_of<T>(losses) + i, slopes == nullptr ? nullptr : data_of<T>(slopes) + i * classes);
            }
        });
    }
    return Py_BuildValue("(NN)", losses, slopes == nullptr ? Py_NewRef(Py_None) : reinterpret_cast<PyObject*>(slopes));
}

PyObject* ctc(PyObject* const* args, Py_ssize_t count) {
    const int type = count == 6 ? float_type(args[0]) : -1;
    return type == NPY_FLOAT ? ctc_of<float>(args, type) : type == NPY_DOUBLE ? ctc_of<double>(args, type) : nullptr;
}

}  // namespace

extern const NativeFunction ctc_functions[] = {{"ctc", ctc}, {nullptr, nullptr}};

}  // namespace rushlight
