// The second pass for one instruction set: walks dense tensors that lie alike. Compiled once per instruction set, as
// engine.cpp is.
#include "convert.h"
#include "second_one.h"

namespace bevel::BEVEL_ISA {
namespace {

constexpr int64_t PIECE = 8192;  // elements of a run in one tile

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// A tile is what is converted and computed at once.
template <class F, class Io> struct SecondRunner {
    using T = typename F::T;
    using E = typename Io::E;
    static constexpr bool direct = sizeof(E) == sizeof(T);
    const Task& task;
    const Second& second;
    double* const sums;
    const SecondLoop<T> loop;
    alignas(64) T partial[bent_second_sums(BEVEL_MAX_KNOTS) * COLUMNS];
    alignas(64) T in[3][TILE], out[2][TILE];

    SecondRunner(const Task& task_, const Second& second_, double* sums_) : task(task_), second(second_), sums(sums_),
          loop(task_.bent     ? bent_second_loop(task_.across, T())
               : task_.across ? choose_second<true>(task_, T())
                              : choose_second<false>(task_, T())) {
        const int used = task.bent ? bent_second_sums(task.knots) : second_sums(task.knots);
        for (int64_t i = 0; i < used * COLUMNS; ++i) partial[i] = 0;
    }

    // `rows` times `size` elements from `offset` on; their coefficients begin at `channel`.
    void block(int64_t offset, int64_t row, int64_t rows, int64_t size, int64_t channel) {
        const int64_t pitch = direct ? row : (size + 15) / 16 * 16;
        const void* const from[] = {task.x.data, task.g.data, second.a};
        void* const to[] = {second.h, second.dx};
        const T* given[3];
        T* wanted[2];
        for (int k = 0; k < 3; ++k) {
            const E* const p = static_cast<const E*>(from[k]);
            if constexpr (direct) {
                given[k] = p == nullptr ? nullptr : p + offset;
            } else {
                given[k] = p == nullptr ? nullptr : in[k];
                for (int64_t r = 0; p != nullptr && r < rows; ++r) Io::widen(p + offset + r * row, in[k] + r * pitch, size);
            }
        }
        for (int k = 0; k < 2; ++k) {
            if constexpr (direct) wanted[k] = to[k] == nullptr ? nullptr : static_cast<T*>(to[k]) + offset;
            else wanted[k] = to[k] == nullptr ? nullptr : out[k];
        }
        SecondStrip<T> s{given[0], given[1], given[2], wanted[0], wanted[1], pitch, static_cast<int>(rows),
                         static_cast<int>(ceil_div(size, F::W)), static_cast<int>(size / F::W), static_cast<int>(size % F::W),
                         static_cast<const T*>(task.coefficients) + channel, static_cast<const T*>(second.direction) + channel,
                         sums == nullptr ? nullptr : sums + channel, partial};
        loop(task, second, s);
        if constexpr (!direct)
            for (int k = 0; k < 2; ++k)
                for (int64_t r = 0; to[k] != nullptr && r < rows; ++r)
                    Io::narrow(out[k] + r * pitch, static_cast<E*>(to[k]) + offset + r * row, size);
    }

    void across(int64_t begin, int64_t end) {  // rows
        const int64_t width = smaller((task.channels + 15) / 16 * 16, COLUMNS), height = smaller(TILE / width, STRIP);
        for (int64_t r = begin; r < end; r += height)
            for (int64_t c = 0; c < task.channels; c += COLUMNS)
                block(r * task.channels + c, task.channels, smaller(height, end - r), smaller(COLUMNS, task.channels - c), c);
    }

    void along(int64_t run, int64_t first, int64_t last) {
        constexpr int64_t most = smaller(STRIP * F::W, TILE);
        const int64_t channel = task.channel_period != 0 ? run % task.channels : 0;
        for (int64_t i = first; i < last; i += most) block(run * task.inner + i, 0, 1, smaller(most, last - i), channel);
    }
};

template <class F, class Io> void run_as(const Task& task, const Second& second, int64_t begin, int64_t end, double* sums) {
    SecondRunner<F, Io> runner(task, second, sums);
    if (task.across) return runner.across(begin, end);
    const int64_t pieces = ceil_div(task.inner, PIECE);
    for (int64_t tile = begin; tile < end; ++tile) {
        const int64_t first = tile % pieces * PIECE;
        runner.along(tile / pieces, first, smaller(first + PIECE, task.inner));
    }
}

}  // namespace

int64_t second_tiles(const Task& task) { return task.across ? task.outer : task.outer * task.channels * ceil_div(task.inner, PIECE); }

void run_second(const Task& task, const Second& second, int64_t begin, int64_t end, double* sums) {
    switch (task.dtype) {
        case BEVEL_F32: return run_as<F32, Same<F32>>(task, second, begin, end, sums);
        case BEVEL_F64: return run_as<F64, Same<F64>>(task, second, begin, end, sums);
        case BEVEL_BF16: return run_as<F32, Widened<Bf16>>(task, second, begin, end, sums);
        default: return run_as<F32, Widened<F16>>(task, second, begin, end, sums);
    }
}

}  // namespace bevel::BEVEL_ISA
