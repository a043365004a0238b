// Types: what NumPy calls them, and conversions between memory and the blocks that programs compute on. float16 and bfloat16 are widened
// to float and rounded back (to nearest, ties to even).
#include <cstring>

#include "halves.h"
#include "loops.h"

namespace rushlight {
namespace {

int bfloat16_number = -1;  // NumPy's number for ml_dtypes.bfloat16, once that is loaded

template <typename From, typename To, typename F> void convert(const char* data, index_t from_step, char* out, index_t to_step, index_t n, F f) {
    if (from_step == index_t(sizeof(From)) && to_step == index_t(sizeof(To))) {
        const From* a = reinterpret_cast<const From*>(data);
        To* r = reinterpret_cast<To*>(out);
#pragma omp simd
        for (index_t i = 0; i < n; ++i) r[i] = f(a[i]);
    } else if (from_step == 0 && to_step == index_t(sizeof(To))) {
        const To value = f(*reinterpret_cast<const From*>(data));
        To* r = reinterpret_cast<To*>(out);
        for (index_t i = 0; i < n; ++i) r[i] = value;
    } else {
        for (index_t i = 0; i < n; ++i) {
            *reinterpret_cast<To*>(out + i * to_step) = f(*reinterpret_cast<const From*>(data + i * from_step));
        }
    }
}

using byte = std::uint8_t;
template <typename T> T same(T x) { return x; }

void move(Type type, const char* data, index_t from_step, char* out, index_t to_step, index_t n) {
    const index_t size = size_of(type);
    if (from_step == size && to_step == size) {
        std::memcpy(out, data, n * size);
        return;
    }
    if (size == 8) convert<std::int64_t, std::int64_t>(data, from_step, out, to_step, n, same<std::int64_t>);
    else if (size == 4) convert<std::int32_t, std::int32_t>(data, from_step, out, to_step, n, same<std::int32_t>);
    else if (size == 2) convert<std::int16_t, std::int16_t>(data, from_step, out, to_step, n, same<std::int16_t>);
    else convert<byte, byte>(data, from_step, out, to_step, n, same<byte>);
}

PyObject* set_bfloat16(PyObject*, PyObject* dtype) {
    if (!PyArray_DescrCheck(dtype)) {
        PyErr_SetString(PyExc_TypeError, "set_bfloat16 takes a numpy.dtype");
        return nullptr;
    }
    bfloat16_number = reinterpret_cast<PyArray_Descr*>(dtype)->type_num;
    Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"set_bfloat16", set_bfloat16, METH_O, "set_bfloat16(dtype): which NumPy dtype bfloat16 is (ml_dtypes registers it)."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

Type type_of(PyArrayObject* array) {
    const int number = PyArray_TYPE(array);
    if (!PyArray_ISNOTSWAPPED(array)) return NO_TYPE;
    switch (number) {
        case NPY_FLOAT: return F32;
        case NPY_DOUBLE: return F64;
        case NPY_BOOL: return BOOL;
        case NPY_HALF: return F16;
        case NPY_INT64: return I64;
        case NPY_INT32: return I32;
        default: return number == bfloat16_number ? BF16 : NO_TYPE;
    }
}

bool loads(Type from, Type to) { return from == to || (from == BOOL && (to == F32 || to == F64)) || ((from == BF16 || from == F16) && to == F32); }
bool stores(Type from, Type to) { return from == to || (to == BOOL && (from == F32 || from == F64)) || ((to == BF16 || to == F16) && from == F32); }

void load(Type from, Type to, const char* data, index_t step, void* out_, index_t n) {
    char* out = static_cast<char*>(out_);
    if (from == to) return move(from, data, step, out, size_of(to), n);
    if (from == BOOL && to == F32) return convert<byte, float>(data, step, out, 4, n, [](byte x) { return static_cast<float>(x != 0); });
    if (from == BOOL) return convert<byte, double>(data, step, out, 8, n, [](byte x) { return static_cast<double>(x != 0); });
    if (from == BF16) return convert<std::uint16_t, float>(data, step, out, 4, n, from_bfloat16);
    convert<std::uint16_t, float>(data, step, out, 4, n, from_half);
}

void store(Type from, Type to, const void* block_, char* data, index_t step, index_t n) {
    const char* block = static_cast<const char*>(block_);
    if (from == to) return move(to, block, size_of(to), data, step, n);
    if (to == BOOL && from == F32) return convert<float, byte>(block, 4, data, step, n, [](float x) { return byte(x != 0.0f); });
    if (to == BOOL) return convert<double, byte>(block, 8, data, step, n, [](double x) { return byte(x != 0.0); });
    if (to == BF16) return convert<float, std::uint16_t>(block, 4, data, step, n, to_bfloat16);
    convert<float, std::uint16_t>(block, 4, data, step, n, to_half);
}

int add_convert(PyObject* module) { return PyModule_AddFunctions(module, methods); }

}  // namespace rushlight
