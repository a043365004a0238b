// Fused formulas: `fuse(function, inputs, tracer, pick)` is a callable that computes what the Python function computes, in one pass over its
// arrays. At the first call the tracer turns the function into a program; where it can't, and for other arguments, the function itself runs.
#include <cstring>

#include "elementwise.h"

namespace rushlight {

Program* build_program(PyObject* description, int inputs, bool* flags) {
    PyObject *constants, *code, *outputs;
    int registers, aligned;
    if (!PyArg_ParseTuple(description, "O!O!iO!p", &PyList_Type, &constants, &PyList_Type, &code, &registers, &PyList_Type, &outputs, &aligned)) return nullptr;
    if (registers > MAX_REGISTERS || PyList_GET_SIZE(code) > MAX_CODE || PyList_GET_SIZE(outputs) > MAX_OUTPUTS || PyList_GET_SIZE(outputs) < 1) {
        PyErr_SetString(PyExc_ValueError, "the formula is too long for one program");
        return nullptr;
    }
    Program* program = new Program;
    program->inputs = inputs;
    program->registers = registers;
    program->aligned = aligned;
    bool good = true;
    for (Py_ssize_t i = 0; good && i < PyList_GET_SIZE(constants); ++i) {
        program->constants.push_back(PyFloat_AsDouble(PyList_GET_ITEM(constants, i)));
        good = !PyErr_Occurred();
    }
    for (Py_ssize_t i = 0; good && i < PyList_GET_SIZE(code); ++i) {
        const char* name;
        unsigned char out, a, b = 0, c = 0;
        good = PyArg_ParseTuple(PyList_GET_ITEM(code, i), "sbb|bb", &name, &out, &a, &b, &c);
        if (!good) break;
        const Loops* op = find_op(name);
        if (op == nullptr || op->same[F32] == nullptr || out >= registers || a >= registers || b >= registers || c >= registers) {
            PyErr_Format(PyExc_ValueError, "no op '%s' for programs", name);
            good = false;
            break;
        }
        program->code.push_back({op, out, {a, b, c}});
        program->cost += op->cost;
    }
    for (Py_ssize_t i = 0; good && i < PyList_GET_SIZE(outputs); ++i) {
        unsigned char out;
        int flag;
        good = PyArg_ParseTuple(PyList_GET_ITEM(outputs, i), "bp", &out, &flag);
        if (!good) break;
        program->outputs.push_back(out);
        flags[i] = flag;
    }
    if (!good) {
        delete program;
        return nullptr;
    }
    return program;
}

namespace {

struct Fused {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *function, *tracer;
    Program* program;      // null: not traced yet, or not traceable
    bool traced;
    int inputs, given;     // how many arguments the function takes, and how many a call gets
    std::uint8_t pick[MAX_INPUTS];   // which of the given ones the function takes
    bool flag[MAX_OUTPUTS];          // outputs that are bool
    bool flat;             // prepared, and without bool outputs
    bool straight;         // pick is 0, 1, 2, ... of just as many
};

[[nodiscard]] bool prepare(Fused* self) {
    self->traced = true;
    PyObject* description = PyObject_CallFunction(self->tracer, "Oi", self->function, self->inputs);
    if (description == nullptr) return false;
    if (description != Py_None) self->program = build_program(description, self->inputs, self->flag);
    Py_DECREF(description);
    if (self->program != nullptr) {
        self->program->prepare();
        self->flat = self->program->prepared;
        for (std::size_t k = 0; k < self->program->outputs.size(); ++k) self->flat = self->flat && !self->flag[k];
    }
    return !PyErr_Occurred();
}

// Whether a result may be written to `target` while the operands are read: those that are arrays are the target itself, or lie apart.
bool writes_to(PyArrayObject* target, PyObject* const* args, int count, int type) {
    if (PyArray_TYPE(target) != type || !contiguous(target) || !PyArray_ISNOTSWAPPED(target) || !PyArray_ISWRITEABLE(target)) return false;
    for (int k = 0; k < count; ++k) {
        if (!PyArray_CheckExact(args[k])) continue;
        if (!same_shape(as_array(args[k]), target)) return false;
        if (PyArray_BYTES(as_array(args[k])) != PyArray_BYTES(target) && overlap(as_array(args[k]), target)) return false;
    }
    return true;
}

// Contiguous arrays of one float type and one shape, and Python numbers: the cheapest way in. With a target, which takes the only result.
PyObject* try_flat(const Fused* self, PyObject* const* args, PyArrayObject* target) {
    const Program& program = *self->program;
    const char* inputs[MAX_INPUTS];
    char* outputs[MAX_OUTPUTS];
    if (!PyArray_CheckExact(args[0])) return nullptr;
    PyArrayObject* a = as_array(args[0]);
    const int type = PyArray_TYPE(a);
    if (type != NPY_FLOAT && type != NPY_DOUBLE) return nullptr;
    unsigned numbers = 0;
    double wide[MAX_INPUTS];
    float narrow[MAX_INPUTS];
    for (int k = 0; k < program.inputs; ++k) {
        if (PyArray_CheckExact(args[k])) {
            PyArrayObject* b = as_array(args[k]);
            if (PyArray_TYPE(b) != type || !contiguous(b) || !PyArray_ISNOTSWAPPED(b) || (k > 0 && !same_shape(a, b))) return nullptr;
            inputs[k] = PyArray_BYTES(b);
            continue;
        }
        if (PyFloat_CheckExact(args[k])) {
            wide[k] = PyFloat_AS_DOUBLE(args[k]);
        } else if (PyLong_CheckExact(args[k])) {
            wide[k] = PyLong_AsDouble(args[k]);
            if (wide[k] == -1.0 && PyErr_Occurred()) {
                PyErr_Clear();
                return nullptr;
            }
        } else {
            return nullptr;
        }
        narrow[k] = static_cast<float>(wide[k]);
        inputs[k] = type == NPY_FLOAT ? reinterpret_cast<const char*>(&narrow[k]) : reinterpret_cast<const char*>(&wide[k]);
        numbers |= 1u << k;
    }
    if (numbers != 0 && (program.aligned || !allows(program, numbers))) return nullptr;
    if (type == NPY_DOUBLE && !program.computes(F64)) return nullptr;
    PyObject* results[MAX_OUTPUTS];
    const int count = static_cast<int>(program.outputs.size());
    if (target != nullptr) {
        if (count != 1 || !writes_to(target, args, program.inputs, type)) return nullptr;
        outputs[0] = PyArray_BYTES(target);
        evaluate_flat(program, type == NPY_FLOAT ? F32 : F64, inputs, outputs, PyArray_SIZE(a), numbers);
        return Py_NewRef(reinterpret_cast<PyObject*>(target));
    }
    for (int k = 0; k < count; ++k) {
        results[k] = reinterpret_cast<PyObject*>(new_array(PyArray_NDIM(a), PyArray_DIMS(a), type));
        if (results[k] == nullptr) {
            while (--k >= 0) Py_DECREF(results[k]);
            return nullptr;
        }
        outputs[k] = PyArray_BYTES(as_array(results[k]));
    }
    evaluate_flat(program, type == NPY_FLOAT ? F32 : F64, inputs, outputs, PyArray_SIZE(a), numbers);
    if (count == 1) return results[0];
    PyObject* tuple = PyTuple_New(count);
    for (int k = 0; k < count; ++k) {
        if (tuple == nullptr) Py_DECREF(results[k]);
        else PyTuple_SET_ITEM(tuple, k, results[k]);
    }
    return tuple;
}

PyObject* compute(Fused* self, PyObject* const* args) {
    if (self->flat) {
        PyObject* result = try_flat(self, args, nullptr);
        if (result != nullptr || PyErr_Occurred()) return result;
    }
    Call call;
    if (!call.gather(args, self->inputs, self->program) || (call.element == BOOL)) return nullptr;
    Type types[MAX_OUTPUTS];
    for (std::size_t k = 0; k < self->program->outputs.size(); ++k) types[k] = self->flag[k] ? BOOL : call.element;
    return call.run(*self->program, types, nullptr);
}

PyObject* call(PyObject* self_, PyObject* const* given, size_t nargsf, PyObject* kwnames) {
    Fused* self = reinterpret_cast<Fused*>(self_);
    const bool into = kwnames == nullptr && PyVectorcall_NARGS(nargsf) == self->given + 1;
    if (kwnames != nullptr || (PyVectorcall_NARGS(nargsf) != self->given && !into)) return PyObject_Vectorcall(self->function, given, nargsf, kwnames);
    PyObject* picked[MAX_INPUTS];
    PyObject* const* args = given;
    if (!self->straight) {
        for (int k = 0; k < self->inputs; ++k) picked[k] = given[self->pick[k]];
        args = picked;
    }
    if (!self->traced && !prepare(self)) return nullptr;
    if (into && self->program != nullptr && self->flat && PyArray_CheckExact(given[self->given])) {
        PyObject* result = try_flat(self, args, as_array(given[self->given]));
        if (result != nullptr || PyErr_Occurred()) return result;
    }
    if (self->program != nullptr) {
        PyObject* result = compute(self, args);
        if (result != nullptr || PyErr_Occurred()) return into && result != nullptr ? copied_into(result, given[self->given]) : result;
    }
    PyObject* result = PyObject_Vectorcall(self->function, args, self->inputs, nullptr);
    return into ? copied_into(result, given[self->given]) : result;
}

void dealloc(PyObject* self_) {
    Fused* self = reinterpret_cast<Fused*>(self_);
    delete self->program;
    Py_XDECREF(self->function);
    Py_XDECREF(self->tracer);
    Py_TYPE(self_)->tp_free(self_);
}

PyObject* get_function(PyObject* self, void*) { return Py_NewRef(reinterpret_cast<Fused*>(self)->function); }
PyObject* get_fused(PyObject* self_, void*) {
    Fused* self = reinterpret_cast<Fused*>(self_);
    if (!self->traced && !prepare(self)) return nullptr;
    return PyBool_FromLong(self->program != nullptr);
}

PyGetSetDef getters[] = {{"__wrapped__", get_function, nullptr, "The function that it computes.", nullptr},
                         {"fused", get_fused, nullptr, "Whether there is a program for it.", nullptr},
                         {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyTypeObject FusedType = {PyVarObject_HEAD_INIT(nullptr, 0)};

PyObject* fuse(PyObject*, PyObject* args) {
    PyObject *function, *tracer, *pick;
    int given;
    if (!PyArg_ParseTuple(args, "OOiO!", &function, &tracer, &given, &PyTuple_Type, &pick)) return nullptr;
    const Py_ssize_t inputs = PyTuple_GET_SIZE(pick);
    if (inputs < 1 || inputs > MAX_INPUTS || given > MAX_INPUTS) {
        PyErr_Format(PyExc_ValueError, "a fused function takes 1 to %d arguments", MAX_INPUTS);
        return nullptr;
    }
    Fused* self = PyObject_New(Fused, &FusedType);
    if (self == nullptr) return nullptr;
    self->vectorcall = call;
    self->function = Py_NewRef(function);
    self->tracer = Py_NewRef(tracer);
    self->program = nullptr;
    self->traced = self->flat = false;
    self->inputs = static_cast<int>(inputs);
    self->given = given;
    self->straight = inputs == given;
    for (Py_ssize_t k = 0; k < inputs; ++k) {
        const long at = PyLong_AsLong(PyTuple_GET_ITEM(pick, k));
        if (at < 0 || at >= given) {
            Py_DECREF(self);
            if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "pick has to name arguments that are given");
            return nullptr;
        }
        self->pick[k] = static_cast<std::uint8_t>(at);
        self->straight = self->straight && at == k;
    }
    return reinterpret_cast<PyObject*>(self);
}

PyObject* set_symbol(PyObject*, PyObject* type) {
    if (!PyType_Check(type)) {
        PyErr_SetString(PyExc_TypeError, "set_symbol takes a class");
        return nullptr;
    }
    symbol_type = reinterpret_cast<PyTypeObject*>(Py_NewRef(type));
    Py_RETURN_NONE;
}

PyObject* has_op(PyObject*, PyObject* name) {
    const char* text = PyUnicode_AsUTF8(name);
    if (text == nullptr) return nullptr;
    const Loops* op = find_op(text);
    return PyBool_FromLong(op != nullptr && op->same[F32] != nullptr);
}

PyMethodDef methods[] = {
    {"fuse", fuse, METH_VARARGS, "fuse(function, tracer, given, pick): see kernels/fuse.py."},
    {"set_symbol", set_symbol, METH_O, "set_symbol(class): what stands for an operand while a formula is traced."},
    {"has_op", has_op, METH_O, "has_op(name): whether programs have an op of that name."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int add_fuse(PyObject* module) {
    FusedType.tp_name = "rushlight.Fused";
    FusedType.tp_basicsize = sizeof(Fused);
    FusedType.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL;
    FusedType.tp_vectorcall_offset = offsetof(Fused, vectorcall);
    FusedType.tp_call = PyVectorcall_Call;
    FusedType.tp_dealloc = dealloc;
    FusedType.tp_getset = getters;
    if (PyType_Ready(&FusedType) < 0) return -1;
    return PyModule_AddFunctions(module, methods);
}

}  // namespace rushlight
