// The extension module: _native_v2, _native_v3, _native_v4 or _native_generic, by the instruction set that it was compiled for.
#define RUSHLIGHT_IMPORTS_NUMPY
#include "rushlight.h"

namespace {

PyModuleDef definition = {PyModuleDef_HEAD_INIT, "rushlight native kernels", "Kernels in C++; see kernels/native.py.", -1, nullptr,
                          nullptr, nullptr, nullptr, nullptr};

PyObject* create() {
    import_array();
    PyObject* module = PyModule_Create(&definition);
    if (module == nullptr) return nullptr;
    using namespace rushlight;
    if (PyModule_AddStringConstant(module, "level", RUSHLIGHT_LEVEL) < 0 || add_threads(module) < 0 || add_elementwise(module) < 0 ||
        add_matmul(module) < 0 || add_allocator(module) < 0 || add_conv(module) < 0 ||
        add_rnn(module) < 0 || add_pooling(module) < 0) {
        Py_DECREF(module);
        return nullptr;
    }
    return module;
}

}  // namespace

#define RUSHLIGHT_INIT_2(name) PyInit_##name
#define RUSHLIGHT_INIT(name) RUSHLIGHT_INIT_2(name)

PyMODINIT_FUNC RUSHLIGHT_INIT(RUSHLIGHT_MODULE)(void) { return create(); }
