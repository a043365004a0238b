// The general node of ops/record.py (RecordNode) as C++ sees it.
#pragma once

#include "objects.h"

namespace rushlight {

struct RecordLayout {
    PyTypeObject *node = nullptr, *saved_output = nullptr;
    Py_ssize_t grad, array_grad, conj;  // RecordNode
    Py_ssize_t array, ver;              // SavedOutput
    Py_ssize_t is_complex, dtype;       // Kind
};
extern RecordLayout records;

// What the node's formula on arrays gives, as a tuple: 1; 0 where the node's own method has to look; -1: error.
int record_gradients(PyObject* node, PyObject* g, PyObject** grads);

// Whether a gradient (or None) has the shape and dtype that an entry of Node.fix asks for.
bool fits(PyObject* grad, PyObject* want);

}  // namespace rushlight
