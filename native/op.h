// Python functions with a fast path in C++ in front of them.
#pragma once

#include "objects.h"

namespace rushlight {

struct Op;

// The result, or nullptr: with an error set, or without one where the Python function has to take over.
using FastPath = PyObject* (*)(const Op* op, PyObject* const* args, Py_ssize_t count);

struct Op {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    FastPath fast;
    PyObject* python;          // the closure, and everything but the fast path
    PyObject* code;            // the closure's own code: while it has another, somebody looks in on calls (ops/interception.py)
    PyObject* kernel;          // elementwise ops: arrays -> array
    PyTypeObject* node_type;   // elementwise ops; nullptr: not differentiable
    int fewest, most;          // positional arguments that the fast path takes
    int uses;                  // what the gradient sees
    bool to_bool;
};

// The function with a fast path for calls with so many positional arguments and no others; nullptr with an error set.
Op* new_op(PyObject* function, FastPath fast, int fewest, int most);

}  // namespace rushlight
