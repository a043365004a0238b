// The fast paths of elementwise ops: what the closures of ops/define.py do for plain float tensors, in C++. An Op wraps such a closure;
// whatever is not plain (numbers that were not seen yet, other dtypes, subclasses, modes, out=) is left to the closure.
#include "op.h"

#include <structmember.h>

namespace rushlight {

Layout layout;

PyObject* make_tensor(PyObject* array, PyObject* kind) {
    PyObject* tensor = layout.tensor->tp_alloc(layout.tensor, 0);
    if (tensor == nullptr) {
        Py_DECREF(array);
        return nullptr;
    }
    slot(tensor, layout.array) = array;
    slot(tensor, layout.kind) = Py_NewRef(kind);
    slot(tensor, layout.node) = Py_NewRef(Py_None);
    slot(tensor, layout.ver) = Py_NewRef(layout.zero);
    slot(tensor, layout.view) = Py_NewRef(Py_None);
    slot(tensor, layout.grad) = Py_NewRef(Py_None);
    return tensor;
}

PyObject* shape_and_kind(PyArrayObject* array, PyObject* kind) {
    PyObject* shape = PyTuple_New(PyArray_NDIM(array));
    if (shape == nullptr) return nullptr;
    for (int i = 0; i < PyArray_NDIM(array); ++i) PyTuple_SET_ITEM(shape, i, PyLong_FromSsize_t(PyArray_DIM(array, i)));
    PyObject* pair = PyTuple_Pack(2, shape, kind);
    Py_DECREF(shape);
    return pair;
}

PyObject* version_number(PyObject* tensor) {
    PyObject* version = slot(tensor, layout.ver);
    return Py_NewRef(Py_TYPE(version) == layout.version ? slot(version, layout.n) : version);
}

PyObject* make_node(PyTypeObject* type, PyObject* next) {
    if (next == nullptr) return nullptr;
    PyObject* seq = Py_TYPE(layout.counter)->tp_iternext(layout.counter);
    PyObject* node = seq == nullptr ? nullptr : type->tp_alloc(type, 0);
    if (node == nullptr) {
        Py_XDECREF(seq);
        Py_DECREF(next);
        return nullptr;
    }
    slot(node, layout.next) = next;
    slot(node, layout.seq) = seq;
    slot(node, layout.fix) = Py_NewRef(Py_None);
    slot(node, layout.hooks) = Py_NewRef(Py_None);
    return node;
}

// The offset of a slot of a Python class.
[[nodiscard]] bool find_slot(PyObject* type, const char* name, Py_ssize_t* offset) {
    PyObject* descriptor = PyObject_GetAttrString(type, name);
    if (descriptor == nullptr) return false;
    const bool good = Py_IS_TYPE(descriptor, &PyMemberDescr_Type);
    if (good) {
        *offset = reinterpret_cast<PyMemberDescrObject*>(descriptor)->d_member->offset;
    } else {
        PyErr_Format(PyExc_TypeError, "%s of %R is no slot", name, type);
    }
    Py_DECREF(descriptor);
    return good;
}

namespace {

// What a gradient needs to see, as flags.
enum Uses { SAVES_INPUT = 1, SAVES_RESULT = 2, FIRST_USES_A = 4, FIRST_USES_B = 8, SECOND_USES_A = 16, SECOND_USES_B = 32, TAKES_NUMBERS = 64 };

void set(PyObject* object, Py_ssize_t offset, PyObject* value) { Py_XSETREF(slot(object, offset), value); }

// The kernel's result as an exact array, or nullptr with an error set.
PyObject* compute(const Op* op, PyObject* const* arrays) {
    PyObject* result = PyObject_Vectorcall(op->kernel, arrays, op->fewest, nullptr);
    if (result == nullptr || PyArray_CheckExact(result)) return result;
    PyObject* array = PyArray_FromAny(result, nullptr, 0, 0, 0, nullptr);  // a NumPy scalar
    Py_DECREF(result);
    return array;
}

PyObject* result_kind(const Op* op, PyObject* kind) { return op->to_bool ? slot(kind, layout.boolean) : kind; }

bool record_unary(const Op* op, PyObject* input, PyObject* edge, PyObject* result) {
    PyObject* node = make_node(op->node_type, PyTuple_Pack(1, edge));
    if (node == nullptr) return false;
    if (op->uses & SAVES_INPUT) {
        slot(node, layout.saved) = Py_NewRef(input);
        slot(node, layout.version_of) = version_number(input);
    } else if (op->uses & SAVES_RESULT) {
        PyObject* version = layout.version->tp_alloc(layout.version, 0);
        if (version == nullptr) {
            Py_DECREF(node);
            return false;
        }
        slot(version, layout.n) = Py_NewRef(layout.zero);
        slot(version, layout.views) = Py_NewRef(Py_None);
        slot(node, layout.saved) = Py_NewRef(slot(result, layout.array));
        slot(node, layout.version_of) = version;
        set(result, layout.ver, Py_NewRef(version));
    } else {
        slot(node, layout.saved) = Py_NewRef(layout.empty);
        slot(node, layout.version_of) = Py_NewRef(layout.zero);
    }
    set(result, layout.node, node);
    return true;
}

// The result for a plain tensor; nullptr without an error where the closure has to take over.
PyObject* unary(const Op* op, PyObject* const* args, Py_ssize_t) {
    PyObject* input = args[0];
    if (!is_tensor(input)) return nullptr;
    PyObject *kind = slot(input, layout.kind), *edge = slot(input, layout.node), *array = slot(input, layout.array);
    if (slot(kind, layout.fast) != Py_True || !PyArray_CheckExact(array)) return nullptr;
    const bool record = edge != Py_None && op->node_type != nullptr;
    if (record && unusual()) return nullptr;
    kind = result_kind(op, kind);
    if (kind == nullptr) return nullptr;
    PyObject* out = compute(op, &array);
    if (out == nullptr) return nullptr;
    PyObject* result = make_tensor(out, kind);
    if (result != nullptr && record && !record_unary(op, input, edge, result)) Py_CLEAR(result);
    return result;
}

// None where the operand has the result's shape, else (shape, kind): what its gradient is brought to.
PyObject* fix_of(PyObject* edge, PyObject* array, PyObject* result, PyObject* kind) {
    if (edge == Py_None || same_shape(as_array(array), as_array(result))) return Py_NewRef(Py_None);
    return shape_and_kind(as_array(array), kind);
}

bool record_binary(const Op* op, PyObject* a, PyObject* b, PyObject* kind, PyObject* result) {
    PyObject *na = slot(a, layout.node), *nb = slot(b, layout.node);
    const bool first = na != Py_None, second = nb != Py_None;
    PyObject* node = make_node(op->node_type, PyTuple_Pack(2, na, nb));
    if (node == nullptr) return false;
    set(result, layout.node, node);
    const int needed = (first ? op->uses & (FIRST_USES_A | FIRST_USES_B) : 0) | (second ? op->uses & (SECOND_USES_A | SECOND_USES_B) : 0);
    const bool keep_a = needed & (FIRST_USES_A | SECOND_USES_A), keep_b = needed & (FIRST_USES_B | SECOND_USES_B);
    if ((op->uses & (FIRST_USES_A | FIRST_USES_B | SECOND_USES_A | SECOND_USES_B)) == 0) {
        slot(node, layout.saved) = Py_NewRef(layout.empty);
        slot(node, layout.version_of) = Py_NewRef(layout.zero);
    } else {
        slot(node, layout.saved) = PyTuple_Pack(2, keep_a ? a : Py_None, keep_b ? b : Py_None);
        PyObject* va = keep_a ? version_number(a) : Py_NewRef(layout.zero);
        PyObject* vb = keep_b ? version_number(b) : Py_NewRef(layout.zero);
        slot(node, layout.version_of) = va == layout.zero && vb == layout.zero ? Py_NewRef(layout.zero) : PyNumber_Add(va, vb);
        Py_DECREF(va);
        Py_DECREF(vb);
        if (slot(node, layout.saved) == nullptr || slot(node, layout.version_of) == nullptr) return false;
    }
    PyObject *xa = slot(a, layout.array), *xb = slot(b, layout.array), *y = slot(result, layout.array);
    PyObject *fa = fix_of(na, xa, y, kind), *fb = fix_of(nb, xb, y, kind);
    if (fa != nullptr && fb != nullptr && (fa != Py_None || fb != Py_None)) set(node, layout.fix, PyTuple_Pack(2, fa, fb));
    const bool good = fa != nullptr && fb != nullptr && slot(node, layout.fix) != nullptr;
    Py_XDECREF(fa);
    Py_XDECREF(fb);
    return good;
}

PyObject* binary(const Op* op, PyObject* const* args, Py_ssize_t) {
    PyObject *a = args[0], *b = args[1];
    if (!is_tensor(a)) return nullptr;
    PyObject* kind = slot(a, layout.kind);
    if (slot(kind, layout.fast) != Py_True) return nullptr;
    if (PyFloat_CheckExact(b) || PyLong_CheckExact(b)) {
        if (!(op->uses & TAKES_NUMBERS)) return nullptr;
        b = PyDict_GetItemWithError(slot(kind, layout.scalars), b);  // numbers used before are kept as tensors
        if (b == nullptr) return nullptr;
    } else if (!is_tensor(b) || slot(b, layout.kind) != kind) {
        return nullptr;
    }
    PyObject* arrays[2] = {slot(a, layout.array), slot(b, layout.array)};
    if (!PyArray_CheckExact(arrays[0]) || !PyArray_CheckExact(arrays[1])) return nullptr;
    const bool record = op->node_type != nullptr && (slot(a, layout.node) != Py_None || slot(b, layout.node) != Py_None);
    if (record && unusual()) return nullptr;
    PyObject* kind_of_result = result_kind(op, kind);
    if (kind_of_result == nullptr) return nullptr;
    Py_INCREF(b);  // the dictionary of numbers is emptied now and then
    PyObject* out = compute(op, arrays);
    PyObject* result = nullptr;
    if (out == nullptr) {
        if (PyErr_ExceptionMatches(PyExc_ValueError)) PyErr_Clear();  // shapes that don't broadcast: the closure says it properly
    } else {
        result = make_tensor(out, kind_of_result);
        if (result != nullptr && record && !record_binary(op, a, b, kind, result)) Py_CLEAR(result);
    }
    Py_DECREF(b);
    return result;
}

PyObject* call(PyObject* self, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
    const Op* op = reinterpret_cast<Op*>(self);
    const Py_ssize_t count = PyVectorcall_NARGS(nargsf);
    if (kwnames == nullptr && count >= op->fewest && count <= op->most && PyFunction_GET_CODE(op->python) == op->code) {
        PyObject* result = op->fast(op, args, count);
        if (result != nullptr || PyErr_Occurred()) return result;
    }
    return PyObject_Vectorcall(op->python, args, nargsf, kwnames);
}

void dealloc(PyObject* self) {
    Op* op = reinterpret_cast<Op*>(self);
    Py_XDECREF(op->python);
    Py_XDECREF(op->code);
    Py_XDECREF(op->kernel);
    Py_XDECREF(reinterpret_cast<PyObject*>(op->node_type));
    Py_TYPE(self)->tp_free(self);
}

PyObject* bind_method(PyObject* self, PyObject* object, PyObject*) {
    return object == nullptr || object == Py_None ? Py_NewRef(self) : PyMethod_New(self, object);
}

// Name, documentation, signature: the closure's.
PyObject* get_attribute(PyObject* self, PyObject* name) {
    PyObject* found = PyObject_GenericGetAttr(self, name);
    if (found != nullptr || !PyErr_ExceptionMatches(PyExc_AttributeError)) return found;
    PyErr_Clear();
    return PyObject_GetAttr(reinterpret_cast<Op*>(self)->python, name);
}

PyObject* forwarded(PyObject* self, void* name) { return PyObject_GetAttrString(reinterpret_cast<Op*>(self)->python, static_cast<const char*>(name)); }
PyObject* wrapped(PyObject* self, void*) { return Py_NewRef(reinterpret_cast<Op*>(self)->python); }
PyObject* repr(PyObject* self) { return PyUnicode_FromFormat("<native op of %R>", reinterpret_cast<Op*>(self)->python); }
PyObject* reduce(PyObject* self, PyObject*) { return forwarded(self, const_cast<char*>("__qualname__")); }  // pickled by name, like a function

PyGetSetDef getters[] = {
    {"__doc__", forwarded, nullptr, nullptr, const_cast<char*>("__doc__")},
    {"__module__", forwarded, nullptr, nullptr, const_cast<char*>("__module__")},
    {"__wrapped__", wrapped, nullptr, "The Python closure.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyMethodDef op_methods[] = {{"__reduce__", reduce, METH_NOARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};

PyTypeObject OpType = {PyVarObject_HEAD_INIT(nullptr, 0)};

[[nodiscard]] bool prepare_type() {
    OpType.tp_name = "rushlight.Op";
    OpType.tp_basicsize = sizeof(Op);
    OpType.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR;
    OpType.tp_vectorcall_offset = offsetof(Op, vectorcall);
    OpType.tp_call = PyVectorcall_Call;
    OpType.tp_dealloc = dealloc;
    OpType.tp_descr_get = bind_method;
    OpType.tp_getattro = get_attribute;
    OpType.tp_repr = repr;
    OpType.tp_getset = getters;
    OpType.tp_methods = op_methods;
    return PyType_Ready(&OpType) == 0;
}

PyObject* make_op(PyObject*, PyObject* args) {
    PyObject *python, *kernel, *node_type;
    int operands, uses, to_bool;
    if (!PyArg_ParseTuple(args, "OOOiip", &python, &kernel, &node_type, &operands, &uses, &to_bool)) return nullptr;
    Op* op = new_op(python, operands == 1 ? unary : binary, operands, operands);
    if (op == nullptr) return nullptr;
    op->kernel = Py_NewRef(kernel);
    op->node_type = node_type == Py_None ? nullptr : reinterpret_cast<PyTypeObject*>(Py_NewRef(node_type));
    op->uses = uses;
    op->to_bool = to_bool;
    return reinterpret_cast<PyObject*>(op);
}

PyObject* bind(PyObject*, PyObject* args) {
    PyObject *tensor, *node, *kind, *version, *port, *leaf, *state, *counter;
    if (!PyArg_ParseTuple(args, "OOOOOOOO", &tensor, &node, &kind, &version, &port, &leaf, &state, &counter)) return nullptr;
    const struct { PyObject* type; const char* name; Py_ssize_t* offset; } slots[] = {
        {tensor, "_a", &layout.array}, {tensor, "_kind", &layout.kind}, {tensor, "_node", &layout.node}, {tensor, "_ver", &layout.ver},
        {tensor, "_view", &layout.view}, {tensor, "_grad", &layout.grad}, {node, "next", &layout.next}, {node, "saved", &layout.saved},
        {node, "version", &layout.version_of}, {node, "seq", &layout.seq}, {node, "fix", &layout.fix}, {node, "hooks", &layout.hooks},
        {kind, "fast", &layout.fast}, {kind, "scalars", &layout.scalars}, {kind, "_bool", &layout.boolean}, {version, "n", &layout.n},
        {version, "views", &layout.views}, {reinterpret_cast<PyObject*>(Py_TYPE(state)), "unusual", &layout.unusual},
    };
    for (const auto& each : slots) {
        if (!find_slot(each.type, each.name, each.offset)) return nullptr;
    }
    layout.version = reinterpret_cast<PyTypeObject*>(Py_NewRef(version));
    layout.port = reinterpret_cast<PyTypeObject*>(Py_NewRef(port));
    layout.leaf = reinterpret_cast<PyTypeObject*>(Py_NewRef(leaf));
    layout.state = Py_NewRef(state);
    layout.counter = Py_NewRef(counter);
    layout.zero = PyLong_FromLong(0);
    layout.empty = PyTuple_New(0);
    layout.tensor = reinterpret_cast<PyTypeObject*>(Py_NewRef(tensor));
    Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"bind", bind, METH_VARARGS, "bind(Tensor, Node, Kind, Version, Port, AccumulateGrad, STATE, counter): the classes whose slots the fast paths use."},
    {"op", make_op, METH_VARARGS, "op(closure, kernel, node class or None, operands, uses, to_bool): the closure with a fast path in front of it."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

Op* new_op(PyObject* function, FastPath fast, int fewest, int most) {
    if (!PyFunction_Check(function) || layout.tensor == nullptr) {
        PyErr_SetString(PyExc_TypeError, "a fast path takes a Python function, after bind()");
        return nullptr;
    }
    Op* op = PyObject_New(Op, &OpType);
    if (op == nullptr) return nullptr;
    op->vectorcall = call;
    op->fast = fast;
    op->python = Py_NewRef(function);
    op->code = Py_NewRef(PyFunction_GET_CODE(function));
    op->kernel = nullptr;
    op->node_type = nullptr;
    op->fewest = fewest;
    op->most = most;
    op->uses = 0;
    op->to_bool = false;
    return op;
}

int add_dispatch(PyObject* module) {
    if (!prepare_type() || PyModule_AddObjectRef(module, "Op", reinterpret_cast<PyObject*>(&OpType)) < 0) return -1;
    return PyModule_AddFunctions(module, methods);
}

}  // namespace rushlight
