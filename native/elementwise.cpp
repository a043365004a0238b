// Elementwise ops as callable objects that stand in for NumPy's ufuncs: `add = elementwise("add", numpy.add)`. A call with operands that
// the fast loops cover (one dtype, contiguous, equal shapes or a 0-dim operand) runs here; every other call goes to the ufunc as it is.
#include "rushlight.h"

#include <cmath>
#include <cstring>

#include "pool.h"

namespace rushlight {
namespace {

// out[i] = f(a[i * (a is an array)], b[i * (b is an array)]) for n elements; unary loops ignore b.
using Loop = void (*)(const void* a, const void* b, void* out, index_t n, int mode);
enum Mode { BOTH = 0, A_SCALAR = 1, B_SCALAR = 2 };

template <typename T, typename F> void binary_loop(const void* a_, const void* b_, void* out_, index_t n, int mode) {
    const T* a = static_cast<const T*>(a_);
    const T* b = static_cast<const T*>(b_);
    auto* out = static_cast<decltype(F::apply(T(), T()))*>(out_);
    if (mode == BOTH) {
#pragma omp simd
        for (index_t i = 0; i < n; ++i) out[i] = F::apply(a[i], b[i]);
    } else if (mode == B_SCALAR) {
        const T y = *b;
#pragma omp simd
        for (index_t i = 0; i < n; ++i) out[i] = F::apply(a[i], y);
    } else {
        const T x = *a;
#pragma omp simd
        for (index_t i = 0; i < n; ++i) out[i] = F::apply(x, b[i]);
    }
}

template <typename T, typename F> void unary_loop(const void* a_, const void*, void* out_, index_t n, int) {
    const T* a = static_cast<const T*>(a_);
    T* out = static_cast<T*>(out_);
#pragma omp simd
    for (index_t i = 0; i < n; ++i) out[i] = F::apply(a[i]);
}

struct Add { template <typename T> static T apply(T a, T b) { return a + b; } };
struct Subtract { template <typename T> static T apply(T a, T b) { return a - b; } };
struct Multiply { template <typename T> static T apply(T a, T b) { return a * b; } };
struct Divide { template <typename T> static T apply(T a, T b) { return a / b; } };
struct Negative { template <typename T> static T apply(T a) { return -a; } };
struct Absolute { template <typename T> static T apply(T a) { return std::fabs(a); } };
struct Sqrt { template <typename T> static T apply(T a) { return std::sqrt(a); } };
struct Square { template <typename T> static T apply(T a) { return a * a; } };

struct Definition {
    const char* name;
    int operands;
    Loop f32, f64;
};

template <typename F> constexpr Definition binary(const char* name) { return {name, 2, binary_loop<float, F>, binary_loop<double, F>}; }
template <typename F> constexpr Definition unary(const char* name) { return {name, 1, unary_loop<float, F>, unary_loop<double, F>}; }

const Definition definitions[] = {
    binary<Add>("add"), binary<Subtract>("subtract"), binary<Multiply>("multiply"), binary<Divide>("divide"),
    unary<Negative>("negative"), unary<Absolute>("absolute"), unary<Sqrt>("sqrt"), unary<Square>("square"),
};

struct Kernel {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    const Definition* definition;
    PyObject* fallback;
};

Loop loop_for(const Definition* definition, int type) {
    return type == NPY_FLOAT ? definition->f32 : type == NPY_DOUBLE ? definition->f64 : nullptr;
}

void run(Loop loop, const char* a, const char* b, char* out, index_t n, index_t size, int mode) {
    if (n <= ELEMENTS_PER_THREAD) {
        loop(a, b, out, n, mode);
        return;
    }
    WithoutGil release;
    parallel_for(n, ELEMENTS_PER_THREAD, [&](index_t begin, index_t end) {
        loop(mode == A_SCALAR ? a : a + begin * size, mode == B_SCALAR || b == nullptr ? b : b + begin * size, out + begin * size, end - begin, mode);
    });
}

// The result for operands that the loops cover; nullptr without an error set where they don't.
PyObject* try_fast(const Definition* definition, PyObject* const* args) {
    if (!PyArray_CheckExact(args[0])) return nullptr;
    PyArrayObject* a = as_array(args[0]);
    const int type = PyArray_TYPE(a);
    Loop loop = loop_for(definition, type);
    if (loop == nullptr || !contiguous(a)) return nullptr;
    PyArrayObject *b = nullptr, *shape = a;
    int mode = BOTH;
    if (definition->operands == 2) {
        if (!PyArray_CheckExact(args[1])) return nullptr;
        b = as_array(args[1]);
        if (PyArray_TYPE(b) != type || !contiguous(b)) return nullptr;
        if (PyArray_NDIM(b) == 0) {
            mode = B_SCALAR;
        } else if (PyArray_NDIM(a) == 0) {
            mode = A_SCALAR;
            shape = b;
        } else if (!same_shape(a, b)) {
            return nullptr;
        }
    }
    if (!PyArray_ISNOTSWAPPED(shape)) return nullptr;
    PyArrayObject* out = new_array(PyArray_NDIM(shape), PyArray_DIMS(shape), type);
    if (out == nullptr) return nullptr;
    run(loop, PyArray_BYTES(a), b == nullptr ? nullptr : PyArray_BYTES(b), PyArray_BYTES(out), PyArray_SIZE(shape), PyArray_ITEMSIZE(shape), mode);
    return reinterpret_cast<PyObject*>(out);
}

PyObject* call(PyObject* self_, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
    Kernel* self = reinterpret_cast<Kernel*>(self_);
    if (PyVectorcall_NARGS(nargsf) == self->definition->operands && kwnames == nullptr) {
        PyObject* result = try_fast(self->definition, args);
        if (result != nullptr || PyErr_Occurred()) return result;
    }
    return PyObject_Vectorcall(self->fallback, args, nargsf, kwnames);
}

void dealloc(PyObject* self) {
    Py_XDECREF(reinterpret_cast<Kernel*>(self)->fallback);
    Py_TYPE(self)->tp_free(self);
}

PyObject* get_fallback(PyObject* self, void*) { return Py_NewRef(reinterpret_cast<Kernel*>(self)->fallback); }

PyObject* repr(PyObject* self) { return PyUnicode_FromFormat("<native kernel '%s'>", reinterpret_cast<Kernel*>(self)->definition->name); }

PyGetSetDef getters[] = {{"fallback", get_fallback, nullptr, "The ufunc that everything else goes to.", nullptr}, {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyTypeObject KernelType = {PyVarObject_HEAD_INIT(nullptr, 0)};

bool prepare_type() {
    KernelType.tp_name = "rushlight.Kernel";
    KernelType.tp_basicsize = sizeof(Kernel);
    KernelType.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL;
    KernelType.tp_vectorcall_offset = offsetof(Kernel, vectorcall);
    KernelType.tp_call = PyVectorcall_Call;
    KernelType.tp_dealloc = dealloc;
    KernelType.tp_repr = repr;
    KernelType.tp_getset = getters;
    return PyType_Ready(&KernelType) == 0;
}

PyObject* elementwise(PyObject*, PyObject* const* args, Py_ssize_t count) {
    if (count != 2) return PyErr_Format(PyExc_TypeError, "elementwise(name, ufunc) takes 2 arguments, got %zd", count);
    const char* name = PyUnicode_AsUTF8(args[0]);
    if (name == nullptr) return nullptr;
    for (const Definition& definition : definitions) {
        if (std::strcmp(definition.name, name) == 0) {
            Kernel* kernel = PyObject_New(Kernel, &KernelType);
            if (kernel == nullptr) return nullptr;
            kernel->vectorcall = call;
            kernel->definition = &definition;
            kernel->fallback = Py_NewRef(args[1]);
            return reinterpret_cast<PyObject*>(kernel);
        }
    }
    Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"elementwise", reinterpret_cast<PyCFunction>(elementwise), METH_FASTCALL,
     "elementwise(name, ufunc): a faster stand-in for the ufunc, or None where there is none of that name."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int add_elementwise(PyObject* module) {
    if (!prepare_type()) return -1;
    return PyModule_AddFunctions(module, methods);
}

}  // namespace rushlight
