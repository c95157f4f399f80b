// Linking an OpenMP runtime would be a mistake: torch's wheels bring their own copy, under names that have changed between
// releases, and two runtimes in a process are two pools of threads that fight for the cores. So none is linked. The one
// that libtorch_cpu itself uses is found through its dependencies, else any that is loaded; libgomp, Intel's and LLVM's
// runtimes on Linux all have the entry points below. Without one, everything runs on the calling thread.
#include "threads.h"

#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#if defined(__linux__)
#include <link.h>
#endif

#include <atomic>
#include <cstring>
#include <initializer_list>

namespace bevel {
namespace {

struct Runtime {
    void (*parallel)(void (*)(void*), void*, unsigned threads, unsigned flags);
    int (*thread_num)();
    int (*num_threads)();
    const char* name;
};

Runtime runtime;                        // written once, before `found` is
std::atomic<bool> found{false};
std::atomic_flag looking = ATOMIC_FLAG_INIT;

bool bind(void* handle) {
    void* const parallel = dlsym(handle, "GOMP_parallel");
    void* const thread_num = dlsym(handle, "omp_get_thread_num");
    void* const num_threads = dlsym(handle, "omp_get_num_threads");
    if (parallel == nullptr || thread_num == nullptr || num_threads == nullptr) return false;
    Dl_info info;
    runtime.name = dladdr(parallel, &info) != 0 && info.dli_fname != nullptr ? info.dli_fname : "unnamed";
    std::memcpy(&runtime.parallel, &parallel, sizeof parallel);
    std::memcpy(&runtime.thread_num, &thread_num, sizeof thread_num);
    std::memcpy(&runtime.num_threads, &num_threads, sizeof num_threads);
    return true;
}

#if defined(__linux__)
// dlsym on an object that is loaded searches it and what it depends on, nearest first.
int bind_named(dl_phdr_info* info, size_t, void* part) {
    if (info->dlpi_name == nullptr || std::strstr(info->dlpi_name, static_cast<const char*>(part)) == nullptr) return 0;
    void* const handle = dlopen(info->dlpi_name, RTLD_NOLOAD | RTLD_LAZY);
    if (handle == nullptr) return 0;
    const bool ok = bind(handle);
    dlclose(handle);  // the object stays: whoever loaded it holds it
    return ok ? 1 : 0;
}

bool search() {
    for (const char* name : {"libtorch_cpu", "libgomp", "libiomp5", "libomp"}) {
        char part[32];
        std::strcpy(part, name);
        if (dl_iterate_phdr(bind_named, part) != 0) return true;
    }
    return bind(RTLD_DEFAULT);
}
#else
bool search() { return bind(RTLD_DEFAULT); }
#endif

bool available() {
    if (found.load(std::memory_order_acquire)) return true;
    if (looking.test_and_set(std::memory_order_acquire)) return found.load(std::memory_order_acquire);
    if (!found.load(std::memory_order_acquire) && search()) found.store(true, std::memory_order_release);
    looking.clear(std::memory_order_release);
    return found.load(std::memory_order_acquire);
}

// A fork takes one thread into the child. The runtime's pool looks whole there, and a call that waits for its threads never
// returns; torch's own operators have the same fault. Whether the parent had a pool is not asked of the runtime, which does
// not tell, but of the system: a process with one thread has none.
bool several = false;  // as the fork begins
std::atomic<bool> forked{false};

void before_fork() {
    several = true;
#if defined(__linux__)
    if (DIR* const tasks = opendir("/proc/self/task")) {
        int count = 0;
        for (const dirent* entry = readdir(tasks); entry != nullptr; entry = readdir(tasks)) count += entry->d_name[0] != '.';
        several = count > 1;
        closedir(tasks);
    }
#endif
}

void in_child() {
    if (several) forked.store(true, std::memory_order_relaxed);
}

[[maybe_unused]] const int registered = pthread_atfork(before_fork, nullptr, in_child);

struct Job {
    int parts;
    void (*work)(void*, int);
    void* context;
};

// Parts are dealt out by thread number, and all are done even if the runtime gives fewer threads than asked for.
void run(void* data) {
    const Job& job = *static_cast<const Job*>(data);
    const int threads = runtime.num_threads();
    for (int part = runtime.thread_num(); part < job.parts; part += threads) job.work(job.context, part);
}

}  // namespace

void parallel(int parts, void (*work)(void*, int), void* context) {
    if (parts > 1 && !forked.load(std::memory_order_relaxed) && available()) {
        Job job{parts, work, context};
        runtime.parallel(run, &job, static_cast<unsigned>(parts), 0);
        return;
    }
    for (int part = 0; part < parts; ++part) work(context, part);
}

const char* runtime_name() { return available() ? runtime.name : "none"; }

}  // namespace bevel
