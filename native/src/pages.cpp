#include "pages.h"

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace bevel {

#if defined(MADV_HUGEPAGE)
namespace {
constexpr int64_t LARGE = 4 << 20;  // two pages: less seldom has a whole one in it
}

void advise(void* begin, int64_t bytes) {
    if (bytes < LARGE) return;
    static const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    const uintptr_t at = reinterpret_cast<uintptr_t>(begin), first = at / page * page;
    madvise(reinterpret_cast<void*>(first), (at - first) + static_cast<uintptr_t>(bytes), MADV_HUGEPAGE);
}
#else
void advise(void*, int64_t) {}
#endif

}  // namespace bevel
