// The fast path of torch.nn.functional.linear: forward and recording for plain float tensors, and the gradients on arrays for the backward pass.
#include "linear.h"

#include "function.h"
#include "matmul.h"
#include "op.h"
#include "reduce.h"

namespace rushlight {
namespace {

PyTypeObject *node_types[3] = {};  // of matrices with bias, without it, and of inputs with other dimensions

// The input as a matrix: itself, or a view (new reference); nullptr without an error where it would take a copy.
PyObject* as_rows(PyArrayObject* x) {
    if (PyArray_NDIM(x) == 2) return Py_NewRef(reinterpret_cast<PyObject*>(x));
    if (PyArray_NDIM(x) < 2 || !contiguous(x) || PyArray_SIZE(x) == 0) return nullptr;
    const index_t columns = PyArray_DIM(x, PyArray_NDIM(x) - 1);
    npy_intp shape[2] = {PyArray_SIZE(x) / columns, columns};
    PyArray_Dims dims = {shape, 2};
    return PyArray_Newshape(x, &dims, NPY_CORDER);
}

// The matrix (taken over) with all dimensions of `like` but the last one before its last one.
PyObject* with_dimensions_of(PyArrayObject* like, PyObject* matrix) {
    const int ndim = PyArray_NDIM(like);
    if (matrix == nullptr || ndim == 2) return matrix;
    npy_intp shape[MAX_DIMS];
    for (int i = 0; i < ndim - 1; ++i) shape[i] = PyArray_DIM(like, i);
    shape[ndim - 1] = PyArray_DIM(as_array(matrix), 1);
    PyArray_Dims dims = {shape, ndim};
    PyObject* result = PyArray_Newshape(as_array(matrix), &dims, NPY_CORDER);
    Py_DECREF(matrix);
    return result;
}

PyObject* forward(PyArrayObject* x, PyArrayObject* w, PyObject* bias) {
    PyObject* rows = as_rows(x);
    if (rows == nullptr) return nullptr;
    PyObject* out = bias == Py_None ? product(as_array(rows), w, true) : product_plus(as_array(rows), w, as_array(bias));
    Py_DECREF(rows);
    return with_dimensions_of(x, out);
}

bool record(PyObject* result, PyObject* input, PyObject* weight, PyObject* bias_edge, PyTypeObject* type) {
    PyObject* node = make_node(type, PyTuple_Pack(3, slot(input, layout.node), slot(weight, layout.node), bias_edge));
    if (node == nullptr) return false;
    Py_XSETREF(slot(result, layout.node), node);
    PyObject *a = version_number(input), *b = version_number(weight);
    slot(node, layout.version_of) = a == layout.zero && b == layout.zero ? Py_NewRef(layout.zero) : PyNumber_Add(a, b);
    Py_DECREF(a);
    Py_DECREF(b);
    slot(node, layout.saved) = PyTuple_Pack(2, input, weight);
    return slot(node, layout.version_of) != nullptr && slot(node, layout.saved) != nullptr;
}

// linear(input, weight[, bias]); nullptr without an error where the closure has to take over.
PyObject* linear(const Op*, PyObject* const* args, Py_ssize_t count) {
    PyObject *input = args[0], *weight = args[1], *bias = count == 3 ? args[2] : Py_None;
    if (!is_any_tensor(input) || !is_any_tensor(weight) || (bias != Py_None && !is_any_tensor(bias))) return nullptr;
    PyObject *kind = slot(input, layout.kind), *bias_array = bias == Py_None ? Py_None : slot(bias, layout.array);
    if (slot(kind, layout.fast) != Py_True || slot(weight, layout.kind) != kind || (bias != Py_None && slot(bias, layout.kind) != kind)) return nullptr;
    PyObject *x = slot(input, layout.array), *w = slot(weight, layout.array);
    if (!PyArray_CheckExact(x) || !PyArray_CheckExact(w) || PyArray_NDIM(as_array(w)) != 2 || (bias != Py_None && !PyArray_CheckExact(bias_array))) return nullptr;
    PyObject* bias_edge = bias == Py_None ? Py_None : slot(bias, layout.node);
    const bool recorded = slot(input, layout.node) != Py_None || slot(weight, layout.node) != Py_None || bias_edge != Py_None;
    if (recorded && unusual()) return nullptr;
    PyObject* out = forward(as_array(x), as_array(w), bias_array);
    if (out == nullptr) return nullptr;
    PyObject* result = make_tensor(out, kind);
    PyTypeObject* type = node_types[PyArray_NDIM(as_array(x)) != 2 ? 2 : bias == Py_None ? 1 : 0];
    if (result != nullptr && recorded && !record(result, input, weight, bias_edge, type)) Py_CLEAR(result);
    return result;
}

PyObject* column_sums(PyArrayObject* g) {
    const int type = PyArray_TYPE(g);
    Contiguous rows(reinterpret_cast<PyObject*>(g), type);
    const npy_intp columns = PyArray_DIM(g, 1);
    PyArrayObject* out = new_array(1, &columns, type);
    if (out == nullptr) return nullptr;
    if (type == NPY_FLOAT) sum_rows(rows.data<float>(), data_of<float>(out), PyArray_DIM(g, 0), columns);
    else sum_rows(rows.data<double>(), data_of<double>(out), PyArray_DIM(g, 0), columns);
    return reinterpret_cast<PyObject*>(out);
}

// linear_op(closure, node classes): the closure with the fast path in front of it.
PyObject* linear_op(PyObject*, PyObject* args) {
    PyObject *closure, *types[3];
    if (!PyArg_ParseTuple(args, "OOOO", &closure, &types[0], &types[1], &types[2])) return nullptr;
    for (int i = 0; i < 3; ++i) node_types[i] = reinterpret_cast<PyTypeObject*>(Py_NewRef(types[i]));
    return reinterpret_cast<PyObject*>(new_op(closure, linear, 2, 3));
}

PyMethodDef methods[] = {
    {"linear_op", linear_op, METH_VARARGS, "linear_op(closure, node classes of matrices with bias, of those without, of other inputs): `linear` with its fast path."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int linear_gradients(PyObject* next, PyArrayObject* g, PyArrayObject* x, PyArrayObject* w, PyObject** out) {
    PyObject *rows = as_rows(g), *inputs = as_rows(x);
    bool good = rows != nullptr && inputs != nullptr && PyArray_TYPE(g) == PyArray_TYPE(x);
    for (int i = 0; i < 3; ++i) out[i] = nullptr;
    for (int i = 0; good && i < 3; ++i) {
        if (PyTuple_GET_ITEM(next, i) == Py_None) out[i] = Py_NewRef(Py_None);
        else if (i == 0) out[i] = with_dimensions_of(x, product(as_array(rows), w));
        else if (i == 1) out[i] = transposed_product(as_array(rows), as_array(inputs));
        else out[i] = column_sums(as_array(rows));
        good = out[i] != nullptr;
    }
    Py_XDECREF(rows);
    Py_XDECREF(inputs);
    if (good) return 1;
    for (int i = 0; i < 3; ++i) Py_CLEAR(out[i]);
    return PyErr_Occurred() ? -1 : 0;
}

bool is_linear_node(PyTypeObject* type) { return type == node_types[0] || type == node_types[1] || type == node_types[2]; }

int add_linear(PyObject* module) { return PyModule_AddFunctions(module, methods); }

}  // namespace rushlight
