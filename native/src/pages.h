// Memory that the kernel has yet to supply.
#pragma once

#include <cstdint>

namespace bevel {

// Asks for huge pages where a large result is about to be written; does nothing where there are none. Memory that malloc
// has just got from the kernel is supplied and cleared page by page as it is first written, which costs several times what
// the writing does: of 4 kB a page, 33 MB take 8000 interrupts.
void advise(void* begin, int64_t bytes);

}  // namespace bevel
