// The block evaluator: a short program over registers, run on blocks of elements that stay in the cache, for contiguous, strided and
// broadcast operands, on several threads. An eager op is a program of one instruction.
#pragma once

#include <vector>

#include "loops.h"

namespace rushlight {

constexpr int PROGRAM_DIMS = 12, MAX_INPUTS = 8, MAX_OUTPUTS = 4, MAX_REGISTERS = 40, MAX_CODE = 96;
constexpr index_t BLOCK_BYTES = 4096;  // of a register: a dozen of them fit the first-level cache

struct Instruction {
    const Loops* op;
    std::uint8_t out, in[3];
    unsigned numbers(int inputs, unsigned which) const {  // which operands are inputs that `which` names
        unsigned mask = 0;
        for (int i = 0; i < op->operands; ++i) mask |= in[i] < inputs && (which >> in[i] & 1u) ? 1u << i : 0u;
        return mask;
    }
};

// Registers are numbered: inputs first, then constants, then temporaries.
struct Program {
    int inputs = 0, registers = 0, cost = 1;
    std::vector<double> constants;
    std::vector<Instruction> code;
    std::vector<std::uint8_t> outputs;  // temporaries, all different
    bool aligned = false;               // some output does not depend on every input: shapes have to be equal
    int temporaries() const { return registers - inputs - static_cast<int>(constants.size()); }
    bool computes(Type type) const;     // whether all instructions have loops for it

    // For the commonest call, contiguous operands of one shape, all is decided beforehand: the loops' modes, and the constants as they
    // are read. Index 0: float, 1: double. `prepared` is false where a result would be one value for all.
    std::vector<std::uint8_t> scalar;
    std::vector<double> constants_f64;
    std::vector<float> constants_f32;
    bool prepared = false;
    void prepare();
};

// Runs a prepared program on elements [begin, end) of contiguous operands in the calling thread; results are of the compute type.
// `constants` holds the program's, in the compute type.
void run_flat(const Program& program, Type compute, const char* constants, const char* const* inputs, char* const* outputs, index_t begin, index_t end,
              unsigned numbers = 0);

// The same on all of n elements, on several threads where that pays. Bit k of `numbers` is set where input k is one element for all,
// which the program has to allow.
void evaluate_flat(const Program& program, Type compute, const char* const* inputs, char* const* outputs, index_t n, unsigned numbers);
bool allows(const Program& program, unsigned numbers);  // no instruction has nothing but numbers and constants

// Where an operand lies. For inputs that are broadcast, strides are 0.
struct Operand {
    char* data;
    Type type;
    index_t stride[PROGRAM_DIMS];  // bytes
};

struct Shape {
    int ndim = 0;
    npy_intp size[PROGRAM_DIMS];
    index_t total() const {
        index_t n = 1;
        for (int i = 0; i < ndim; ++i) n *= size[i];
        return n;
    }
};

// Broadcasts the shapes of arrays; false where they don't fit or are too many.
[[nodiscard]] bool broadcast(PyArrayObject* const* arrays, int count, Shape* shape);
void place(PyArrayObject* array, const Shape& shape, Operand* operand, Type type);

// A new array for the result of operands in NumPy's memory order ("K"), and its place.
PyArrayObject* new_result(const Shape& shape, const Operand* inputs, int count, PyArray_Descr* type, bool plain);

// Runs the program. Not for programs that are too long for the caller's checks; does not touch Python but lets go of the GIL.
void evaluate(const Program& program, Type compute, Shape shape, const Operand* inputs, const Operand* outputs);

// Calls loop on contiguous operands (null where there is none), on several threads where that pays.
void run_loop(Loop loop, int cost, const char* a, const char* b, const char* c, char* out, index_t n, index_t size, index_t out_size, unsigned scalar);

}  // namespace rushlight
