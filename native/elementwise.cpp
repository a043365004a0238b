// Elementwise ops as callable objects that stand in for NumPy's ufuncs: `add = elementwise("add", numpy.add)`. Arrays of types that the
// loops have run here: contiguous ones at once, others through the block evaluator. Every other call goes to the fallback as it is.
#include "elementwise.h"

#include <cstring>

namespace rushlight {

PyTypeObject* symbol_type = nullptr;

const Loops* find_op(const char* name) {
    for (const Loops* table : {arithmetic_ops, math_ops}) {
        for (const Loops* op = table; op->name != nullptr; ++op) {
            if (std::strcmp(op->name, name) == 0) return op;
        }
    }
    return nullptr;
}

PyArray_Descr* descr_of(Type type, PyArrayObject* like) {
    constexpr int numbers[] = {NPY_FLOAT, NPY_DOUBLE, NPY_INT64, NPY_INT32, NPY_BOOL};
    if (type < COMPUTED) return PyArray_DescrFromType(numbers[type]);
    PyArray_Descr* descr = PyArray_DESCR(like);
    Py_INCREF(descr);
    return descr;
}

bool overlap(PyArrayObject* a, PyArrayObject* b) {
    const char *a0, *a1, *b0, *b1;
    const auto bounds = [](PyArrayObject* x, const char** low, const char** high) {
        *low = *high = PyArray_BYTES(x);
        for (int i = 0; i < PyArray_NDIM(x); ++i) {
            const index_t reach = (PyArray_DIM(x, i) - 1) * PyArray_STRIDE(x, i);
            (reach < 0 ? *low : *high) += reach;
        }
        *high += PyArray_ITEMSIZE(x);
    };
    bounds(a, &a0, &a1);
    bounds(b, &b0, &b1);
    return a0 < b1 && b0 < a1;
}

namespace {

struct Kernel {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    const Loops* op;
    Program* program;  // the op as a program of one instruction
    PyObject* fallback;
};

Loop loop_for(const Loops* op, int type) {
    const Type t = type == NPY_FLOAT ? F32 : type == NPY_DOUBLE ? F64 : type == NPY_INT64 ? I64 : type == NPY_INT32 ? I32 : type == NPY_BOOL ? BOOL : NO_TYPE;
    if (t == NO_TYPE || (op->only_bool() && t != BOOL)) return nullptr;
    return op->flag[t] != nullptr ? op->flag[t] : op->same[t];
}

// Whether an operand of n bytes may be read while `out` is written: it is the same memory, or other memory.
bool apart(const char* operand, index_t n, const char* out, index_t out_n) {
    return (operand == out && n == out_n) || operand + n <= out || out + out_n <= operand;
}

// The result (in `given`, if there is one) for contiguous operands of one type and shape, or 0-dim ones; nullptr without an error set for others.
PyObject* try_fast(const Loops* op, PyObject* const* args, PyObject* given) {
    if (!PyArray_CheckExact(args[0])) return nullptr;
    PyArrayObject* a = as_array(args[0]);
    const int type = PyArray_TYPE(a);
    Loop loop = loop_for(op, type);
    if (loop == nullptr || !contiguous(a)) return nullptr;
    PyArrayObject *b = nullptr, *shape = a;
    unsigned scalar = 0;
    if (op->operands == 2) {
        if (!PyArray_CheckExact(args[1])) return nullptr;
        b = as_array(args[1]);
        if (PyArray_TYPE(b) != type || !contiguous(b)) return nullptr;
        if (!same_shape(a, b)) {
            if (PyArray_NDIM(b) == 0) {
                scalar = 2;
            } else if (PyArray_NDIM(a) == 0) {
                scalar = 1;
                shape = b;
            } else {
                return nullptr;
            }
        }
        if (!PyArray_ISNOTSWAPPED(b)) return nullptr;
    } else if (op->operands == 3) {
        return nullptr;
    }
    if (!PyArray_ISNOTSWAPPED(a)) return nullptr;
    const bool flag = op->question();
    const int result = flag ? NPY_BOOL : type;
    const index_t size = PyArray_ITEMSIZE(a);
    PyArrayObject* out;
    if (given == nullptr) {
        out = new_array(PyArray_NDIM(shape), PyArray_DIMS(shape), result);
        if (out == nullptr) return nullptr;
    } else {
        if (!PyArray_CheckExact(given)) return nullptr;
        out = as_array(given);
        if (PyArray_TYPE(out) != result || !contiguous(out) || !PyArray_ISWRITEABLE(out) || !PyArray_ISNOTSWAPPED(out) || !same_shape(out, shape)) return nullptr;
        const char* to = PyArray_BYTES(out);
        const index_t n = PyArray_NBYTES(out);
        if (!apart(PyArray_BYTES(a), PyArray_NBYTES(a), to, n) || (b != nullptr && !apart(PyArray_BYTES(b), PyArray_NBYTES(b), to, n))) return nullptr;
        Py_INCREF(given);
    }
    run_loop(loop, op->cost, PyArray_BYTES(a), b == nullptr ? nullptr : PyArray_BYTES(b), nullptr, PyArray_BYTES(out), PyArray_SIZE(shape), size,
             flag ? 1 : size, scalar);
    return reinterpret_cast<PyObject*>(out);
}

// Everything that the evaluator can do, with the result in `out` if that is given.
PyObject* try_general(const Kernel* self, PyObject* const* args, PyObject* out) {
    Call call;
    if (!call.gather(args, self->op->operands, self->program) || (self->op->only_bool() && call.compute != BOOL)) return nullptr;
    const bool flag = self->op->question();
    const Type type = flag ? BOOL : call.element;
    if (out == nullptr) return call.run(*self->program, &type, nullptr);
    if (!PyArray_CheckExact(out)) return nullptr;
    PyArrayObject* target = as_array(out);
    if (type_of(target) != type || !PyArray_ISWRITEABLE(target) || !PyArray_ISALIGNED(target) || PyArray_NDIM(target) != call.shape.ndim ||
        !PyArray_CompareLists(PyArray_DIMS(target), call.shape.size, call.shape.ndim)) {
        return nullptr;
    }
    for (int k = 0; k < call.arrays; ++k) {  // an operand may be the target itself, but may not lie across it
        PyArrayObject* each = call.array[k];
        const bool same = PyArray_BYTES(each) == PyArray_BYTES(target) && same_shape(each, target) && PyArray_TYPE(each) == PyArray_TYPE(target) &&
                          PyArray_CompareLists(PyArray_STRIDES(each), PyArray_STRIDES(target), call.shape.ndim);
        if (!same && overlap(each, target)) return nullptr;
    }
    return call.run(*self->program, &type, target);
}

PyObject* in_place(const Kernel* self, PyObject* const* args, PyObject* out) {
    PyObject* result = try_fast(self->op, args, out);
    return result != nullptr || PyErr_Occurred() ? result : try_general(self, args, out);
}

PyObject* call(PyObject* self_, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
    Kernel* self = reinterpret_cast<Kernel*>(self_);
    const int count = static_cast<int>(PyVectorcall_NARGS(nargsf)), operands = self->op->operands;
    if (kwnames == nullptr) {
        if (count == operands) {
            PyObject* result = try_fast(self->op, args, nullptr);
            if (result == nullptr && !PyErr_Occurred()) {
                bool symbols = false;
                for (int k = 0; k < count; ++k) symbols = symbols || Py_TYPE(args[k]) == symbol_type;
                if (!symbols) {
                    result = try_general(self, args, nullptr);
                } else if ((result = trace(self->op->name, args, count)) == Py_NotImplemented) {  // what the fallback is made of is written down
                    Py_DECREF(result);
                    result = nullptr;
                }
            }
            if (result != nullptr || PyErr_Occurred()) return result;
        } else if (count == operands + 1) {
            PyObject* result = in_place(self, args, args[operands]);
            if (result != nullptr || PyErr_Occurred()) return result;
        }
    } else if (count == operands && PyTuple_GET_SIZE(kwnames) == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "out") == 0) {
        PyObject* result = in_place(self, args, args[operands]);
        if (result != nullptr || PyErr_Occurred()) return result;
    }
    if (PyFunction_Check(self->fallback) && count + (kwnames == nullptr ? 0 : PyTuple_GET_SIZE(kwnames)) == operands + 1) {  // a twin takes no target
        return copied_into(PyObject_Vectorcall(self->fallback, args, static_cast<size_t>(operands), nullptr), args[operands]);
    }
    return PyObject_Vectorcall(self->fallback, args, nargsf, kwnames);
}

void dealloc(PyObject* self_) {
    Kernel* self = reinterpret_cast<Kernel*>(self_);
    delete self->program;
    Py_XDECREF(self->fallback);
    Py_TYPE(self_)->tp_free(self_);
}

PyObject* get_fallback(PyObject* self, void*) { return Py_NewRef(reinterpret_cast<Kernel*>(self)->fallback); }
PyObject* get_name(PyObject* self, void*) { return PyUnicode_FromString(reinterpret_cast<Kernel*>(self)->op->name); }
PyObject* repr(PyObject* self) { return PyUnicode_FromFormat("<native kernel '%s'>", reinterpret_cast<Kernel*>(self)->op->name); }

PyGetSetDef getters[] = {{"fallback", get_fallback, nullptr, "What everything else goes to.", nullptr},
                         {"__name__", get_name, nullptr, "The op's name.", nullptr},
                         {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyTypeObject KernelType = {PyVarObject_HEAD_INIT(nullptr, 0)};

[[nodiscard]] bool prepare_type() {
    KernelType.tp_name = "rushlight.Kernel";
    KernelType.tp_basicsize = sizeof(Kernel);
    KernelType.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL;
    KernelType.tp_vectorcall_offset = offsetof(Kernel, vectorcall);
    KernelType.tp_call = PyVectorcall_Call;
    KernelType.tp_dealloc = dealloc;
    KernelType.tp_repr = repr;
    KernelType.tp_getset = getters;
    return PyType_Ready(&KernelType) == 0;
}

PyObject* elementwise(PyObject*, PyObject* const* args, Py_ssize_t count) {
    if (count != 2) return PyErr_Format(PyExc_TypeError, "elementwise(name, fallback) takes 2 arguments, got %zd", count);
    const char* name = PyUnicode_AsUTF8(args[0]);
    if (name == nullptr) return nullptr;
    const Loops* op = find_op(name);
    if (op == nullptr) Py_RETURN_NONE;
    Kernel* kernel = PyObject_New(Kernel, &KernelType);
    if (kernel == nullptr) return nullptr;
    kernel->vectorcall = call;
    kernel->op = op;
    kernel->fallback = Py_NewRef(args[1]);
    Program* program = kernel->program = new Program;
    program->inputs = op->operands;
    program->registers = op->operands + 1;
    program->cost = op->cost;
    const auto out = static_cast<std::uint8_t>(op->operands);
    program->code.push_back({op, out, {0, static_cast<std::uint8_t>(op->operands > 1 ? 1 : 0), static_cast<std::uint8_t>(op->operands > 2 ? 2 : 0)}});
    program->outputs.push_back(out);
    return reinterpret_cast<PyObject*>(kernel);
}

PyMethodDef methods[] = {
    {"elementwise", reinterpret_cast<PyCFunction>(elementwise), METH_FASTCALL,
     "elementwise(name, fallback): the native op of that name as a function of arrays, called as a ufunc is, or None where there is none. What it "
     "does not cover goes to the fallback."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

PyObject* trace(const char* name, PyObject* const* args, int count) {
    PyObject* tuple = PyTuple_New(count);
    if (tuple == nullptr) return nullptr;
    for (int k = 0; k < count; ++k) PyTuple_SET_ITEM(tuple, k, Py_NewRef(args[k]));
    PyObject* result = PyObject_CallMethod(reinterpret_cast<PyObject*>(symbol_type), "apply", "sN", name, tuple);
    return result;
}

PyObject* copied_into(PyObject* result, PyObject* target) {
    const bool arrays = result != nullptr && PyArray_CheckExact(target) && PyArray_Check(result);
    const bool good = result != nullptr && (arrays ? PyArray_CopyInto(as_array(target), as_array(result)) : PyObject_SetItem(target, Py_Ellipsis, result)) == 0;
    Py_XDECREF(result);
    return good ? Py_NewRef(target) : nullptr;
}

bool Call::gather(PyObject* const* args, int count, const Program* program) {
    PyArrayObject* shaped[MAX_INPUTS];
    Type types[MAX_INPUTS];
    arrays = 0;
    element = NO_TYPE;
    bool numbers = false, all_bool = true;
    for (int k = 0; k < count; ++k) {
        types[k] = NO_TYPE;
        if (PyArray_CheckExact(args[k])) {
            PyArrayObject* each = as_array(args[k]);
            const Type type = type_of(each);
            if (type == NO_TYPE || !PyArray_ISALIGNED(each)) return false;
            types[k] = type;
            if (type != BOOL) {
                all_bool = false;
                if (element == NO_TYPE) element = type;
                else if (element != type) return false;
            }
            shaped[arrays] = array[arrays] = each;
            ++arrays;
        } else if (PyFloat_CheckExact(args[k])) {
            numbers = true;
        } else if (PyLong_CheckExact(args[k])) {
            numbers = true;
        } else {
            return false;
        }
    }
    if (arrays == 0) return false;
    if (all_bool) element = BOOL;
    compute = element == BF16 || element == F16 ? F32 : element;
    const bool plain_numbers = numbers || !program->constants.empty();
    if (!program->computes(compute) || (plain_numbers && compute != F32 && compute != F64)) return false;
    if (element != BOOL && compute != F32 && compute != F64) {  // integers don't mix with bool here
        for (int k = 0; k < count; ++k) if (types[k] == BOOL) return false;
    }
    if (!broadcast(shaped, arrays, &shape)) return false;
    if (program->aligned && (numbers || !all_same(shaped))) return false;
    int at = 0;
    for (int k = 0; k < count; ++k) {
        if (types[k] != NO_TYPE) {
            place(array[at++], shape, &inputs[k], types[k]);
            continue;
        }
        const double value = PyFloat_CheckExact(args[k]) ? PyFloat_AS_DOUBLE(args[k]) : PyLong_AsDouble(args[k]);
        if (value == -1.0 && PyErr_Occurred()) {
            PyErr_Clear();
            return false;
        }
        if (compute == F64) *reinterpret_cast<double*>(number[k]) = value;
        else *reinterpret_cast<float*>(number[k]) = static_cast<float>(value);
        inputs[k].data = number[k];
        inputs[k].type = compute;
        for (int i = 0; i < shape.ndim; ++i) inputs[k].stride[i] = 0;
    }
    return true;
}

bool Call::all_same(PyArrayObject* const* shaped) const {
    for (int k = 1; k < arrays; ++k) {
        if (!same_shape(shaped[0], shaped[k])) return false;
    }
    return true;
}

PyObject* Call::run(const Program& program, const Type* types, PyArrayObject* target) {
    const int count = static_cast<int>(program.outputs.size());
    PyArrayObject* results[MAX_OUTPUTS];
    Operand outputs[MAX_OUTPUTS];
    bool plain = true;
    PyArrayObject* like = array[0];
    for (int k = 0; k < arrays; ++k) {
        plain = plain && PyArray_IS_C_CONTIGUOUS(array[k]);
        if (type_of(array[k]) == element) like = array[k];
    }
    for (int k = 0; k < count; ++k) {
        if (target != nullptr) {
            results[k] = as_array(Py_NewRef(reinterpret_cast<PyObject*>(target)));
        } else {
            PyArray_Descr* descr = descr_of(types[k], like);
            results[k] = new_result(shape, inputs, program.inputs, descr, plain);
            Py_DECREF(descr);
        }
        if (results[k] == nullptr) {
            for (int i = 0; i < k; ++i) Py_DECREF(results[i]);
            return nullptr;
        }
        place(results[k], shape, &outputs[k], types[k]);
    }
    evaluate(program, compute, shape, inputs, outputs);
    if (count == 1) return reinterpret_cast<PyObject*>(results[0]);
    PyObject* tuple = PyTuple_New(count);
    for (int k = 0; k < count; ++k) {
        if (tuple == nullptr) Py_DECREF(results[k]);
        else PyTuple_SET_ITEM(tuple, k, reinterpret_cast<PyObject*>(results[k]));
    }
    return tuple;
}

int add_elementwise(PyObject* module) {
    if (!prepare_type()) return -1;
    return PyModule_AddFunctions(module, methods);
}

}  // namespace rushlight
