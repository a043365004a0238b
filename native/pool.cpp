#include "pool.h"

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

namespace rushlight {
namespace {

// Chunks per thread: enough that a thread that was held up does not keep the others waiting.
constexpr index_t CHUNKS_PER_THREAD = 4;
constexpr int SPINS = 2000;  // some microseconds: a step's next kernel follows soon

// A job's chunks lie in as many parts as threads. Each thread begins with its own part, the same one in every job of this size, so that
// what it wrote in one kernel is in its cache in the next; who is done early takes from the others.
struct Job {
    RangeFunction function = nullptr;
    void* context = nullptr;
    index_t total = 0, chunk = 0, chunks = 0;
    int parts = 1;
    int tickets = 0;  // workers that may still join; guarded by the pool's mutex
    int working = 0;  // workers inside; guarded by the pool's mutex

    index_t first_of(int part) const { return chunks * part / parts; }

    void work(int own, std::atomic<index_t>* const* next) const {
        for (int i = 0; i < parts; ++i) {
            const int part = own + i < parts ? own + i : own + i - parts;
            for (;;) {
                const index_t at = next[part]->fetch_add(1, std::memory_order_relaxed);
                if (at >= first_of(part + 1)) break;
                const index_t begin = at * chunk;
                function(context, begin, begin + chunk < total ? begin + chunk : total);
            }
        }
    }
};

inline void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

thread_local bool inside_job = false;  // a kernel that is called from a kernel runs where it is

class Pool {
  public:
    void run(index_t total, index_t chunk, int threads, RangeFunction function, void* context) {
        start(threads - 1);
        Job job;
        job.function = function;
        job.context = context;
        job.total = total;
        job.chunk = chunk;
        job.chunks = (total + chunk - 1) / chunk;
        job.parts = threads;
        for (int part = 0; part < threads; ++part) next_[part]->store(job.first_of(part), std::memory_order_relaxed);
        {
            std::lock_guard<std::mutex> lock(mutex_);
            job.tickets = threads - 1;
            job_ = &job;
            serial_.fetch_add(1, std::memory_order_release);
        }
        if (sleeping_.load(std::memory_order_acquire) > 0) wake_.notify_all();
        inside_job = true;
        job.work(0, next_.data());
        inside_job = false;
        std::unique_lock<std::mutex> lock(mutex_);
        job_ = nullptr;  // nobody joins any more
        if (job.working > 0) {
            lock.unlock();
            for (int i = 0; i < SPINS; ++i) {
                if (inside_.load(std::memory_order_acquire) == 0) break;
                pause();
            }
            lock.lock();
            done_.wait(lock, [&] { return job.working == 0; });
        }
    }

    std::mutex busy;  // held by the caller whose job runs

  private:
    void start(int wanted) {
        while (static_cast<int>(next_.size()) <= wanted) next_.push_back(new (std::align_val_t(64)) std::atomic<index_t>(0));  // kept for good
        while (static_cast<int>(workers_.size()) < wanted) {
            const int number = static_cast<int>(workers_.size()) + 1;
            workers_.emplace_back([this, number] { worker(number); });
            workers_.back().detach();  // the process may end while they sleep
        }
    }

    void worker(int number);

    std::mutex mutex_;
    std::condition_variable wake_, done_;
    std::vector<std::thread> workers_;
    std::vector<std::atomic<index_t>*> next_;  // per part, each on a cache line of its own: the next chunk
    std::atomic<std::uint64_t> serial_{0};
    std::atomic<int> sleeping_{0}, inside_{0};
    Job* job_ = nullptr;
};

void Pool::worker(int number) {
    inside_job = true;
    std::uint64_t seen = 0;
    for (;;) {
        for (int i = 0; i < SPINS && serial_.load(std::memory_order_acquire) == seen; ++i) pause();
        std::unique_lock<std::mutex> lock(mutex_);
        sleeping_.fetch_add(1);
        wake_.wait(lock, [&] { return serial_.load(std::memory_order_relaxed) != seen; });
        sleeping_.fetch_sub(1);
        seen = serial_.load(std::memory_order_relaxed);
        Job* job = job_;
        if (job == nullptr || job->tickets == 0) continue;
        const int own = number < job->parts ? number : job->tickets;
        --job->tickets;
        ++job->working;
        inside_.fetch_add(1);
        lock.unlock();
        job->work(own, next_.data());
        lock.lock();
        inside_.fetch_sub(1);
        if (--job->working == 0) done_.notify_all();
    }
}

// A child process has none of the threads: it starts over with a pool of its own (the old one is left as it is, locked perhaps).
Pool* pool = new Pool;
std::atomic<int> threads{0};

void after_fork() { pool = new Pool; }

int default_threads() {
    const unsigned n = std::thread::hardware_concurrency();
    return n == 0 ? 1 : static_cast<int>(n);
}

PyObject* set_threads(PyObject*, PyObject* value) {
    const long n = PyLong_AsLong(value);
    if (n == -1 && PyErr_Occurred()) return nullptr;
    if (n < 1 || n > 4096) {
        PyErr_SetString(PyExc_ValueError, "the number of threads has to be between 1 and 4096");
        return nullptr;
    }
    threads.store(static_cast<int>(n));
    Py_RETURN_NONE;
}

PyObject* get_threads(PyObject*, PyObject*) { return PyLong_FromLong(thread_count()); }

PyMethodDef methods[] = {
    {"set_threads", set_threads, METH_O, "set_threads(n): how many threads kernels may use."},
    {"get_threads", get_threads, METH_NOARGS, "get_threads() -> int"},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int thread_count() {
    int n = threads.load(std::memory_order_relaxed);
    if (n == 0) {
        n = default_threads();
        threads.store(n);
    }
    return n;
}

void run_ranges(index_t total, index_t grain, RangeFunction function, void* context) {
    if (total <= 0) return;
    if (grain < 1) grain = 1;
    const index_t most = (total + grain - 1) / grain;
    const int n = static_cast<int>(most < thread_count() ? most : thread_count());
    if (n <= 1 || inside_job || !pool->busy.try_lock()) {
        function(context, 0, total);
        return;
    }
    index_t chunk = (total + n * CHUNKS_PER_THREAD - 1) / (n * CHUNKS_PER_THREAD);
    if (chunk < grain) chunk = grain;
    pool->run(total, chunk, n, function, context);
    pool->busy.unlock();
}

int add_threads(PyObject* module) {
    static bool registered = false;
    if (!registered) {
        pthread_atfork(nullptr, nullptr, after_fork);
        registered = true;
    }
    return PyModule_AddFunctions(module, methods);
}

}  // namespace rushlight
