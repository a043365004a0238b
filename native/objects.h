// rushlight's own Python objects as C++ sees them: the slots of Tensor, Node, Kind and Version, read and written where they lie.
#pragma once

#include "rushlight.h"

namespace rushlight {

// Where the slots of the Python classes are; filled in by `bind` when those classes exist.
struct Layout {
    PyTypeObject *tensor = nullptr, *version = nullptr, *port = nullptr, *leaf = nullptr;
    Py_ssize_t array, kind, node, ver, view, grad;                 // Tensor
    Py_ssize_t next, saved, version_of, seq, fix, hooks;           // Node
    Py_ssize_t fast, scalars, boolean;                             // Kind
    Py_ssize_t n, views;                                           // Version
    Py_ssize_t unusual;                                            // STATE
    PyObject *state = nullptr, *counter = nullptr, *zero = nullptr, *empty = nullptr;
};

extern Layout layout;

inline PyObject*& slot(PyObject* object, Py_ssize_t offset) {
    return *reinterpret_cast<PyObject**>(reinterpret_cast<char*>(object) + offset);
}

inline bool is_tensor(PyObject* object) { return Py_TYPE(object) == layout.tensor; }

inline bool is_any_tensor(PyObject* object) { return PyObject_TypeCheck(object, layout.tensor); }  // subclasses and parameters too

// Whether any context is alive that changes how ops record: then the Python side decides.
inline bool unusual() { return slot(layout.state, layout.unusual) != layout.zero; }

// The result (C-contiguous, or any array that is exactly a numpy.ndarray) as a Tensor without history. Steals `array`.
PyObject* make_tensor(PyObject* array, PyObject* kind);

// (shape, kind): what the gradient of an operand is brought to (Node.fix).
PyObject* shape_and_kind(PyArrayObject* array, PyObject* kind);

// The version of a tensor as an int object (new reference).
PyObject* version_number(PyObject* tensor);

// A node of a class, with next = (edge) or (edge, edge) or what the caller puts there, and everything else but saved and version filled in.
PyObject* make_node(PyTypeObject* type, PyObject* next);

// The offset of a slot of a Python class; false with an error set where there is none.
[[nodiscard]] bool find_slot(PyObject* type, const char* name, Py_ssize_t* offset);

}  // namespace rushlight
