// A caching allocator for array memory: NumPy gets a data handler (NEP 49) that keeps freed blocks of 64 KiB and more for the next array of
// about that size, so that a training step pays for its page faults once. The cache is bounded; small blocks stay with the C library.
#include "pool.h"
#include "rushlight.h"

#if defined(__APPLE__)
#include <malloc/malloc.h>
#else
#include <malloc.h>
#endif
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <vector>

namespace rushlight {
namespace {

constexpr std::size_t SMALLEST = std::size_t(1) << 16;   // smaller ones go to malloc
constexpr std::size_t HUGE_PAGE = std::size_t(1) << 21;  // blocks of this size on ask for huge pages
constexpr int STEPS = 8;                                 // size classes per power of two: at most 1/8 of a block is unused
constexpr int CLASSES = 64 * STEPS;

std::size_t usable_size(void* block) {  // of memory that malloc gave
#if defined(__APPLE__)
    return malloc_size(block);
#else
    return malloc_usable_size(block);
#endif
}

void ask_for_huge_pages([[maybe_unused]] void* block, [[maybe_unused]] std::size_t size) {
#if defined(MADV_HUGEPAGE)  // Linux
    madvise(block, size, MADV_HUGEPAGE);
#endif
}

struct Cache {
    std::mutex mutex;
    std::vector<void*> free[CLASSES];
    std::size_t cached = 0, in_use = 0, peak = 0, limit = std::size_t(1) << 30;
    std::uint64_t hits = 0, misses = 0;
};

Cache* cache = new Cache;

// The class that a size belongs to, and the size that blocks of it have.
int class_of(std::size_t size, std::size_t* rounded) {
    const int top = 63 - __builtin_clzll((size - 1) | 1);       // size - 1 has its highest bit there
    const std::size_t step = (std::size_t(1) << top) / STEPS;
    const std::size_t base = std::size_t(1) << top;
    const std::size_t steps = size <= base ? 0 : (size - base + step - 1) / step;
    *rounded = base + steps * step;
    return steps == STEPS ? (top + 1) * STEPS : top * STEPS + static_cast<int>(steps);
}

void* fresh(std::size_t size) {
    void* block = nullptr;
    const std::size_t alignment = size >= HUGE_PAGE ? HUGE_PAGE : 64;
    if (posix_memalign(&block, alignment, size) != 0) return nullptr;
    if (size >= HUGE_PAGE) ask_for_huge_pages(block, size);
    return block;
}

std::size_t release(std::size_t keep) {  // frees cached blocks, largest first, until at most `keep` bytes are cached
    for (int i = CLASSES - 1; i >= 0 && cache->cached > keep; --i) {
        const std::size_t size = (std::size_t(1) << (i / STEPS)) / STEPS * (STEPS + i % STEPS);
        while (!cache->free[i].empty() && cache->cached > keep) {
            std::free(cache->free[i].back());
            cache->free[i].pop_back();
            cache->cached -= size;
        }
    }
    return cache->cached;
}

void* take(void*, std::size_t size) {
    if (size < SMALLEST) return std::malloc(size ? size : 1);
    std::size_t rounded;
    const int index = class_of(size, &rounded);
    std::unique_lock<std::mutex> lock(cache->mutex);
    cache->in_use += rounded;
    if (cache->in_use > cache->peak) cache->peak = cache->in_use;
    auto& blocks = cache->free[index];
    if (!blocks.empty()) {
        void* block = blocks.back();
        blocks.pop_back();
        cache->cached -= rounded;
        ++cache->hits;
        return block;
    }
    ++cache->misses;
    lock.unlock();
    void* block = fresh(rounded);
    if (block == nullptr) {  // perhaps what we hold back is what is missing
        lock.lock();
        release(0);
        lock.unlock();
        block = fresh(rounded);
    }
    if (block == nullptr) {
        lock.lock();
        cache->in_use -= rounded;
    }
    return block;
}

void give(void*, void* block, std::size_t size) {
    if (block == nullptr) return;
    if (size < SMALLEST) {
        std::free(block);
        return;
    }
    std::size_t rounded;
    const int index = class_of(size, &rounded);
    {
        std::lock_guard<std::mutex> lock(cache->mutex);
        cache->in_use -= rounded;
        if (cache->cached + rounded <= cache->limit) {
            cache->free[index].push_back(block);
            cache->cached += rounded;
            return;
        }
    }
    std::free(block);
}

void* take_zeroed(void* context, std::size_t count, std::size_t size) {
    if (size != 0 && count > SIZE_MAX / size) return nullptr;
    const std::size_t total = count * size;
    if (total < SMALLEST) return std::calloc(total ? total : 1, 1);
    void* block = take(context, total);
    if (block != nullptr) {
        parallel_for(static_cast<index_t>(total), 1 << 17, [&](index_t begin, index_t end) { std::memset(static_cast<char*>(block) + begin, 0, static_cast<std::size_t>(end - begin)); });
    }
    return block;
}

// Only ndarray.resize comes here. NumPy does not say how large the old block is: the C library's own answer, which is never too large to
// read, is used, and what is counted as in use may be off by that block.
void* resize(void* context, void* old, std::size_t size) {
    if (old == nullptr) return take(context, size);
    const std::size_t have = usable_size(old);
    if (have < SMALLEST && size < SMALLEST) return std::realloc(old, size ? size : 1);
    void* block = take(context, size);
    if (block == nullptr) return nullptr;
    std::memcpy(block, old, have < size ? have : size);
    std::free(old);
    return block;
}

PyDataMem_Handler handler = {"rushlight_cache", 1, {nullptr, take, take_zeroed, resize, give}};

PyObject* install(PyObject*, PyObject*) {
    PyObject* capsule = PyCapsule_New(&handler, "mem_handler", nullptr);
    if (capsule == nullptr) return nullptr;
    PyObject* old = PyDataMem_SetHandler(capsule);
    Py_DECREF(capsule);
    return old;
}

PyObject* statistics(PyObject*, PyObject*) {
    std::lock_guard<std::mutex> lock(cache->mutex);
    return Py_BuildValue("{s:K,s:K,s:K,s:K,s:K,s:K}", "cached_bytes", (unsigned long long)cache->cached, "used_bytes",
                         (unsigned long long)cache->in_use, "peak_bytes", (unsigned long long)cache->peak, "limit_bytes",
                         (unsigned long long)cache->limit, "hits", (unsigned long long)cache->hits, "misses", (unsigned long long)cache->misses);
}

PyObject* set_limit(PyObject*, PyObject* value) {
    const std::size_t limit = PyLong_AsSize_t(value);
    if (limit == static_cast<std::size_t>(-1) && PyErr_Occurred()) return nullptr;
    std::lock_guard<std::mutex> lock(cache->mutex);
    cache->limit = limit;
    release(limit);
    Py_RETURN_NONE;
}

PyObject* empty_cache(PyObject*, PyObject*) {
    std::lock_guard<std::mutex> lock(cache->mutex);
    release(0);
    Py_RETURN_NONE;
}

PyObject* reset_peak(PyObject*, PyObject*) {
    std::lock_guard<std::mutex> lock(cache->mutex);
    cache->peak = cache->in_use;
    Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"install_allocator", install, METH_NOARGS, "install_allocator(): NumPy takes array memory from the cache from now on (in this context). Returns the old handler."},
    {"memory_stats", statistics, METH_NOARGS, "memory_stats() -> dict: bytes in use, at most in use, and cached; cache hits and misses. Blocks of 64 KiB and more only."},
    {"set_cache_limit", set_limit, METH_O, "set_cache_limit(bytes): how much freed memory is kept at most."},
    {"empty_cache", empty_cache, METH_NOARGS, "empty_cache(): give all cached memory back."},
    {"reset_peak", reset_peak, METH_NOARGS, "reset_peak(): peak_bytes starts anew."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int add_allocator(PyObject* module) { return PyModule_AddFunctions(module, methods); }

}  // namespace rushlight
