// Optimizer steps: one program over the elements of many tensors at once, in place. The program's inputs are the parameter, the gradient and
// the state; its outputs are the new parameter and the new state, which go where the old ones were.
#include <vector>

#include "elementwise.h"
#include "pool.h"

namespace rushlight {
namespace {

constexpr index_t PIECE = 8192;  // elements per task
const char* CAPSULE = "rushlight.program";

void destroy(PyObject* capsule) { delete static_cast<Program*>(PyCapsule_GetPointer(capsule, CAPSULE)); }

// Where output k lies: in place of the parameter (input 0), then of the state (inputs 2, 3, ...).
int place_of(std::size_t output) { return output == 0 ? 0 : static_cast<int>(output) + 1; }

// No instruction may read an input after the output that takes its place was written.
bool safe(const Program& program) {
    for (std::size_t k = 0; k < program.outputs.size(); ++k) {
        bool written = false;
        for (const Instruction& each : program.code) {
            for (int i = 0; written && i < each.op->operands; ++i) {
                if (each.in[i] == place_of(k)) return false;
            }
            written = written || each.out == program.outputs[k];
        }
    }
    return true;
}

// step_program(description, inputs): None where it can't run in place.
PyObject* step_program(PyObject*, PyObject* args) {
    PyObject* description;
    int inputs;
    if (!PyArg_ParseTuple(args, "O!i", &PyTuple_Type, &description, &inputs)) return nullptr;
    bool flags[MAX_OUTPUTS];
    Program* program = build_program(description, inputs, flags);
    if (program == nullptr) return nullptr;
    program->prepare();
    bool good = program->prepared && !program->aligned && static_cast<int>(program->outputs.size()) == inputs - 1 && safe(*program);
    for (std::size_t k = 0; k < program->outputs.size(); ++k) good = good && !flags[k];
    if (!good) {
        delete program;
        Py_RETURN_NONE;
    }
    return PyCapsule_New(program, CAPSULE, destroy);
}

struct Piece {
    const char* inputs[MAX_INPUTS];
    char* outputs[MAX_OUTPUTS];
    index_t begin, end;
    Type type;
};

// step(program, constants, columns): columns are lists of arrays, one list per input. True if done; False if an array is not for this way,
// in which case nothing has changed.
PyObject* step(PyObject*, PyObject* const* args, Py_ssize_t count) {
    if (count != 3 || !PyList_Check(args[1]) || !PyTuple_Check(args[2])) return PyErr_Format(PyExc_TypeError, "step(program, constants, columns)");
    const Program* program = static_cast<Program*>(PyCapsule_GetPointer(args[0], CAPSULE));
    if (program == nullptr) return nullptr;
    const int inputs = program->inputs;
    double wide[MAX_REGISTERS];
    float narrow[MAX_REGISTERS];
    if (PyList_GET_SIZE(args[1]) != static_cast<Py_ssize_t>(program->constants.size()) || PyTuple_GET_SIZE(args[2]) != inputs) {
        return PyErr_Format(PyExc_ValueError, "step: expected %zd constants and %d columns", program->constants.size(), inputs);
    }
    for (std::size_t c = 0; c < program->constants.size(); ++c) {
        wide[c] = PyFloat_AsDouble(PyList_GET_ITEM(args[1], c));
        narrow[c] = static_cast<float>(wide[c]);
    }
    if (PyErr_Occurred()) return nullptr;
    Py_ssize_t tensors = -1;
    for (int k = 0; k < inputs; ++k) {
        PyObject* column = PyTuple_GET_ITEM(args[2], k);
        if (!PyList_Check(column) || (tensors >= 0 && PyList_GET_SIZE(column) != tensors)) return PyErr_Format(PyExc_ValueError, "step: columns have to be lists of one length");
        tensors = PyList_GET_SIZE(column);
    }
    std::vector<Piece> pieces;
    pieces.reserve(tensors);
    index_t total = 0;
    for (Py_ssize_t t = 0; t < tensors; ++t) {
        Piece piece;
        index_t size = 0;
        for (int k = 0; k < inputs; ++k) {
            PyObject* object = PyList_GET_ITEM(PyTuple_GET_ITEM(args[2], k), t);
            if (!PyArray_CheckExact(object)) Py_RETURN_FALSE;
            PyArrayObject* array = as_array(object);
            const Type type = type_of(array);
            if (k == 0) {
                piece.type = type;
                size = PyArray_SIZE(array);
            }
            if ((type != F32 && type != F64) || type != piece.type || !contiguous(array) || PyArray_SIZE(array) != size || (k != 1 && !PyArray_ISWRITEABLE(array))) {
                Py_RETURN_FALSE;
            }
            piece.inputs[k] = PyArray_BYTES(array);
            if (k != 1) piece.outputs[k == 0 ? 0 : k - 1] = PyArray_BYTES(array);
        }
        if (!program->computes(piece.type)) Py_RETURN_FALSE;
        for (index_t begin = 0; begin < size; begin += PIECE) {
            piece.begin = begin;
            piece.end = begin + PIECE < size ? begin + PIECE : size;
            pieces.push_back(piece);
        }
        total += size;
    }
    const index_t n = static_cast<index_t>(pieces.size()), average = n > 0 ? total / n + 1 : 1;
    {
        WithoutGil release(total > PIECE);
        parallel_for(n, PIECE / average + 1, [&](index_t begin, index_t end) {
            for (index_t i = begin; i < end; ++i) {
                const Piece& each = pieces[i];
                run_flat(*program, each.type, each.type == F64 ? reinterpret_cast<const char*>(wide) : reinterpret_cast<const char*>(narrow), each.inputs,
                         each.outputs, each.begin, each.end);
            }
        });
    }
    Py_RETURN_TRUE;
}

PyMethodDef methods[] = {
    {"step_program", step_program, METH_VARARGS, "step_program(description, inputs): a program for `step`, or None."},
    {"step", reinterpret_cast<PyCFunction>(step), METH_FASTCALL, "step(program, constants, columns) -> bool: see kernels/step.py."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int add_step(PyObject* module) { return PyModule_AddFunctions(module, methods); }

}  // namespace rushlight
