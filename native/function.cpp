#include "function.h"

#include <cstring>
#include <initializer_list>

namespace rushlight {

extern const NativeFunction ctc_functions[], distance_functions[], fft_functions[];

namespace {

struct Family {
    const char* name;
    const NativeFunction* table;
};

const Family families[] = {
    {"softmax", softmax_functions},
    {"norm", norm_functions},
    {"reduce", reduce_functions},
    {"loss", loss_functions},
    {"memory", memory_functions},
    {"lapack", lapack_functions},
    {"conv", conv_functions},
    {"pooling", pooling_functions},
    {"resample", resample_functions},
    {"sorting", sorting_functions},
    {"scan", scan_functions},
    {"indexing", indexing_functions},
    {"attention", attention_functions},
    {"rnn", rnn_functions},
    {"grid_sample", grid_sample_functions},
    {"random_fill", random_fill_functions},
    {"libm", libm_functions},
    {"linear", linear_functions},
    {"ctc", ctc_functions},
    {"distance", distance_functions},
    {"fft", fft_functions},
};

struct Function {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    Native native;      // null: none here
    PyObject *family, *name, *twin;
    PyObject* classes;  // class of arrays -> how to find its form of a kernel; one dict for all
    PyObject* forms;    // class -> its form of this kernel, or None
};

// What is surely no array of another class.
bool is_plain(PyTypeObject* type) {
    return type == &PyArray_Type || type == Py_TYPE(Py_None) || type == &PyLong_Type || type == &PyFloat_Type || type == &PyTuple_Type || type == &PyBool_Type ||
           type == &PyUnicode_Type || type == &PyList_Type;
}

// The form of this kernel for a class of arrays: a borrowed reference, None where it has none, null with an error set.
PyObject* form_of(Function* self, PyObject* type) {
    PyObject* form = PyDict_GetItemWithError(self->forms, type);
    if (form != nullptr || PyErr_Occurred()) return form;
    PyObject* find = PyDict_GetItemWithError(self->classes, type);
    if (find == nullptr) return PyErr_Occurred() ? nullptr : Py_None;
    form = PyObject_CallFunctionObjArgs(find, self->family, self->name, nullptr);
    if (form == nullptr) return nullptr;
    const int failed = PyDict_SetItem(self->forms, type, form);
    Py_DECREF(form);
    return failed < 0 ? nullptr : form;
}

PyObject* call(PyObject* self_, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
    Function* self = reinterpret_cast<Function*>(self_);
    const Py_ssize_t count = PyVectorcall_NARGS(nargsf);
    if (kwnames == nullptr && self->native != nullptr) {
        PyObject* result = self->native(args, count);
        if (result != nullptr || PyErr_Occurred()) return result;
    }
    if (PyDict_GET_SIZE(self->classes) > 0) {
        PyTypeObject* asked = nullptr;
        for (Py_ssize_t i = 0; i < count; ++i) {
            PyTypeObject* type = Py_TYPE(args[i]);
            if (type == asked || is_plain(type)) continue;
            asked = type;
            PyObject* form = form_of(self, reinterpret_cast<PyObject*>(type));
            if (form == nullptr) return nullptr;
            if (form == Py_None) continue;
            Py_INCREF(form);
            PyObject* result = PyObject_Vectorcall(form, args, nargsf & ~PY_VECTORCALL_ARGUMENTS_OFFSET, kwnames);
            Py_DECREF(form);
            if (result != Py_NotImplemented) return result;
            Py_DECREF(result);
        }
    }
    return PyObject_Vectorcall(self->twin, args, nargsf, kwnames);
}

void dealloc(PyObject* self_) {
    Function* self = reinterpret_cast<Function*>(self_);
    for (PyObject* each : {self->family, self->name, self->twin, self->classes, self->forms}) Py_XDECREF(each);
    Py_TYPE(self_)->tp_free(self_);
}

PyObject* get_twin(PyObject* self, void*) { return Py_NewRef(reinterpret_cast<Function*>(self)->twin); }
PyObject* get_name(PyObject* self, void*) { return Py_NewRef(reinterpret_cast<Function*>(self)->name); }
PyObject* get_doc(PyObject* self, void*) { return PyObject_GetAttrString(reinterpret_cast<Function*>(self)->twin, "__doc__"); }
PyObject* get_native(PyObject* self, void*) { return PyBool_FromLong(reinterpret_cast<Function*>(self)->native != nullptr); }
PyObject* repr(PyObject* self_) {
    Function* self = reinterpret_cast<Function*>(self_);
    return PyUnicode_FromFormat("<kernel '%U.%U'>", self->family, self->name);
}

PyGetSetDef getters[] = {{"fallback", get_twin, nullptr, "The NumPy twin.", nullptr},
                         {"__wrapped__", get_twin, nullptr, "The NumPy twin.", nullptr},
                         {"__name__", get_name, nullptr, "The kernel's name.", nullptr},
                         {"__doc__", get_doc, nullptr, "The twin's text.", nullptr},
                         {"native", get_native, nullptr, "Whether the library has a function of that name.", nullptr},
                         {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyTypeObject FunctionType = {PyVarObject_HEAD_INIT(nullptr, 0)};

Native find(const char* family, const char* name) {
    for (const Family& each : families) {
        if (std::strcmp(each.name, family) != 0) continue;
        for (const NativeFunction* entry = each.table; entry->name != nullptr; ++entry) {
            if (std::strcmp(entry->name, name) == 0) return entry->call;
        }
    }
    return nullptr;
}

PyObject* function(PyObject*, PyObject* const* args, Py_ssize_t count) {
    if (count != 4 || !PyDict_Check(args[3])) return PyErr_Format(PyExc_TypeError, "function(family, name, twin, classes)");
    const char *family = PyUnicode_AsUTF8(args[0]), *name = PyUnicode_AsUTF8(args[1]);
    if (family == nullptr || name == nullptr) return nullptr;
    Function* self = PyObject_New(Function, &FunctionType);
    if (self == nullptr) return nullptr;
    self->vectorcall = call;
    self->native = find(family, name);
    self->family = Py_NewRef(args[0]);
    self->name = Py_NewRef(args[1]);
    self->twin = Py_NewRef(args[2]);
    self->classes = Py_NewRef(args[3]);
    self->forms = PyDict_New();
    if (self->forms == nullptr) Py_CLEAR(self);
    return reinterpret_cast<PyObject*>(self);
}

PyObject* functions(PyObject*, PyObject*) {
    PyObject* names = PyList_New(0);
    for (const Family& each : families) {
        for (const NativeFunction* entry = each.table; names != nullptr && entry->name != nullptr; ++entry) {
            PyObject* pair = Py_BuildValue("(ss)", each.name, entry->name);
            if (pair == nullptr || PyList_Append(names, pair) < 0) Py_CLEAR(names);
            Py_XDECREF(pair);
        }
    }
    return names;
}

PyMethodDef methods[] = {
    {"function", reinterpret_cast<PyCFunction>(function), METH_FASTCALL, "function(family, name, twin, classes): the door to a kernel, see kernels/door.py."},
    {"functions", functions, METH_NOARGS, "functions(): (family, name) of every native function."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int add_function(PyObject* module) {
    FunctionType.tp_name = "rushlight.Kernel";
    FunctionType.tp_basicsize = sizeof(Function);
    FunctionType.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL;
    FunctionType.tp_vectorcall_offset = offsetof(Function, vectorcall);
    FunctionType.tp_call = PyVectorcall_Call;
    FunctionType.tp_dealloc = dealloc;
    FunctionType.tp_repr = repr;
    FunctionType.tp_getset = getters;
    if (PyType_Ready(&FunctionType) < 0) return -1;
    return PyModule_AddFunctions(module, methods);
}

}  // namespace rushlight
