#include "blas.h"

#include <dlfcn.h>
#if defined(__APPLE__)
#include <mach-o/dyld.h>
#elif __has_include(<link.h>)
#include <link.h>  // glibc's and musl's
#endif

#include <atomic>
#include <cstring>
#include <mutex>
#include <string>

namespace rushlight {
namespace {

enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111, TRANSPOSE = 112 };

// OpenBLAS comes with 64-bit or with 32-bit integers, with and without a prefix.
template <typename T, typename Int> using Gemm = void (*)(int, int, int, Int, Int, Int, T, const T*, Int, const T*, Int, T, T*, Int);

struct Library {
    void *sgemm = nullptr, *dgemm = nullptr;
    bool wide = false;
    void* handle = nullptr;
    std::string prefix, suffix;  // around every name
    void (*set_threads)(int) = nullptr;
    int (*get_threads)() = nullptr;
};

// The path of the OpenBLAS that is loaded; empty where there is none, or where the system does not tell what is loaded.
#if defined(__APPLE__)
std::string find_path() {
    for (std::uint32_t i = 0; i < _dyld_image_count(); ++i) {
        const char* name = _dyld_get_image_name(i);
        if (name != nullptr && std::strstr(name, "openblas") != nullptr) return name;
    }
    return {};
}
#elif __has_include(<link.h>)
std::string find_path() {
    std::string path;
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* path) {
            if (info->dlpi_name == nullptr || std::strstr(info->dlpi_name, "openblas") == nullptr) return 0;
            *static_cast<std::string*>(path) = info->dlpi_name;
            return 1;
        },
        &path);
    return path;
}
#else
std::string find_path() { return {}; }
#endif

Library find_library() {
    Library found;
    const std::string path = find_path();
    if (path.empty()) return found;
    void* handle = dlopen(path.c_str(), RTLD_LAZY | RTLD_NOLOAD);
    if (handle == nullptr) return found;
    for (const char* prefix : {"scipy_", ""}) {
        for (const char* suffix : {"64_", ""}) {
            const auto symbol = [&](const char* name) { return dlsym(handle, (std::string(prefix) + name + suffix).c_str()); };
            found.sgemm = symbol("cblas_sgemm");
            found.dgemm = symbol("cblas_dgemm");
            if (found.sgemm == nullptr || found.dgemm == nullptr) continue;
            found.wide = *suffix != '\0';
            found.handle = handle;
            found.prefix = prefix;
            found.suffix = suffix;
            found.set_threads = reinterpret_cast<void (*)(int)>(symbol("openblas_set_num_threads"));
            found.get_threads = reinterpret_cast<int (*)()>(symbol("openblas_get_num_threads"));
            return found;
        }
    }
    return found;
}

const Library& library() {
    static const Library found = find_library();
    return found;
}

template <typename T> void call(void* symbol, bool transpose_a, bool transpose_b, index_t m, index_t n, index_t k, T alpha, const T* a,
                                index_t lda, const T* b, index_t ldb, T beta, T* c, index_t ldc) {
    const int ta = transpose_a ? TRANSPOSE : NO_TRANSPOSE, tb = transpose_b ? TRANSPOSE : NO_TRANSPOSE;
    if (library().wide) {
        reinterpret_cast<Gemm<T, std::int64_t>>(symbol)(ROW_MAJOR, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    } else {
        reinterpret_cast<Gemm<T, int>>(symbol)(ROW_MAJOR, ta, tb, static_cast<int>(m), static_cast<int>(n), static_cast<int>(k), alpha, a,
                                               static_cast<int>(lda), b, static_cast<int>(ldb), beta, c, static_cast<int>(ldc));
    }
}

// Kernels of several Python threads may overlap: the first one in switches to one thread, the last one out switches back.
std::mutex serial_mutex;
int serial_users = 0, saved_threads = 1;

}  // namespace

void* blas_symbol(const char* name) {
    return library().handle == nullptr ? nullptr : dlsym(library().handle, (library().prefix + name + library().suffix).c_str());
}

bool blas_is_wide() { return library().wide; }

bool have_blas() { return library().sgemm != nullptr; }

void gemm(bool ta, bool tb, index_t m, index_t n, index_t k, float alpha, const float* a, index_t lda, const float* b, index_t ldb,
          float beta, float* c, index_t ldc) {
    call(library().sgemm, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void gemm(bool ta, bool tb, index_t m, index_t n, index_t k, double alpha, const double* a, index_t lda, const double* b, index_t ldb,
          double beta, double* c, index_t ldc) {
    call(library().dgemm, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

SerialBlas::SerialBlas() : threads_(0) {
    if (library().set_threads == nullptr || library().get_threads == nullptr) return;
    std::lock_guard<std::mutex> lock(serial_mutex);
    if (serial_users++ == 0) {
        saved_threads = library().get_threads();
        if (saved_threads != 1) library().set_threads(1);
    }
    threads_ = 1;
}

SerialBlas::~SerialBlas() {
    if (threads_ == 0) return;
    std::lock_guard<std::mutex> lock(serial_mutex);
    if (--serial_users == 0 && saved_threads != 1) library().set_threads(saved_threads);
}

}  // namespace rushlight
