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
    int (*const families[])(PyObject*) = {  // one line each: two people can add theirs
        add_threads,
        add_elementwise,
        add_fuse,
        add_step,
        add_function,
        add_convert,
        add_matmul,
        add_linear,
        add_allocator,
        add_dispatch,
        add_record,
        add_random,
        add_sampling,
        add_backward,
        add_memory,
    };
    bool good = PyModule_AddStringConstant(module, "level", RUSHLIGHT_LEVEL) == 0;
    for (auto* add : families) good = good && add(module) == 0;
    if (!good) {
        Py_DECREF(module);
        return nullptr;
    }
    return module;
}

}  // namespace

#define RUSHLIGHT_INIT_2(name) PyInit_##name
#define RUSHLIGHT_INIT(name) RUSHLIGHT_INIT_2(name)

PyMODINIT_FUNC RUSHLIGHT_INIT(RUSHLIGHT_MODULE)(void) { return create(); }
