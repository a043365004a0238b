// What eager kernels (elementwise.cpp) and fused ones (fuse.cpp) share: turning Python arguments into operands.
#pragma once

#include "program.h"

namespace rushlight {

// The class of symbolic operands (kernels/fuse.py), which kernels record themselves on instead of computing; null before it is known.
extern PyTypeObject* symbol_type;
PyObject* trace(const char* name, PyObject* const* args, int count);

// A program from the tracer's description: (constants, [(op, out, in, ...)], registers, [(output register, is bool)], aligned). Null with an
// error set where that is no program. `flags` gets which outputs are bool.
Program* build_program(PyObject* description, int inputs, bool* flags);

PyArray_Descr* descr_of(Type type, PyArrayObject* like);  // a new reference; half types take it from an array
bool overlap(PyArrayObject* a, PyArrayObject* b);

// What a function that takes no target gave (stolen), written to one: a new reference to the target, or null with an error set.
PyObject* copied_into(PyObject* result, PyObject* target);

// The operands of one call: arrays of one type (bool ones may be among them) and Python numbers, broadcast against each other.
struct Call {
    Operand inputs[MAX_INPUTS];
    PyArrayObject* array[MAX_INPUTS];
    int arrays = 0;
    Shape shape;
    Type element = NO_TYPE, compute = NO_TYPE;  // the arrays' type, and what is computed in
    alignas(8) char number[MAX_INPUTS][8];

    // False (without an error set) where the arguments are not of that sort.
    bool gather(PyObject* const* args, int count, const Program* program);
    // One new array per output of the program (a tuple of them if there are several), or `target`, filled.
    PyObject* run(const Program& program, const Type* types, PyArrayObject* target);

  private:
    bool all_same(PyArrayObject* const* shaped) const;
};

}  // namespace rushlight
