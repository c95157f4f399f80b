// One instruction set's engine: picks the inner loop and walks the tensor. Compiled once per instruction set; nothing in
// here may be a template or inline function from outside the namespace (see task.h).
#include "bent.h"
#include "convert.h"
#include "inverse.h"
#include "sharp_many.h"

namespace bevel::BEVEL_ISA {
namespace {

template <template <class> class Kernel, bool Across> Loop<float> loop_with(const Task& task, bool back) {
    if (back) return backward_one<F32, Kernel, Across>;
    if (!task.ramps || task.multiplies_cdf) return forward_one<F32, Kernel, true, Across>;
    return task.steps ? forward_many<F32, Across> : forward_one<F32, Kernel, false, Across>;
}

// The same for the kernels most in use: they have plain loops as well.
template <template <class> class Kernel, bool Across> Loop<float> loop_of(const Task& task, bool back) {
    if (back) return plain_backward(task) ? backward_one<F32, Kernel, Across, true> : backward_one<F32, Kernel, Across>;
    return plain_forward(task) ? forward_one<F32, Kernel, false, Across, true> : loop_with<Kernel, Across>(task, back);
}

// Any number of knots and any kernel.
template <class F, bool Across> Loop<typename F::T> many(const Task& task, bool back) {
    if (task.kernel == BEVEL_SHARP) return back ? backward_sharp<F, Across> : forward_sharp<F, Across>;
    return back ? backward_many<F, Across> : forward_many<F, Across>;
}

// One knot has loops of its own in single precision; the rest shares one.
template <bool Across> Loop<float> choose(const Task& task, bool back, float) {
    switch (task.knots == 1 ? task.kernel : -1) {
        case BEVEL_SHARP: return loop_of<Sharp, Across>(task, back);
        case BEVEL_GAUSSIAN:
            return task.bulk ? loop_of<GaussianBulk, Across>(task, back) : loop_of<Gaussian, Across>(task, back);
        case BEVEL_LOGISTIC: return loop_with<Logistic, Across>(task, back);
        case BEVEL_LAPLACE: return loop_with<Laplace, Across>(task, back);
        case BEVEL_STUDENT: return loop_with<Student, Across>(task, back);
        case BEVEL_BOX: return loop_with<Box, Across>(task, back);
        case BEVEL_TRIANGLE: return loop_with<Triangle, Across>(task, back);
        case BEVEL_EPANECHNIKOV: return loop_with<Epanechnikov, Across>(task, back);
        case BEVEL_BIWEIGHT: return loop_with<Biweight, Across>(task, back);
        case BEVEL_TRIWEIGHT: return loop_with<Triweight, Across>(task, back);
        case BEVEL_COSINE: return loop_with<Cosine, Across>(task, back);
        case BEVEL_BUMP: return loop_with<Bump, Across>(task, back);
        case BEVEL_TABULATED: return loop_with<Tabulated, Across>(task, back);
        case BEVEL_GELU_TANH: return loop_with<GeluTanh, Across>(task, back);
        default: return many<F32, Across>(task, back);
    }
}
template <bool Across> Loop<double> choose(const Task& task, bool back, double) { return many<F64, Across>(task, back); }

// What puts x in the place of y, before the loop or, where no gradient is asked for, in its place.
template <bool Across> Loop<float> choose_inverse(const Task& task, float) {
    if (task.kernel != BEVEL_GAUSSIAN) return inverse<F32, Halley<FormsOfAny>, Across>;
    return task.multiplies_cdf || task.tilted ? inverse<F32, Halley<FormsOfGaussian>, Across> : inverse<F32, Series, Across>;
}
template <bool Across> Loop<double> choose_inverse(const Task&, double) { return inverse<F64, Halley<FormsOfAny>, Across>; }
void put_task_curves(const Task& task) { task.dtype == BEVEL_F64 ? put_curves<F64>(task) : put_curves<F32>(task); }

// ---- walking ------------------------------------------------------------------------------------------------------

constexpr int64_t PIECE = 8192;  // elements of a run in one tile

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Elements that have to be converted, or found from y, must fit into a buffer.
int64_t tile_rows(const Task& task) {
    const bool direct = (task.dtype == BEVEL_F32 || task.dtype == BEVEL_F64) && !task.from_output;
    const int64_t most = direct ? 8 * TILE : TILE;
    return smaller(most / smaller((task.channels + 15) / 16 * 16, COLUMNS), STRIP);
}

int64_t tiles(const Task& task) {
    if (task.across) return ceil_div(task.outer, tile_rows(task)) * ceil_div(task.channels, COLUMNS);
    return task.outer * task.channels * ceil_div(task.inner, PIECE);
}

template <class E> E* element(const Tensor& t, int64_t o, int64_t c, int64_t i) {
    return static_cast<E*>(t.data) + (o * t.stride[0] + c * t.stride[1] + i * t.stride[2]);
}

// The loop that runs strips, and buffers in the L1 cache for elements that have to be converted or gathered.
template <class F, class Io> struct Runner {
    using T = typename F::T;
    using E = typename Io::E;
    static constexpr bool direct = sizeof(E) == sizeof(T);
    const Task& task;
    const bool back, writes;
    double* const sums;
    const Loop<T> find, loop;
    const Tensor& result;
    int64_t o = 0, c = 0, piece = 0;  // along: where the next tile is
    alignas(64) T partial[bent_sums(BEVEL_MAX_KNOTS) * COLUMNS];
    alignas(64) T x[TILE], g[TILE], out[TILE];

    Runner(const Task& task_, double* sums_)
        : task(task_), back(task_.g.data != nullptr), writes(!back || task_.want_dx), sums(sums_),
          find(!task_.from_output ? nullptr : task_.across ? choose_inverse<true>(task_, T()) : choose_inverse<false>(task_, T())),
          loop(find != nullptr && !back ? find
               : task_.bent             ? bent_loop(task_, back, T())
               : task_.across           ? choose<true>(task_, back, T())
                                        : choose<false>(task_, back, T())),
          result(back ? task_.dx : task_.y) {
        const int used = !back ? 0 : task.bent ? bent_sums(task.knots) : bevel::sums(task.knots);
        for (int64_t i = 0; i < used * COLUMNS; ++i) partial[i] = 0;
    }

    // Coefficients and sums of one channel, or from one channel on.
    Strip<T> strip_at(int64_t channel) {
        Strip<T> s{};
        s.coefficient = static_cast<const T*>(task.coefficients) + channel;
        s.sum = sums == nullptr ? nullptr : sums + channel;
        s.partial = partial;
        return s;
    }

    // The gradients of a strip; if it holds y, first x is found, in the buffer.
    void run(Strip<T> s, int64_t row) {
        if (back && find != nullptr) {
            Strip<T> found = s;
            found.out = x, found.out_row = row;
            find(task, found);
            s.x = x, s.x_row = row;
        }
        loop(task, s);
    }

    // A tile of a tensor whose channels are adjacent.
    void across(int64_t tile) {
        const int64_t columns = ceil_div(task.channels, COLUMNS), height = tile_rows(task);
        const int64_t row = tile / columns * height, first = tile % columns * COLUMNS;
        const int64_t size = smaller(COLUMNS, task.channels - first), pitch = (size + 15) / 16 * 16;
        Strip<T> s = strip_at(first);
        s.rows = static_cast<int>(smaller(height, task.outer - row));
        set_length(s, size);
        if constexpr (direct) {
            s.x = element<E>(task.x, row, first, 0);
            s.x_row = task.x.stride[0];
            if (back) s.g = element<E>(task.g, row, first, 0);
            s.g_row = task.g.stride[0];
            if (writes) s.out = element<E>(result, row, first, 0);
            s.out_row = result.stride[0];
            run(s, pitch);
        } else {
            s.x = x, s.g = g, s.out = out;
            s.x_row = s.g_row = s.out_row = pitch;
            for (int64_t r = 0; r < s.rows; ++r) {
                Io::widen(element<E>(task.x, row + r, first, 0), x + r * pitch, size);
                if (back) Io::widen(element<E>(task.g, row + r, first, 0), g + r * pitch, size);
            }
            run(s, pitch);
            for (int64_t r = 0; writes && r < s.rows; ++r)
                Io::narrow(out + r * pitch, element<E>(result, row + r, first, 0), size);
        }
    }

    void go_to(int64_t tile) {
        const int64_t pieces = ceil_div(task.inner, PIECE), run = tile / pieces;
        o = run / task.channels, c = run % task.channels, piece = tile % pieces;
    }

    // A piece of a run; then on to the next.
    void along() {
        const int64_t first = piece * PIECE, last = smaller(first + PIECE, task.inner);
        const bool dense = task.x.stride[2] == 1 && (!back || task.g.stride[2] == 1) &&
                           (!writes || result.stride[2] == 1);
        constexpr int64_t most = smaller(STRIP * F::W, TILE);
        Strip<T> s = strip_at(task.channel_period != 0 ? c : 0);
        s.rows = 1;
        for (int64_t i = first; i < last; i += most) {
            const int64_t size = smaller(most, last - i);
            set_length(s, size);
            if (direct && dense)
                contiguous(s, i);
            else
                buffered(s, i, size, dense);
        }
        if (last < task.inner)
            ++piece;
        else if (piece = 0, ++c == task.channels)
            c = 0, ++o;
    }

    void contiguous(Strip<T>& s, int64_t i) {
        s.x = element<T>(task.x, o, c, i);
        if (back) s.g = element<T>(task.g, o, c, i);
        if (writes) s.out = element<T>(result, o, c, i);
        run(s, 0);
    }

    void buffered(Strip<T>& s, int64_t i, int64_t size, bool dense) {
        E part[TILE];
        const auto fetch = [&](const Tensor& t, T* to) {
            if (dense) return Io::widen(element<E>(t, o, c, i), to, size);
            for (int64_t j = 0; j < size; ++j) part[j] = *element<E>(t, o, c, i + j);
            Io::widen(part, to, size);
        };
        fetch(task.x, x);
        if (back) fetch(task.g, g);
        s.x = x, s.g = g, s.out = out;
        run(s, 0);
        if (!writes) return;
        Io::narrow(out, dense ? element<E>(result, o, c, i) : part, size);
        for (int64_t j = 0; !dense && j < size; ++j) *element<E>(result, o, c, i + j) = part[j];
    }

    static void set_length(Strip<T>& s, int64_t size) {
        s.count = static_cast<int>(ceil_div(size, F::W));
        s.full = static_cast<int>(size / F::W);
        s.lanes = static_cast<int>(size % F::W);
    }
};

template <class F, class Io> void run_as(const Task& task, int64_t begin, int64_t end, double* sums) {
    Runner<F, Io> runner(task, sums);
    if (!task.across) runner.go_to(begin);
    for (int64_t tile = begin; tile < end; ++tile) {
        if (task.across)
            runner.across(tile);
        else
            runner.along();
    }
}

void run(const Task& task, int64_t begin, int64_t end, double* sums) {
    switch (task.dtype) {
        case BEVEL_F32: return run_as<F32, Same<F32>>(task, begin, end, sums);
        case BEVEL_F64: return run_as<F64, Same<F64>>(task, begin, end, sums);
        case BEVEL_BF16: return run_as<F32, Widened<Bf16>>(task, begin, end, sums);
        default: return run_as<F32, Widened<F16>>(task, begin, end, sums);
    }
}

}  // namespace

}  // namespace bevel::BEVEL_ISA

#include "pair_runner.h"

namespace bevel::BEVEL_ISA {

int64_t second_tiles(const Task&);  // second_engine.cpp has these two
void run_second(const Task&, const Second&, int64_t begin, int64_t end, double* sums);
extern const Engine engine;
const Engine engine = {BEVEL_ISA_NAME, put_task_curves, tiles, run, second_tiles, run_second, pair_tiles, run_pair};

}  // namespace bevel::BEVEL_ISA
