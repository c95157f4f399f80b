// The second pass: from cotangents of parameters to a direction of the coefficients, and from an engine's sums to gradients.
#include "second.h"

#include <cmath>
#include <initializer_list>
#include <limits>
#include <memory>
#include <new>

#include "engine.h"
#include "pages.h"
#include "plan.h"
#include "threads.h"

namespace bevel {

namespace {

double times(double weight, double sum) { return weight == 0 ? 0 : weight * sum; }  // sum may be inf

class SecondCall {
public:
    SecondCall(const bevel_plan& plan, const bevel_layout& layout, const void* const* param, const void* const* cotangent)
        : plan_(plan), param_(param), cotangent_(cotangent), call_(plan, layout, param, true, true, true, false, true) {
        if (call_.elements() == 0) return;
        if (layout.dtype == BEVEL_F64) prepare<double>();
        else prepare<float>();
    }

    Call& call() { return call_; }
    int sum_rows() const { return call_.task().bent ? bent_second_sums(plan_.knots) : second_sums(plan_.knots); }
    int64_t sum_count() const { return sum_rows() * call_.task().sum_pitch; }
    const void* direction() const { return storage_.get(); }
    // Writes them; `first` and its folded sums are those of backward, where products need them, else null.
    void gradients(double* part, int parts, const Call* first, const double* first_sums, void* const* dparam) const;

private:
    // What moves in one channel, knots ascending; n by so much of itself.
    Weights turn(const Channel& ch, const Linear& linear, int64_t c) const;
    double line_gradient(const double* weight, const Channel& ch, const Weights& turn, const double* g, const double* ga) const;
    template <class Sum>
    void channel_gradients(const Channel& ch, const Linear& linear, const Weights& by, Sum sum, double* own) const;
    template <class Sum> void bent_gradients(const Channel& ch, const Linear& linear, const Weights& by, Sum sum, double* own) const;
    template <class T> void prepare();
    template <class T> void put_bends(const Channel& ch, const Weights& by, T* base, int64_t c);

    const bevel_plan& plan_;
    const void* const* param_;
    const void* const* cotangent_;
    Call call_;
    std::unique_ptr<char[]> storage_;
};

Weights SecondCall::turn(const Channel& ch, const Linear& linear, int64_t c) const {
    double slot[MAX_SLOTS] = {};
    if (cotangent_ != nullptr)
        for (const bevel_term& term : linear) slot[term.slot] += term.factor * value_of(plan_, cotangent_, term.param, c);
    Weights out = sorted(plan_, ch, slot);
    out.n = plan_.kernel == BEVEL_SHARP ? 0 : plan_.log_n ? out.n : out.n * ch.w;
    return out;
}

template <class T> void SecondCall::prepare() {
    const Task& task = call_.task();
    const int k = plan_.knots;
    const int64_t pitch = task.pitch, distinct = call_.distinct();
    const int height = task.bent ? bent_turn_rows(k) : turn_rows(k);
    storage_.reset(new char[sizeof(T) * static_cast<size_t>(height * pitch)]);
    T* const base = reinterpret_cast<T*>(storage_.get());
    const T most = std::numeric_limits<T>::max(), infinity = std::numeric_limits<T>::infinity();
    Linear linear(plan_);
    for (int64_t c = 0; c < distinct; ++c) {
        linear.move_to(param_, c);
        const Channel ch = call_.channel(c);
        const Weights by = turn(ch, linear, c);
        const auto put = [&](int row, double value) { return base[row * pitch + c] = static_cast<T>(value); };
        put(WIDTH, ch.w);
        put(STRETCH, by.n);
        put(STRETCH_W, by.n * ch.w);
        double slope = by.left, level = by.offset;
        for (int j = 0; j <= k; ++j) {
            const int at = turn_segment(j);
            if (j > 0) {
                slope += by.jump[j - 1];
                level += by.step[j - 1] - by.jump[j - 1] * ch.knot[j - 1] - ch.jump[j - 1] * by.knot[j - 1];
            }
            const bool flat = put(at + TURN_SLOPE, slope) == 0;  // at ±inf x is held finite there, since 0·inf is NaN
            const double rest = level - static_cast<double>(put(at + TURN_LEVEL, level));
            put(at + TURN_LEVEL_REST, std::isfinite(rest) ? rest : 0);
            if (j == 0) put(TURN_LOW, flat ? -most : -infinity);
            if (j == k) put(TURN_HIGH, flat ? most : infinity);
        }
        for (int i = 0; i < k; ++i) {
            const int at = turn_knot(k, i);
            put(at + TURN_KNOT, by.knot[i]);
            put(at + TURN_JUMP, by.jump[i]);
            put(at + TURN_STEP, by.step[i]);
            put(at + TURN_C0, by.c0[i]);
            put(at + TURN_C1, by.c1[i]);
        }
        if (task.bent) put_bends(ch, by, base, c);
    }
    call_.fill(base, height);
}

// With bends a segment moves as a quadratic does, about the knot on its left; so does what smoothing lifts it by.
template <class T> void SecondCall::put_bends(const Channel& ch, const Weights& by, T* base, int64_t c) {
    const int k = plan_.knots;
    const double above = lift(plan_, ch);
    Quadratic f[BEVEL_MAX_KNOTS + 1], moved[BEVEL_MAX_KNOTS + 1];
    quadratics(plan_, ch, f);
    quadratics_along(plan_, ch, by, moved);
    const auto put = [&](int row, double value) { return base[row * call_.task().pitch + c] = static_cast<T>(value); };
    for (int j = 0; j <= k; ++j) {
        const int at = turn_segment(j);
        const double level = moved[j].level + times(above, moved[j].bend - 2 * by.n * f[j].bend);
        const double rest = level - static_cast<double>(put(at + TURN_LEVEL, level));
        put(at + TURN_SLOPE, moved[j].slope);
        put(at + TURN_LEVEL_REST, std::isfinite(rest) ? rest : 0);
        put(turn_half_bend(k, j), 0.5 * moved[j].bend);
    }
    for (int i = 0; i < k; ++i) put(turn_bend(k, i), by.bend[i]);
}

// A parameter's weight in the slope of each segment, times Σ g·a there, less what its jumps move with the knots.
double SecondCall::line_gradient(const double* weight, const Channel& ch, const Weights& turn, const double* g, const double* ga) const {
    const int k = plan_.knots;
    double total = times(weight[0], ga[0]), slope = weight[0], shift = 0;
    for (int j = 1; j <= k; ++j) {
        const double* const at = weight + 2 + ch.order[j - 1];
        slope += at[JUMPS * k];
        shift += times(at[JUMPS * k], turn.knot[j - 1]) + times(at[KNOTS * k], turn.jump[j - 1]);
        total += times(slope, ga[j]) - times(shift, g[j]);
    }
    return total;
}

template <class Sum>
void SecondCall::channel_gradients(const Channel& ch, const Linear& linear, const Weights& by, Sum sum, double* own) const {
    const int k = plan_.knots;
    double g[BEVEL_MAX_KNOTS + 1], ga[BEVEL_MAX_KNOTS + 1], slots[3 + 5 * BEVEL_MAX_KNOTS] = {}, weight[3 + 5 * BEVEL_MAX_KNOTS], dn = 0;
    for (int j = 0; j <= k; ++j) g[j] = sum(second_segment(j) + SECOND_G), ga[j] = sum(second_segment(j) + SECOND_GA);
    for (int i = k - 1; i >= 0; --i) {
        const int at = second_knot(k, i);
        for (int group = 0; group < 5; ++group) slots[2 + group * k + ch.order[i]] = sum(at + BY_KNOT + group);
        dn += sum(at + BY_N);
    }
    slots[n_slot(k)] = plan_.log_n ? dn : ch.w * dn;
    for (int p = 0; p < plan_.params; ++p) {
        own[p] = linear.weights(p, slots, slot_count(plan_), weight);
        own[p] += line_gradient(weight, ch, by, g, ga);
    }
}

// The same with bends: by each parameter, what a·f' and the movement along `by` gain on each segment.
template <class Sum>
void SecondCall::bent_gradients(const Channel& ch, const Linear& linear, const Weights& by, Sum sum, double* own) const {
    const int k = plan_.knots;
    const double above = lift(plan_, ch);
    double slots[MAX_SLOTS] = {}, dn = 0;
    Quadratic f[BEVEL_MAX_KNOTS + 1], moved[BEVEL_MAX_KNOTS + 1], mine[BEVEL_MAX_KNOTS + 1], both[BEVEL_MAX_KNOTS + 1];
    quadratics(plan_, ch, f);
    quadratics_along(plan_, ch, by, moved);
    for (int j = 0; j <= k; ++j)
        dn += above * ((plan_.log_n ? 4 : 6) * times(by.n, f[j].bend) - 2 * moved[j].bend) * sum(second_segment(j) + SECOND_G);
    for (int i = 0; i < k; ++i) {
        const int at = second_knot(k, i);
        for (int group = 0; group < 5; ++group) slots[2 + group * k + ch.order[i]] = sum(at + BY_KNOT + group);
        slots[bend_slot(k) + ch.order[i]] = sum(by_bend(k, i));
        dn += sum(at + BY_N);
    }
    slots[n_slot(k)] = plan_.log_n ? dn : ch.w * dn;
    for (int p = 0; p < plan_.params; ++p) {
        double weight[MAX_SLOTS];
        own[p] = linear.weights(p, slots, slot_count(plan_), weight);
        const Weights here = sorted(plan_, ch, weight);
        quadratics_along(plan_, ch, here, mine);
        quadratics_along_both(plan_, ch, by, here, both);
        for (int j = 0; j <= k; ++j) {
            const int at = bent_second_segment(k, j);
            const double level = both[j].level - 2 * above * times(by.n, mine[j].bend);
            own[p] += times(mine[j].slope, sum(second_segment(j) + SECOND_GA)) + times(mine[j].bend, sum(at + SECOND_GAD)) +
                      times(both[j].slope, sum(at + SECOND_GD)) + times(level, sum(second_segment(j) + SECOND_G));
        }
    }
}

void SecondCall::gradients(double* part, int parts, const Call* first, const double* first_sums, void* const* dparam) const {
    const Task& task = call_.task();
    const int64_t pitch = task.sum_pitch, distinct = call_.distinct();
    double shared[BEVEL_MAX_PARAMS] = {};
    const auto write = [&](int p, int64_t at, double value) {
        if (dparam[p] == nullptr) return;
        if (plan_.param_dtype[p] == BEVEL_F64) static_cast<double*>(dparam[p])[at] = value;
        else static_cast<float*>(dparam[p])[at] = static_cast<float>(value);
    };
    Linear linear(plan_), change(plan_, false);
    if (call_.elements() != 0) call_.fold(part, parts, sum_rows());
    for (int64_t c = 0; call_.elements() != 0 && c < distinct; ++c) {
        const auto sum = [&](int s) { return part[s * pitch + c]; };
        linear.move_to(param_, c);
        const Channel ch = call_.channel(c);
        const Weights by = turn(ch, linear, c);
        double own[BEVEL_MAX_PARAMS], more[BEVEL_MAX_PARAMS] = {};
        if (task.bent) bent_gradients(ch, linear, by, sum, own);
        else channel_gradients(ch, linear, by, sum, own);
        if (first != nullptr) {  // the direction itself moves with the parameters
            change.move_to(cotangent_, c);
            first->channel_gradients(c, change, first_sums, more);
        }
        for (int p = 0; p < plan_.params; ++p) {
            own[p] += more[p];
            shared[p] += own[p];
            if (plan_.param_length[p] != 1) write(p, c, own[p]);
        }
    }
    for (int p = 0; p < plan_.params; ++p) {
        if (plan_.param_length[p] == 1) write(p, 0, shared[p]);
        for (int64_t c = 0; call_.elements() == 0 && plan_.param_length[p] != 1 && c < plan_.param_length[p]; ++c) write(p, c, 0);
    }
}

struct SecondJob {
    Task task, rest;
    Second second, rest_second;
    int64_t tiles, sum_count;
    int parts;
    double* sums;
};

void work(void* data, int part) {
    const SecondJob& job = *static_cast<const SecondJob*>(data);
    const int64_t begin = job.tiles * part / job.parts, end = job.tiles * (part + 1) / job.parts;
    double* const sums = job.sums == nullptr ? nullptr : job.sums + part * job.sum_count;
    engine().run_second(job.task, job.second, begin, end, sums);
    if (part == job.parts - 1 && job.rest.outer != 0)
        engine().run_second(job.rest, job.rest_second, 0, engine().second_tiles(job.rest), sums);
}

// A pointer as many bytes further on; null stays null.
template <class P> P* further(P* p, int64_t bytes) {
    return p == nullptr ? p : reinterpret_cast<P*>(reinterpret_cast<std::intptr_t>(p) + bytes);
}

// Which sums the parameters need: those of the groups that they move, and of n; and which forms of the kernel come in.
void set_wanted(const bevel_plan& plan, const void* const* cotangent, Second& second, Task& task) {
    if (task.bent) {
        for (bool& by : second.by) by = second.want_sums;
        task.needs_survival = task.needs_excess = task.needs_moment = task.needs_density = task.needs_second = second.needs_slope = true;
        return;
    }
    bool moves[PER_SECOND_KNOT] = {}, turns = false;
    for (int p = 0; cotangent != nullptr && p < plan.params; ++p) turns = turns || cotangent[p] != nullptr;
    each_move(plan, [&](int slot, int) {
        if (slot == n_slot(plan.knots)) moves[BY_N] = true;
        else if (slot >= 2) moves[(slot - 2) / plan.knots] = true;
    });
    for (int s = 0; s < PER_SECOND_KNOT; ++s) second.by[s] = second.want_sums && moves[s];
    task.needs_survival = second.want_sums || turns || task.multiplies_cdf || (second.h != nullptr && task.ramps);
    task.needs_excess = turns && moves[BY_JUMP] && !task.multiplies_cdf;
    task.needs_moment = task.moments || (moves[BY_N] && (turns || second.want_sums));
    const bool bends = second.want_sums || second.dx != nullptr;
    second.needs_slope = bends && (task.multiplies_cdf || task.steps || task.moments);
}

// Backward's own sums, where they are wanted, folded.
class First {
public:
    First(const bevel_plan& plan, bevel_layout layout, const void* const* param, bool wanted, int parts, const void* x, const void* g) {
        static const float one = 1;
        static const double one_wide = 1;
        static const uint16_t one_bf16 = 0x3f80, one_f16 = 0x3c00;
        const void* const ones[] = {&one, &one_wide, &one_bf16, &one_f16};  // by dtype
        if (!wanted) return;
        if (g == nullptr) layout.g[0] = layout.g[1] = layout.g[2] = 0;
        call_.reset(new Call(plan, layout, param, true, false, true, false, true));
        sums_.reset(new double[static_cast<size_t>(call_->sum_count() * parts)]());
        if (call_->elements() == 0) return;
        call_->bind(x, nullptr, g == nullptr ? ones[layout.dtype] : g, nullptr);
        run(*call_, parts, sums_.get());
        call_->fold(sums_.get(), parts, call_->sum_rows());
    }
    const Call* call() const { return call_.get(); }
    const double* sums() const { return sums_.get(); }

private:
    std::unique_ptr<Call> call_;
    std::unique_ptr<double[]> sums_;
};

}  // namespace
}  // namespace bevel

using namespace bevel;

int bevel_second(const bevel_plan* plan, const bevel_layout* layout, int32_t threads, const void* const* param,
                 const void* const* cotangent, const void* x, const void* g, const void* a, double every, void* h, void* dx,
                 void* const* dparam) try {
    bevel_layout dense = *layout;
    if (const int code = check(*plan, dense)) return code;
    const int64_t strides[3] = {dense.channels * dense.inner, dense.inner, 1};
    for (int d = 0; d < 3; ++d) dense.x[d] = dense.y[d] = dense.g[d] = dense.dx[d] = strides[d];
    Second second{};
    second.a = a, second.h = h, second.dx = dx;
    second.every_g = 1, second.every_a = every;
    second.log_n = plan->log_n != 0;
    for (int p = 0; dparam != nullptr && p < plan->params; ++p) second.want_sums = second.want_sums || dparam[p] != nullptr;
    SecondCall turning(*plan, dense, param, cotangent);
    Call& call = turning.call();
    const int parts = parts_for(call.elements(), threads);
    const bool products = plan->products != 0 && cotangent != nullptr && second.want_sums;
    const First first(*plan, dense, param, products, parts, x, g);  // before h or dx may take the place of g
    std::unique_ptr<double[]> sums;
    if (second.want_sums) sums.reset(new double[static_cast<size_t>(turning.sum_count() * parts)]());
    if (call.elements() != 0) {
        for (void* const to : {h, dx})
            if (to != nullptr && to != g && to != a) advise(to, call.bytes());
        call.bind(x, nullptr, g, nullptr);
        second.direction = turning.direction();
        SecondJob job{call.task(), call.rest(), second, second, engine().second_tiles(call.task()), turning.sum_count(), parts, sums.get()};
        set_wanted(*plan, cotangent, job.second, job.task);
        if (job.rest.outer != 0) {
            const int64_t skip = static_cast<const char*>(job.rest.x.data) - static_cast<const char*>(job.task.x.data);
            set_wanted(*plan, cotangent, job.rest_second, job.rest);
            job.rest_second.a = further(a, skip), job.rest_second.h = further(h, skip), job.rest_second.dx = further(dx, skip);
        }
        parallel(parts, work, &job);
    }
    if (second.want_sums) turning.gradients(sums.get(), parts, first.call(), first.sums(), dparam);
    return BEVEL_OK;
} catch (const std::bad_alloc&) {
    return BEVEL_NO_MEMORY;
}
