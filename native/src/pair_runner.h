// f(min(gate, limit))·(clamp(up, -limit, limit) + offset) and its gradients: the loops of f on tiles that lie in the L1 cache.
// engine.cpp includes this behind its choice of loops.
#pragma once

#include "paired.h"

namespace bevel::BEVEL_ISA {
namespace {

// A number and the next above it: a ≤ limit is a < next.
template <class T> struct Limit {
    T most, next;
    bool given;

    explicit Limit(double limit)
        : most(static_cast<T>(limit)), next(__builtin_nextafter(most, __builtin_huge_val())), given(limit < __builtin_huge_val()) {}
};
template <> Limit<float>::Limit(double limit)
    : most(static_cast<float>(limit)), next(__builtin_nextafterf(most, __builtin_huge_valf())), given(limit < __builtin_huge_val()) {}

template <class F, class Io> struct PairRunner {
    using T = typename F::T;
    using V = typename F::V;
    using E = typename Io::E;
    const Task& task;
    const Paired& pair;
    const bool back;
    double* const sums;
    Task ahead;  // for the value of f
    const Loop<T> value, gradient;
    const Limit<T> limit;
    const bool adjacent;  // in all tensors an element follows the other
    alignas(64) T partial[bent_sums(BEVEL_MAX_KNOTS) * COLUMNS];
    alignas(64) T x[TILE], g[TILE], up[TILE], act[TILE];

    static Loop<T> loop(const Task& task, bool back) {
        return task.bent ? bent_loop(task, back, T()) : task.across ? choose<true>(task, back, T()) : choose<false>(task, back, T());
    }
    static Task forward_task(const Task& task) {
        Task ahead = task;
        ahead.want_dx = ahead.want_sums = ahead.needs_density = false;
        ahead.needs_survival = ahead.needs_excess = ahead.needs_moment = true;
        ahead.needs_second = ahead.bent;
        return ahead;
    }

    PairRunner(const Task& task_, const Paired& pair_, double* sums_)
        : task(task_), pair(pair_), back(task_.g.data != nullptr), sums(sums_), ahead(forward_task(task_)), value(loop(ahead, false)),
          gradient(back ? loop(task_, true) : nullptr), limit(pair_.limit),
          adjacent(task_.x.stride[2] == 1 && task_.y.stride[2] == 1 && task_.g.stride[2] == 1 && task_.dx.stride[2] == 1) {
        const int used = !back ? 0 : task.bent ? bent_sums(task.knots) : bevel::sums(task.knots);
        for (int64_t i = 0; i < used * COLUMNS; ++i) partial[i] = 0;
    }

    template <class Each> static void for_each(int64_t count, Each each) {
        for (int64_t i = 0; i < count; i += F::W) each(i);
    }
    static void gather(const E* from, int64_t stride, T* to, int64_t size) {
        E part[TILE];
        for (int64_t j = 0; j < size; ++j) part[j] = from[j * stride];
        Io::widen(part, to, size);
    }
    static void scatter(const T* from, E* to, int64_t stride, int64_t size) {
        E part[TILE];
        Io::narrow(from, part, size);
        for (int64_t j = 0; j < size; ++j) to[j * stride] = part[j];
    }
    V factor(V u) const {  // what f is multiplied by
        if (limit.given) u = F::max(F::set(-limit.most), F::min(F::set(limit.most), u));
        return u + F::set(static_cast<T>(pair.offset));
    }

    // As `buffered`, on elements that need neither conversion nor gathering: only f's value, and what is multiplied with its
    // gradient, go through buffers.
    void direct(int64_t o, int64_t c, int64_t i, int64_t rows, int64_t size, int64_t pitch, int64_t channel) {
        const auto at = [&](const Tensor& t, int64_t r) { return element<T>(t, o + r, c, i); };
        const auto each = [&](auto body) {  // row, column, and how many lanes there are, 0 for all
            for (int64_t r = 0; r < rows; ++r)
                for (int64_t j = 0; j < size; j += F::W) body(r, j, j + F::W <= size ? 0 : static_cast<int>(size - j));
        };
        const auto load = [](const T* p, int lanes) { return lanes == 0 ? F::load(p) : F::load_part(p, lanes); };
        const auto store = [](T* p, V a, int lanes) { lanes == 0 ? F::store(p, a) : F::store_part(p, a, lanes); };
        Strip<T> s = strip(rows, size, pitch, channel);
        if (limit.given) {
            each([&](int64_t r, int64_t j, int lanes) {
                F::store(x + r * pitch + j, F::min(F::set(limit.most), load(at(task.x, r) + j, lanes)));
            });
        } else {
            s.x = at(task.x, 0), s.x_row = task.x.stride[0];
        }
        if (!back || pair.dup.data != nullptr) value(ahead, s);
        if (!back)
            return each([&](int64_t r, int64_t j, int lanes) {
                store(at(task.dx, r) + j, F::load(act + r * pitch + j) * factor(load(at(task.y, r) + j, lanes)), lanes);
            });
        const bool want_dup = pair.dup.data != nullptr;
        each([&](int64_t r, int64_t j, int lanes) {
            const V u = load(at(task.y, r) + j, lanes), along = load(at(task.g, r) + j, lanes);
            if (want_dup) {
                V dup = along * F::load(act + r * pitch + j);
                if (limit.given) dup = F::keep(F::greater(F::set(limit.next), F::abs(u)), dup);
                store(at(pair.dup, r) + j, dup, lanes);
            }
            F::store(g + r * pitch + j, along * factor(u));
        });
        if (!task.want_dx && !task.want_sums) return;
        if (task.want_dx && !limit.given) s.out = at(task.dx, 0), s.out_row = task.dx.stride[0];
        gradient(task, s);
        if (task.want_dx && limit.given)
            each([&](int64_t r, int64_t j, int lanes) {
                const V d = F::keep(F::greater(F::set(limit.next), load(at(task.x, r) + j, lanes)), F::load(act + r * pitch + j));
                store(at(task.dx, r) + j, d, lanes);
            });
    }

    Strip<T> strip(int64_t rows, int64_t size, int64_t pitch, int64_t channel) {
        Strip<T> s{};
        s.x = x, s.g = g, s.out = act;
        s.x_row = s.g_row = s.out_row = pitch;
        s.rows = static_cast<int>(rows);
        s.count = static_cast<int>(ceil_div(size, F::W)), s.full = static_cast<int>(size / F::W), s.lanes = static_cast<int>(size % F::W);
        s.coefficient = static_cast<const T*>(task.coefficients) + channel;
        s.sum = sums == nullptr ? nullptr : sums + channel;
        s.partial = partial;
        return s;
    }

    void block(int64_t o, int64_t c, int64_t i, int64_t rows, int64_t size, int64_t pitch, int64_t channel) {
        if constexpr (sizeof(E) == sizeof(T))
            if (task.across || adjacent) return direct(o, c, i, rows, size, pitch, channel);
        buffered(o, c, i, rows, size, pitch, channel);
    }

    // `rows` times `size` elements, (o, c, i) the first; `pitch` apart in the buffers.
    void buffered(int64_t o, int64_t c, int64_t i, int64_t rows, int64_t size, int64_t pitch, int64_t channel) {
        const auto at = [&](const Tensor& t, int64_t r) { return element<E>(t, o + r, c, i); };
        const int64_t filled = rows == 1 ? (size + F::W - 1) / F::W * F::W : rows * pitch;
        const auto fetch = [&](const Tensor& t, T* to) {
            if (!task.across && t.stride[2] != 1) return gather(at(t, 0), t.stride[2], to, size);
            for (int64_t r = 0; r < rows; ++r) Io::widen(at(t, r), to + r * pitch, size);
        };
        const auto put = [&](const T* from, const Tensor& t) {
            if (!task.across && t.stride[2] != 1) return scatter(from, at(t, 0), t.stride[2], size);
            for (int64_t r = 0; r < rows; ++r) Io::narrow(from + r * pitch, at(t, r), size);
        };
        fetch(task.x, x), fetch(task.y, up);
        if (limit.given) for_each(filled, [&](int64_t j) { F::store(x + j, F::min(F::set(limit.most), F::load(x + j))); });
        Strip<T> s = strip(rows, size, pitch, channel);
        if (!back || pair.dup.data != nullptr) value(ahead, s);
        if (!back) {
            for_each(filled, [&](int64_t j) { F::store(act + j, F::load(act + j) * factor(F::load(up + j))); });
            return put(act, task.dx);
        }
        fetch(task.g, g);
        for_each(filled, [&](int64_t j) {
            const V u = F::load(up + j), along = F::load(g + j);
            V dup = along * F::load(act + j);
            if (limit.given) dup = F::keep(F::greater(F::set(limit.next), F::abs(u)), dup);
            F::store(g + j, along * factor(u));
            F::store(up + j, dup);
        });
        if (pair.dup.data != nullptr) put(up, pair.dup);
        if (!task.want_dx && !task.want_sums) return;
        gradient(task, s);
        if (!task.want_dx) return;
        if (limit.given) {
            fetch(task.x, x);  // as it was
            for_each(filled, [&](int64_t j) {
                F::store(act + j, F::keep(F::greater(F::set(limit.next), F::load(x + j)), F::load(act + j)));
            });
        }
        put(act, task.dx);
    }

    void across(int64_t tile) {
        const int64_t columns = ceil_div(task.channels, COLUMNS), height = pair_rows(task);
        const int64_t row = tile / columns * height, first = tile % columns * COLUMNS;
        const int64_t size = smaller(COLUMNS, task.channels - first);
        block(row, first, 0, smaller(height, task.outer - row), size, (size + 15) / 16 * 16, first);
    }
    void along(int64_t tile) {
        const int64_t pieces = ceil_div(task.inner, PIECE), run = tile / pieces, begin = tile % pieces * PIECE;
        const int64_t c = run % task.channels, last = smaller(begin + PIECE, task.inner);
        constexpr int64_t most = smaller(STRIP * F::W, TILE);
        for (int64_t i = begin; i < last; i += most)
            block(run / task.channels, c, i, 1, smaller(most, last - i), 0, task.channel_period != 0 ? c : 0);
    }

    static int64_t pair_rows(const Task& task) { return smaller(TILE / smaller((task.channels + 15) / 16 * 16, COLUMNS), STRIP); }
    static int64_t tiles(const Task& task) {
        if (task.across) return ceil_div(task.outer, pair_rows(task)) * ceil_div(task.channels, COLUMNS);
        return task.outer * task.channels * ceil_div(task.inner, PIECE);
    }
};

int64_t pair_tiles(const Task& task) { return PairRunner<F32, Same<F32>>::tiles(task); }

template <class F, class Io> void run_pair_as(const Task& task, const Paired& pair, int64_t begin, int64_t end, double* sums) {
    PairRunner<F, Io> runner(task, pair, sums);
    for (int64_t tile = begin; tile < end; ++tile) task.across ? runner.across(tile) : runner.along(tile);
}

void run_pair(const Task& task, const Paired& pair, int64_t begin, int64_t end, double* sums) {
    switch (task.dtype) {
        case BEVEL_F32: return run_pair_as<F32, Same<F32>>(task, pair, begin, end, sums);
        case BEVEL_F64: return run_pair_as<F64, Same<F64>>(task, pair, begin, end, sums);
        case BEVEL_BF16: return run_pair_as<F32, Widened<Bf16>>(task, pair, begin, end, sums);
        default: return run_pair_as<F32, Widened<F16>>(task, pair, begin, end, sums);
    }
}

}  // namespace
}  // namespace bevel::BEVEL_ISA
