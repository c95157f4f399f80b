// The instruction set in use, and how many threads a call is worth.
#pragma once

#include "task.h"

namespace bevel {

class Call;

const Engine& engine();
int parts_for(int64_t elements, int threads);

// Runs a call in so many parts; each adds to its own block of sums, of which a forward pass has none.
void run(const Call& call, int parts, double* sums);

}  // namespace bevel
