// Memory beside a page that may not be touched: whatever reads or writes beyond it ends the program, also an instruction that
// AddressSanitizer does not see, such as a masked load. Each second piece ends where the page begins, the others begin where
// one ends. Under AddressSanitizer it is the heap's, which is watched at both ends.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#ifdef BEVEL_SANITIZE
using Bytes = std::vector<char>;
#else
class Bytes {
    static constexpr size_t PAGE = 65536;  // a multiple of any system's
    size_t size_, room_ = PAGE;
    char *region_, *data_;

    // Regions that are free, by their room; mapping one takes longer than most cases.
    static std::vector<char*>& free_ones(size_t room) {
        static std::map<size_t, std::vector<char*>> known;
        return known[room];
    }
    static char* region_of(size_t room) {
        std::vector<char*>& free = free_ones(room);
        if (!free.empty()) {
            char* const last = free.back();
            free.pop_back();
            return last;
        }
        void* const all = mmap(nullptr, room + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (all == MAP_FAILED) std::abort();
        char* const region = static_cast<char*>(all) + PAGE;
        if (mprotect(region, room, PROT_READ | PROT_WRITE) != 0) std::abort();
        return region;
    }

  public:
    Bytes(size_t size, char fill) : size_(size) {
        static bool at_the_end = false;
        at_the_end = !at_the_end;
        while (room_ < size) room_ *= 2;
        region_ = region_of(room_);
        data_ = region_ + (at_the_end ? room_ - size : 0);
        std::memset(data_, fill, size);
    }
    Bytes(const Bytes& other) : Bytes(other.size_, 0) { std::memcpy(data_, other.data_, size_); }
    Bytes& operator=(Bytes other) {
        std::swap(size_, other.size_), std::swap(room_, other.room_);
        std::swap(region_, other.region_), std::swap(data_, other.data_);
        return *this;
    }
    ~Bytes() { free_ones(room_).push_back(region_); }

    char* data() { return data_; }
    const char* data() const { return data_; }
    size_t size() const { return size_; }
    bool operator==(const Bytes& other) const { return size_ == other.size_ && std::memcmp(data_, other.data_, size_) == 0; }
};
#endif
