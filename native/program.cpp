#include "program.h"

#include <alloca.h>

#include <cstdlib>
#include <cstring>

#include "pool.h"

namespace rushlight {

bool Program::computes(Type type) const {
    for (const Instruction& each : code) {
        if (each.op->same[type] == nullptr && !(code.size() == 1 && each.op->flag[type] != nullptr)) return false;
    }
    return true;
}

void Program::prepare() {
    const int count = static_cast<int>(constants.size());
    for (double value : constants) {
        constants_f64.push_back(value);
        constants_f32.push_back(static_cast<float>(value));
    }
    prepared = true;
    for (const Instruction& each : code) {
        unsigned mask = 0;
        for (int i = 0; i < each.op->operands; ++i) mask |= each.in[i] >= inputs && each.in[i] < inputs + count ? 1u << i : 0u;
        prepared = prepared && mask != (1u << each.op->operands) - 1;
        scalar.push_back(static_cast<std::uint8_t>(mask));
    }
}

void run_flat(const Program& program, Type compute, const char* constants, const char* const* inputs, char* const* outputs, index_t begin, index_t end,
              unsigned numbers) {
    const index_t size = size_of(compute);
    const index_t block = end - begin < BLOCK_BYTES / size ? end - begin : BLOCK_BYTES / size;
    const index_t slot = (block * size + 63) / 64 * 64;
    const int first = program.inputs + static_cast<int>(program.constants.size());
    char* memory = static_cast<char*>(alloca(static_cast<std::size_t>(slot) * program.temporaries() + 64));
    memory += 64 - reinterpret_cast<std::uintptr_t>(memory) % 64;
    const char* at[MAX_REGISTERS];
    for (int k = 0; k < program.inputs; ++k) at[k] = numbers >> k & 1u ? inputs[k] : inputs[k] + begin * size;
    const std::uint8_t* modes = program.scalar.data();
    std::uint8_t own[MAX_CODE];
    if (numbers != 0) {
        for (std::size_t i = 0; i < program.code.size(); ++i) own[i] = static_cast<std::uint8_t>(modes[i] | program.code[i].numbers(program.inputs, numbers));
        modes = own;
    }
    for (int r = program.inputs; r < first; ++r) at[r] = constants + (r - program.inputs) * size;
    for (int r = first; r < program.registers; ++r) at[r] = memory + (r - first) * slot;
    for (std::size_t k = 0; k < program.outputs.size(); ++k) at[program.outputs[k]] = outputs[k] + begin * size;
    for (index_t start = begin; start < end; start += block) {
        const index_t n = end - start < block ? end - start : block;
        for (std::size_t i = 0; i < program.code.size(); ++i) {
            const Instruction& each = program.code[i];
            each.op->same[compute](at[each.in[0]], at[each.in[1]], at[each.in[2]], const_cast<char*>(at[each.out]), n, modes[i]);
        }
        for (int k = 0; k < program.inputs; ++k) if (!(numbers >> k & 1u)) at[k] += n * size;
        for (std::uint8_t r : program.outputs) at[r] += n * size;
    }
}

bool allows(const Program& program, unsigned numbers) {
    for (std::size_t i = 0; i < program.code.size(); ++i) {
        const Instruction& each = program.code[i];
        if ((program.scalar[i] | each.numbers(program.inputs, numbers)) == (1u << each.op->operands) - 1) return false;
    }
    return true;
}

void evaluate_flat(const Program& program, Type compute, const char* const* inputs, char* const* outputs, index_t total, unsigned numbers) {
    if (total <= 0) return;
    const index_t grain = ELEMENTS_PER_THREAD * 2 / (1 + program.cost);
    const char* constants = compute == F64 ? reinterpret_cast<const char*>(program.constants_f64.data()) : reinterpret_cast<const char*>(program.constants_f32.data());
    if (total <= grain) {
        run_flat(program, compute, constants, inputs, outputs, 0, total, numbers);
        return;
    }
    WithoutGil release;
    parallel_for(total, grain < 1024 ? 1024 : grain,
                 [&](index_t begin, index_t end) { run_flat(program, compute, constants, inputs, outputs, begin, end, numbers); });
}

[[nodiscard]] bool broadcast(PyArrayObject* const* arrays, int count, Shape* shape) {
    shape->ndim = 0;
    for (int k = 0; k < count; ++k) {
        if (PyArray_NDIM(arrays[k]) > shape->ndim) shape->ndim = PyArray_NDIM(arrays[k]);
    }
    if (shape->ndim > PROGRAM_DIMS) return false;
    for (int i = 0; i < shape->ndim; ++i) {
        index_t size = 1;
        for (int k = 0; k < count; ++k) {
            const int at = i - (shape->ndim - PyArray_NDIM(arrays[k]));
            const index_t n = at < 0 ? 1 : PyArray_DIM(arrays[k], at);
            if (n == 1 || n == size) continue;
            if (size != 1) return false;
            size = n;
        }
        shape->size[i] = size;
    }
    return true;
}

void place(PyArrayObject* array, const Shape& shape, Operand* operand, Type type) {
    operand->data = PyArray_BYTES(array);
    operand->type = type;
    for (int i = 0; i < shape.ndim; ++i) {
        const int at = i - (shape.ndim - PyArray_NDIM(array));
        operand->stride[i] = at < 0 || PyArray_DIM(array, at) == 1 ? 0 : PyArray_STRIDE(array, at);
    }
}

namespace {

// The order of dimensions, outermost first, that goes through memory in the operands' own order. Where they disagree, C order wins.
void memory_order(const Shape& shape, const Operand* inputs, int count, int* order) {
    for (int i = 0; i < shape.ndim; ++i) order[i] = i;
    for (int i = shape.ndim - 2; i >= 0; --i) {
        for (int at = i; at + 1 < shape.ndim; ++at) {  // sift dimension i inwards
            bool decided = false, swap = false;
            for (int k = 0; k < count; ++k) {
                const index_t outer = std::labs(inputs[k].stride[order[at]]), inner = std::labs(inputs[k].stride[order[at + 1]]);
                if (outer == 0 || inner == 0) continue;
                if (outer >= inner) {
                    swap = false;
                    decided = true;
                } else if (!decided) {
                    swap = decided = true;
                }
            }
            if (!swap) break;
            const int other = order[at];
            order[at] = order[at + 1];
            order[at + 1] = other;
        }
    }
}

}  // namespace

PyArrayObject* new_result(const Shape& shape, const Operand* inputs, int count, PyArray_Descr* type, bool plain) {
    npy_intp strides[PROGRAM_DIMS];
    if (!plain) {
        int order[PROGRAM_DIMS];
        memory_order(shape, inputs, count, order);
        npy_intp step = PyDataType_ELSIZE(type);
        for (int i = shape.ndim - 1; i >= 0; --i) {
            strides[order[i]] = step;
            step *= shape.size[order[i]] > 0 ? shape.size[order[i]] : 1;
        }
    }
    Py_INCREF(type);
    return as_array(PyArray_NewFromDescr(&PyArray_Type, type, shape.ndim, const_cast<npy_intp*>(shape.size), plain ? nullptr : strides, nullptr, 0,
                                         nullptr));
}

namespace {

constexpr index_t ROW = 128;  // from this length on, rows are worked through one by one; shorter ones are gathered into blocks

constexpr unsigned SPREAD = 8;  // all operands are one element: compute one, then repeat it

struct Step {
    Loop loop;
    unsigned scalar;
    std::uint8_t out, in[3];
};

class Evaluation {
  public:
    Evaluation(const Program& program, Type compute, Shape& shape, const Operand* inputs, const Operand* outputs)
        : program_(program), compute_(compute), size_(size_of(compute)), inputs_(program.inputs), outputs_(static_cast<int>(program.outputs.size())) {
        for (int k = 0; k < inputs_; ++k) operands_[k] = inputs[k];
        for (int k = 0; k < outputs_; ++k) operands_[inputs_ + k] = outputs[k];
        simplify(shape);
        classify();
        plan();
    }

    void run() {
        const index_t grain = ELEMENTS_PER_THREAD * 2 / (1 + program_.cost);
        const bool large = total_ > grain;
        WithoutGil release(large);
        if (large) {
            parallel_for(total_, grain < 1024 ? 1024 : grain, [this](index_t begin, index_t end) { work(begin, end); });
        } else if (total_ > 0) {
            work(0, total_);
        }
    }

  private:
    // Drops dimensions of size 1, orders the others by the first output's memory, joins those that lie behind one another.
    void simplify(const Shape& shape) {
        const int all = inputs_ + outputs_;
        total_ = shape.total();
        int order[PROGRAM_DIMS];
        memory_order(shape, operands_ + inputs_, 1, order);
        index_t stride[MAX_INPUTS + MAX_OUTPUTS][PROGRAM_DIMS];
        ndim_ = 0;
        for (int i = 0; i < shape.ndim; ++i) {
            const int from = order[i];
            if (shape.size[from] == 1) continue;
            bool joins = ndim_ > 0;
            for (int k = 0; joins && k < all; ++k) joins = stride[k][ndim_ - 1] == operands_[k].stride[from] * shape.size[from];
            if (joins) {
                extent_[ndim_ - 1] *= shape.size[from];
            } else {
                extent_[ndim_++] = shape.size[from];
            }
            for (int k = 0; k < all; ++k) stride[k][ndim_ - 1] = operands_[k].stride[from];
        }
        if (ndim_ == 0) {
            ndim_ = 1;
            extent_[0] = 1;
            for (int k = 0; k < all; ++k) stride[k][0] = k < inputs_ ? 0 : size_of(operands_[k].type);
        }
        for (int k = 0; k < all; ++k) std::memcpy(operands_[k].stride, stride[k], sizeof(index_t) * ndim_);
    }

    void classify() {
        const index_t length = extent_[ndim_ - 1];
        block_ = BLOCK_BYTES / size_;
        by_rows_ = ndim_ == 1 || length >= ROW;
        flag_ = program_.code.size() == 1 && operands_[inputs_].type == BOOL && program_.code[0].op->flag[compute_] != nullptr;
        bool periodic = ndim_ > 1 && length * 2 <= block_, others = true;
        for (int k = 0; k < inputs_ + outputs_; ++k) {
            const Operand& each = operands_[k];
            bool scalar = true, flat = true, outer = false;
            index_t expected = size_of(each.type);
            for (int i = ndim_ - 1; i >= 0; --i) {
                scalar = scalar && each.stride[i] == 0;
                outer = outer || (i < ndim_ - 1 && each.stride[i] != 0);
                flat = flat && each.stride[i] == expected;
                expected *= extent_[i];
            }
            scalar_[k] = scalar && k < inputs_;
            repeats_[k] = !outer && !scalar_[k] && k < inputs_;
            flat_[k] = flat;
            others = others && (scalar_[k] || repeats_[k] || flat);
        }
        periodic_ = periodic && others;  // rows of a matrix with a vector: blocks are whole rows, the vector is repeated once
        if (periodic_) {
            by_rows_ = false;
            block_ = block_ / length * length;
        }
        for (int k = 0; k < inputs_ + outputs_; ++k) {
            const Operand& each = operands_[k];
            const bool same = each.type == compute_ || (flag_ && k >= inputs_);
            direct_[k] = same && (flat_[k] || (by_rows_ && each.stride[ndim_ - 1] == size_of(each.type)));
        }
        if (block_ > total_) block_ = total_ > 0 ? total_ : 1;
    }

    // Decides which registers hold one element for all, and with that the loops' modes.
    void plan() {
        const int constants = static_cast<int>(program_.constants.size());
        for (int r = 0; r < program_.registers; ++r) uniform_[r] = r >= inputs_ && r < inputs_ + constants;
        for (int k = 0; k < inputs_; ++k) {
            if (!scalar_[k]) continue;
            uniform_[k] = true;
            if (total_ > 0) load(operands_[k].type, compute_, operands_[k].data, 0, value_[k], 1);  // an empty operand has not even one
        }
        for (int c = 0; c < constants; ++c) {
            if (compute_ == F64) *reinterpret_cast<double*>(value_[inputs_ + c]) = program_.constants[c];
            else *reinterpret_cast<float*>(value_[inputs_ + c]) = static_cast<float>(program_.constants[c]);
        }
        steps_ = 0;
        for (const Instruction& each : program_.code) {
            Step& step = steps_of_[steps_];
            step.loop = flag_ ? each.op->flag[compute_] : each.op->same[compute_];
            step.out = each.out;
            step.scalar = 0;
            for (int i = 0; i < 3; ++i) {
                step.in[i] = each.in[i];
                if (i < each.op->operands && uniform_[each.in[i]]) step.scalar |= 1u << i;
            }
            const unsigned full = (1u << each.op->operands) - 1;
            if (step.scalar == full) step.scalar = SPREAD;
            ++steps_;
        }
    }

    void work(index_t begin, index_t end) const {
        const int slots = program_.registers + outputs_;
        char* memory = static_cast<char*>(alloca(static_cast<std::size_t>(slots) * block_ * size_ + 64 * (slots + 1)));
        memory += 64 - reinterpret_cast<std::uintptr_t>(memory) % 64;
        const index_t slot = (block_ * size_ + 63) / 64 * 64;
        char* at[MAX_REGISTERS];
        for (int r = 0; r < program_.registers; ++r) at[r] = uniform_[r] ? const_cast<char*>(value_[r]) : memory + r * slot;
        const index_t length = extent_[ndim_ - 1];
        index_t position[PROGRAM_DIMS];
        locate(begin, position);
        for (index_t start = begin; start < end;) {
            index_t n = end - start < block_ ? end - start : block_;
            if (by_rows_ && ndim_ > 1 && n > length - position[ndim_ - 1]) n = length - position[ndim_ - 1];
            for (int k = 0; k < inputs_; ++k) {
                if (scalar_[k]) continue;
                if (direct_[k]) at[k] = operands_[k].data + (flat_[k] ? start * size_ : offset(k, position));
                else if (!(periodic_ && repeats_[k] && start != begin)) fetch(k, position, at[k] = memory + k * slot, n);
            }
            for (int k = 0; k < outputs_; ++k) {
                const int o = inputs_ + k;
                if (direct_[o]) at[program_.outputs[k]] = operands_[o].data + (flat_[o] ? start * size_of(operands_[o].type) : offset(o, position));
            }
            for (int s = 0; s < steps_; ++s) {
                const Step& step = steps_of_[s];
                if (step.scalar == SPREAD) {
                    step.loop(at[step.in[0]], at[step.in[1]], at[step.in[2]], at[step.out], 1, 0);
                    load(flag_ ? BOOL : compute_, flag_ ? BOOL : compute_, at[step.out], 0, at[step.out], n);
                } else {
                    step.loop(at[step.in[0]], at[step.in[1]], at[step.in[2]], at[step.out], n, step.scalar);
                }
            }
            for (int k = 0; k < outputs_; ++k) {
                if (!direct_[inputs_ + k]) deliver(inputs_ + k, position, at[program_.outputs[k]], n);
            }
            start += n;
            if (by_rows_ && (position[ndim_ - 1] += n) < length) continue;
            if (by_rows_ && ndim_ > 1) next_row(position);
            else locate(start, position);
        }
    }

    void next_row(index_t* position) const {
        position[ndim_ - 1] = 0;
        for (int i = ndim_ - 2; i > 0; --i) {
            if (++position[i] < extent_[i]) return;
            position[i] = 0;
        }
        ++position[0];
    }

    void locate(index_t flat, index_t* position) const {
        for (int i = ndim_ - 1; i > 0; --i) {
            position[i] = flat % extent_[i];
            flat /= extent_[i];
        }
        position[0] = flat;
    }

    index_t offset(int k, const index_t* position) const {
        index_t sum = 0;
        for (int i = 0; i < ndim_; ++i) sum += position[i] * operands_[k].stride[i];
        return sum;
    }

    // Calls f(offset, done, count) for the stretches along the last dimension that n elements from `position` on are made of.
    template <typename F> void stretches(int k, const index_t* position, index_t n, F&& f) const {
        index_t at[PROGRAM_DIMS];
        std::memcpy(at, position, sizeof(index_t) * ndim_);
        const int last = ndim_ - 1;
        for (index_t done = 0; done < n;) {
            index_t count = extent_[last] - at[last];
            if (count > n - done) count = n - done;
            f(offset(k, at), done, count);
            done += count;
            at[last] = 0;
            for (int i = last - 1; i >= 0; --i) {
                if (++at[i] < extent_[i]) break;
                at[i] = 0;
            }
        }
    }

    void fetch(int k, const index_t* position, char* into, index_t n) const {
        const Operand& each = operands_[k];
        stretches(k, position, n, [&](index_t from, index_t done, index_t count) {
            load(each.type, compute_, each.data + from, each.stride[ndim_ - 1], into + done * size_, count);
        });
    }

    void deliver(int k, const index_t* position, const char* block, index_t n) const {
        const Operand& each = operands_[k];
        stretches(k, position, n, [&](index_t to, index_t done, index_t count) {
            store(flag_ ? BOOL : compute_, each.type, block + done * (flag_ ? 1 : size_), each.data + to, each.stride[ndim_ - 1], count);
        });
    }

    const Program& program_;
    const Type compute_;
    const index_t size_;
    const int inputs_, outputs_;
    Operand operands_[MAX_INPUTS + MAX_OUTPUTS];
    int ndim_ = 0;
    index_t extent_[PROGRAM_DIMS], total_ = 0, block_ = 0;
    bool by_rows_ = false, flag_ = false, periodic_ = false;
    bool repeats_[MAX_INPUTS + MAX_OUTPUTS], scalar_[MAX_INPUTS + MAX_OUTPUTS], direct_[MAX_INPUTS + MAX_OUTPUTS], flat_[MAX_INPUTS + MAX_OUTPUTS];
    bool uniform_[MAX_REGISTERS];
    alignas(8) char value_[MAX_REGISTERS][8];
    Step steps_of_[MAX_CODE];
    int steps_ = 0;
};

}  // namespace

void evaluate(const Program& program, Type compute, Shape shape, const Operand* inputs, const Operand* outputs) {
    Evaluation(program, compute, shape, inputs, outputs).run();
}

void run_loop(Loop loop, int cost, const char* a, const char* b, const char* c, char* out, index_t n, index_t size, index_t out_size, unsigned scalar) {
    const index_t grain = ELEMENTS_PER_THREAD * 2 / (1 + cost);
    if (n <= grain) {
        loop(a, b, c, out, n, scalar);
        return;
    }
    WithoutGil release;
    parallel_for(n, grain, [&](index_t begin, index_t end) {
        loop(scalar & 1u ? a : a + begin * size, scalar & 2u || b == nullptr ? b : b + begin * size,
             scalar & 4u || c == nullptr ? c : c + begin * size, out + begin * out_size, end - begin, scalar);
    });
}

}  // namespace rushlight
