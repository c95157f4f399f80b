// Threads: those of the OpenMP runtime that the process has loaded already, and never a second pool.
#pragma once

namespace bevel {

// Calls work(context, part) for every part in [0, parts), each once, on up to `parts` threads; on one in a process that was
// forked from one with several, whose pool of threads is gone.
void parallel(int parts, void (*work)(void* context, int part), void* context);

// The file of the runtime in use, or "none".
const char* runtime_name();

}  // namespace bevel
