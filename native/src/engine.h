// The instruction set in use, and how many threads a call is worth.
#pragma once

#include "task.h"

namespace bevel {

const Engine& engine();
int parts_for(int64_t elements, int threads);

}  // namespace bevel
