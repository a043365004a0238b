// `record` of ops/record.py for the usual call: one result, plain arrays, no complex numbers, no mode that changes how ops record. It fills in
// the same node as the Python function, which takes every other call.
#include "record.h"

#include <cstring>

namespace rushlight {

RecordLayout records;

namespace {

PyObject *python_record = nullptr, *node_class = nullptr, *known_classes = nullptr;
PyObject *word_saved, *word_array_grad, *word_holomorphic;

struct Arguments {
    PyObject *out, *name, *inputs, *grad, *saved = nullptr, *array_grad = Py_None;

    bool parse(PyObject* const* args, Py_ssize_t count, PyObject* names) {
        if (count < 4 || count > 6) return false;
        out = args[0];
        name = args[1];
        inputs = args[2];
        grad = args[3];
        saved = count > 4 ? args[4] : layout.empty;
        if (count > 5) array_grad = args[5];
        const Py_ssize_t named = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
        for (Py_ssize_t i = 0; i < named; ++i) {
            PyObject* word = PyTuple_GET_ITEM(names, i);
            if (word == word_array_grad) array_grad = args[count + i];
            else if (word == word_saved) saved = args[count + i];
            else if (word != word_holomorphic) return false;  // it only matters for complex numbers
        }
        return PyTuple_CheckExact(inputs) && PyTuple_CheckExact(saved);
    }
};

// 1: an input requires grad, and all have plain arrays; 0: none requires grad; -1: for the Python function.
int look_at(PyObject* inputs) {
    bool wanted = false, plain = true;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(inputs); ++i) {
        PyObject* each = PyTuple_GET_ITEM(inputs, i);
        if (each == Py_None) continue;
        if (!is_any_tensor(each)) return -1;
        wanted = wanted || slot(each, layout.node) != Py_None;
        PyObject* array = slot(each, layout.array);
        plain = plain && array != nullptr && PyArray_CheckExact(array);
    }
    return !wanted ? 0 : plain ? 1 : -1;
}

bool real_and_plain(PyObject* tensor) {
    PyObject* array = slot(tensor, layout.array);
    return array != nullptr && PyArray_CheckExact(array) && slot(slot(tensor, layout.kind), records.is_complex) == Py_False;
}

PyObject* class_of(PyObject* name) {  // borrowed
    PyObject* found = PyDict_GetItemWithError(known_classes, name);
    if (found != nullptr || PyErr_Occurred()) return found;
    PyObject* args[2] = {name, reinterpret_cast<PyObject*>(records.node)};
    found = PyObject_Vectorcall(node_class, args, 2, nullptr);
    if (found == nullptr) return nullptr;
    const int failed = PyDict_SetItem(known_classes, name, found);
    Py_DECREF(found);
    return failed ? nullptr : found;
}

// The edges, and what the gradients are brought to.
bool connect(PyObject* inputs, PyObject** next, PyObject** fix) {
    const Py_ssize_t n = PyTuple_GET_SIZE(inputs);
    *next = PyTuple_New(n);
    *fix = PyTuple_New(n);
    for (Py_ssize_t i = 0; *next != nullptr && *fix != nullptr && i < n; ++i) {
        PyObject* each = PyTuple_GET_ITEM(inputs, i);
        PyObject* edge = each == Py_None ? Py_None : slot(each, layout.node);
        PyTuple_SET_ITEM(*next, i, Py_NewRef(edge));
        PyObject* want = edge == Py_None ? Py_NewRef(Py_None) : shape_and_kind(as_array(slot(each, layout.array)), slot(each, layout.kind));
        if (want == nullptr) return false;
        PyTuple_SET_ITEM(*fix, i, want);
    }
    return *next != nullptr && *fix != nullptr;
}

// The saved tensors as the node keeps them, with the sum of their versions. The node's own result would make a cycle: SavedOutput has its array.
PyObject* keep(PyObject* saved, PyObject* out, PyObject** version) {
    const Py_ssize_t n = PyTuple_GET_SIZE(saved);
    PyObject* kept = PyTuple_New(n);
    long long sum = 0;
    for (Py_ssize_t i = 0; kept != nullptr && i < n; ++i) {
        PyObject* each = PyTuple_GET_ITEM(saved, i);
        PyObject* entry = nullptr;
        if (each == out) {
            PyObject* args[2] = {each, layout.zero};
            entry = PyObject_Vectorcall(reinterpret_cast<PyObject*>(records.saved_output), args, 2, nullptr);
        } else {
            entry = Py_NewRef(each);
        }
        if (entry == nullptr) {
            Py_CLEAR(kept);
            break;
        }
        PyTuple_SET_ITEM(kept, i, entry);
        PyObject* number = version_number(each);
        sum += PyLong_AsLongLong(number);
        Py_DECREF(number);
    }
    *version = sum == 0 ? Py_NewRef(layout.zero) : PyLong_FromLongLong(sum);
    return kept;
}

PyObject* attach(const Arguments& of) {
    PyObject *next = nullptr, *fix = nullptr, *version = nullptr, *type = class_of(of.name);
    if (type == nullptr || !connect(of.inputs, &next, &fix)) {
        Py_XDECREF(next);
        Py_XDECREF(fix);
        return nullptr;
    }
    PyObject* node = make_node(reinterpret_cast<PyTypeObject*>(type), next);  // takes over next
    PyObject* kept = node == nullptr ? nullptr : keep(of.saved, of.out, &version);
    if (kept == nullptr) {
        Py_XDECREF(node);
        Py_XDECREF(version);
        Py_DECREF(fix);
        return nullptr;
    }
    Py_XSETREF(slot(node, layout.fix), fix);
    slot(node, layout.saved) = kept;
    slot(node, layout.version_of) = version;
    slot(node, records.grad) = Py_NewRef(of.grad);
    slot(node, records.array_grad) = Py_NewRef(of.array_grad);
    slot(node, records.conj) = Py_NewRef(Py_False);
    Py_XSETREF(slot(of.out, layout.node), node);
    return Py_NewRef(of.out);
}

PyObject* record(PyObject*, PyObject* const* args, Py_ssize_t count, PyObject* names) {
    Arguments of;
    if (of.parse(args, count, names)) {
        const int wanted = look_at(of.inputs);
        if (wanted == 0) return Py_NewRef(of.out);
        bool usual = wanted == 1 && is_any_tensor(of.out) && !unusual() && real_and_plain(of.out);
        for (Py_ssize_t i = 0; usual && i < PyTuple_GET_SIZE(of.saved); ++i) {
            PyObject* each = PyTuple_GET_ITEM(of.saved, i);
            usual = is_any_tensor(each) && real_and_plain(each);
        }
        if (usual) return attach(of);
    }
    return PyObject_Vectorcall(python_record, args, count, names);
}

PyObject* bind_record(PyObject*, PyObject* args) {
    PyObject *function, *classes, *node, *output, *kind;
    if (!PyArg_ParseTuple(args, "OOOOO", &function, &classes, &node, &output, &kind)) return nullptr;
    if (!find_slot(node, "grad", &records.grad) || !find_slot(node, "agrad", &records.array_grad) || !find_slot(node, "conj", &records.conj) ||
        !find_slot(output, "array", &records.array) || !find_slot(output, "_ver", &records.ver) || !find_slot(kind, "is_complex", &records.is_complex) ||
        !find_slot(kind, "np", &records.dtype)) {
        return nullptr;
    }
    python_record = Py_NewRef(function);
    node_class = Py_NewRef(classes);
    records.node = reinterpret_cast<PyTypeObject*>(Py_NewRef(node));
    records.saved_output = reinterpret_cast<PyTypeObject*>(Py_NewRef(output));
    Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"record", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(record)), METH_FASTCALL | METH_KEYWORDS,
     "record(out, name, inputs, grad, saved=(), array_grad=None, holomorphic=True): see ops/record.py."},
    {"bind_record", bind_record, METH_VARARGS, "bind_record(record, node_class, RecordNode, SavedOutput, Kind): the Python function, and what it uses."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int record_gradients(PyObject* node, PyObject* g, PyObject** grads) {
    constexpr Py_ssize_t MOST = 8;
    PyObject *formula = slot(node, records.array_grad), *saved = slot(node, layout.saved), *expected = slot(node, layout.version_of);
    if (formula == nullptr || formula == Py_None || saved == nullptr || !PyTuple_CheckExact(saved) || slot(node, records.conj) != Py_False ||
        expected == nullptr || !PyLong_CheckExact(expected) || PyTuple_GET_SIZE(saved) > MOST) {
        return 0;
    }
    PyObject* args[MOST + 1] = {g};
    const Py_ssize_t n = PyTuple_GET_SIZE(saved);
    long long sum = 0;
    for (Py_ssize_t i = 0; i < n; ++i) {
        PyObject *each = PyTuple_GET_ITEM(saved, i), *array, *version;
        if (is_any_tensor(each)) {
            array = slot(each, layout.array);
            version = slot(each, layout.ver);
        } else if (Py_TYPE(each) == records.saved_output) {
            array = slot(each, records.array);
            version = slot(each, records.ver);
        } else {
            return 0;
        }
        if (Py_TYPE(version) == layout.version) version = slot(version, layout.n);
        if (array == nullptr || !PyArray_CheckExact(array) || !PyLong_CheckExact(version)) return 0;
        sum += PyLong_AsLongLong(version);
        args[i + 1] = array;
    }
    if (sum != PyLong_AsLongLong(expected)) return 0;
    PyObject* result = PyObject_Vectorcall(formula, args, n + 1, nullptr);
    if (result == nullptr) return -1;
    if (PyTuple_CheckExact(result)) {
        *grads = result;
    } else {
        *grads = PyTuple_Pack(1, result);
        Py_DECREF(result);
    }
    return *grads == nullptr ? -1 : 1;
}

bool fits(PyObject* grad, PyObject* want) {
    if (grad == Py_None || want == Py_None) return true;
    if (!PyArray_CheckExact(grad)) return false;
    PyObject *shape = PyTuple_GET_ITEM(want, 0), *dtype = slot(PyTuple_GET_ITEM(want, 1), records.dtype);
    PyArrayObject* array = as_array(grad);
    const int ndim = PyArray_NDIM(array);
    if (!PyTuple_CheckExact(shape) || PyTuple_GET_SIZE(shape) != ndim || !PyArray_DescrCheck(dtype)) return false;
    for (int i = 0; i < ndim; ++i) {
        if (PyLong_AsSsize_t(PyTuple_GET_ITEM(shape, i)) != PyArray_DIM(array, i)) return false;
    }
    return PyArray_DESCR(array) == reinterpret_cast<PyArray_Descr*>(dtype) || PyArray_EquivTypes(PyArray_DESCR(array), reinterpret_cast<PyArray_Descr*>(dtype));
}

int add_record(PyObject* module) {
    word_saved = PyUnicode_InternFromString("saved");
    word_array_grad = PyUnicode_InternFromString("array_grad");
    word_holomorphic = PyUnicode_InternFromString("holomorphic");
    known_classes = PyDict_New();
    return known_classes == nullptr ? -1 : PyModule_AddFunctions(module, methods);
}

}  // namespace rushlight
