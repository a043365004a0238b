// What every file of the native library shares: Python and NumPy, small helpers to look at arrays, and the list of families.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define PY_ARRAY_UNIQUE_SYMBOL rushlight_numpy
#ifndef RUSHLIGHT_IMPORTS_NUMPY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#include <cstddef>
#include <cstdint>

namespace rushlight {

using index_t = std::ptrdiff_t;

// The most dimensions that an array has (NumPy 2's limit), and so the size of everything here that counts them.
constexpr int MAX_DIMS = 64;
static_assert(NPY_MAXDIMS <= MAX_DIMS, "NumPy's arrays have more dimensions than the kernels count");

// Each family (a .cpp file) adds its functions and objects to the module. 0, or -1 with a Python error set.
int add_threads(PyObject* module);
int add_elementwise(PyObject* module);
int add_fuse(PyObject* module);
int add_step(PyObject* module);
int add_function(PyObject* module);
int add_convert(PyObject* module);
int add_matmul(PyObject* module);
int add_linear(PyObject* module);
int add_allocator(PyObject* module);
int add_dispatch(PyObject* module);
int add_record(PyObject* module);
int add_random(PyObject* module);
int add_sampling(PyObject* module);
int add_backward(PyObject* module);
int add_memory(PyObject* module);

inline PyArrayObject* as_array(PyObject* object) { return reinterpret_cast<PyArrayObject*>(object); }

// A new C-contiguous array, uninitialised; nullptr with an error set when there is no memory.
inline PyArrayObject* new_array(int ndim, const npy_intp* shape, int type) {
    return as_array(PyArray_New(&PyArray_Type, ndim, const_cast<npy_intp*>(shape), type, nullptr, nullptr, 0, 0, nullptr));
}

// A copy in C order, by several threads where that pays (memory.cpp); nullptr with an error set when there is no memory.
PyObject* copy_in_order(PyArrayObject* a);

// A flag: 1 or 0, or -1 with an error set where the object has no truth.
inline int flag(PyObject* object) { return object == Py_True ? 1 : object == Py_False ? 0 : PyObject_IsTrue(object); }
// Sets the error for operands that are no plain arrays: a TypeError, and for vmap (whose batched arrays come here) a NotBatched.
void refuse_operands(const char* message);

template <typename T> inline T* data_of(PyArrayObject* array) { return static_cast<T*>(PyArray_DATA(array)); }

inline bool contiguous(PyArrayObject* array) {
    return (PyArray_FLAGS(array) & (NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED)) == (NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED);
}

inline bool same_shape(PyArrayObject* a, PyArrayObject* b) {
    const int ndim = PyArray_NDIM(a);
    return ndim == PyArray_NDIM(b) && PyArray_CompareLists(PyArray_DIMS(a), PyArray_DIMS(b), ndim);
}

// Lets other Python threads run while a long kernel works.
class WithoutGil {
  public:
    explicit WithoutGil(bool active = true) : state_(active ? PyEval_SaveThread() : nullptr) {}
    ~WithoutGil() { if (state_ != nullptr) PyEval_RestoreThread(state_); }
    WithoutGil(const WithoutGil&) = delete;
    WithoutGil& operator=(const WithoutGil&) = delete;

  private:
    PyThreadState* state_;
};

}  // namespace rushlight
