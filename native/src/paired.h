// What a pass of two inputs has beside a task: there x is gate, y is up, and dx is what is written first. Plain data, as in task.h.
#pragma once

#include "task.h"

namespace bevel {

struct Paired {
    Tensor dup;  // no data: not wanted
    double limit, offset;
};

}  // namespace bevel
