#include "function.h"

#include <cstring>
#include <initializer_list>

namespace rushlight {
namespace {

struct Function {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    const NativeFunction* native;
    PyObject* twin;
};

PyObject* call(PyObject* self_, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
    Function* self = reinterpret_cast<Function*>(self_);
    if (kwnames == nullptr) {
        PyObject* result = self->native->call(args, PyVectorcall_NARGS(nargsf));
        if (result != nullptr || PyErr_Occurred()) return result;
    }
    return PyObject_Vectorcall(self->twin, args, nargsf, kwnames);
}

void dealloc(PyObject* self) {
    Py_XDECREF(reinterpret_cast<Function*>(self)->twin);
    Py_TYPE(self)->tp_free(self);
}

PyObject* get_twin(PyObject* self, void*) { return Py_NewRef(reinterpret_cast<Function*>(self)->twin); }
PyObject* get_name(PyObject* self, void*) { return PyUnicode_FromString(reinterpret_cast<Function*>(self)->native->name); }
PyObject* repr(PyObject* self) { return PyUnicode_FromFormat("<native function '%s'>", reinterpret_cast<Function*>(self)->native->name); }

PyGetSetDef getters[] = {{"fallback", get_twin, nullptr, "The NumPy twin.", nullptr},
                         {"__name__", get_name, nullptr, "The function's name.", nullptr},
                         {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyTypeObject FunctionType = {PyVarObject_HEAD_INIT(nullptr, 0)};

PyObject* function(PyObject*, PyObject* const* args, Py_ssize_t count) {
    if (count != 2) return PyErr_Format(PyExc_TypeError, "function(name, twin) takes 2 arguments, got %zd", count);
    const char* name = PyUnicode_AsUTF8(args[0]);
    if (name == nullptr) return nullptr;
    for (const NativeFunction* table : {softmax_functions, norm_functions, reduce_functions, loss_functions, memory_functions, lapack_functions}) {
        for (const NativeFunction* each = table; each->name != nullptr; ++each) {
            if (std::strcmp(each->name, name) != 0) continue;
            Function* self = PyObject_New(Function, &FunctionType);
            if (self == nullptr) return nullptr;
            self->vectorcall = call;
            self->native = each;
            self->twin = Py_NewRef(args[1]);
            return reinterpret_cast<PyObject*>(self);
        }
    }
    return PyErr_Format(PyExc_KeyError, "no native function '%s'", name);
}

PyMethodDef methods[] = {
    {"function", reinterpret_cast<PyCFunction>(function), METH_FASTCALL, "function(name, twin): the native function of that name; what it does not cover goes to the twin."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int add_function(PyObject* module) {
    FunctionType.tp_name = "rushlight.Function";
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
