// The one thread pool of the library. The calling thread works too; helpers sleep between jobs after a short spin.
#pragma once

#include <type_traits>

#include "rushlight.h"

namespace rushlight {

// How many threads a kernel may use (torch.set_num_threads).
int thread_count();

using RangeFunction = void (*)(void* context, index_t begin, index_t end);

// Calls function(context, begin, end) on ranges that cover [0, total), from several threads; returns when all are done. Ranges are at
// least `grain` long. Runs in the calling thread alone when the pool is busy with another caller's job, when called from a worker, or
// when there is too little to do. The function must not touch Python.
void run_ranges(index_t total, index_t grain, RangeFunction function, void* context);

// The same for a lambda (begin, end).
template <typename F> inline void parallel_for(index_t total, index_t grain, F&& f) {
    if (total <= 0) return;
    if (total <= grain) {
        f(index_t(0), total);
        return;
    }
    using Function = std::remove_reference_t<F>;
    run_ranges(total, grain, [](void* context, index_t begin, index_t end) { (*static_cast<Function*>(context))(begin, end); },
               const_cast<void*>(static_cast<const void*>(&f)));
}

// From how many elements of simple arithmetic on a second thread pays.
constexpr index_t ELEMENTS_PER_THREAD = 16384;

}  // namespace rushlight
