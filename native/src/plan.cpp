#include "plan.h"

#include "engine.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>

namespace bevel {

bool used(const bevel_plan& plan, int slot) {
    if (plan.constant[slot] != 0) return true;
    bool found = false;
    each_move(plan, [&](int moved, int) { found = found || moved == slot; });
    return found;
}

namespace {

// Whether the gradient of every parameter has a term in x, beside whose sum a tail is nothing.
bool all_move_the_line(const bevel_plan& plan) {
    if (plan.products != 0) return false;  // that depends on their values
    for (int p = 0; p < plan.params; ++p) {
        double factor = 0;
        for (int t = 0; t < plan.terms; ++t)
            if (plan.term[t].param == p && plan.term[t].slot == 0) factor += plan.term[t].factor;
        if (factor == 0) return false;
    }
    return true;
}

int group_slot(const bevel_plan& plan, Group group) { return 2 + group * plan.knots; }

}  // namespace

bool group_used(const bevel_plan& plan, Group group) {
    for (int i = 0; i < plan.knots; ++i)
        if (used(plan, group_slot(plan, group) + i)) return true;
    return false;
}

namespace {

int check_plan(const bevel_plan& plan) {
    if (plan.abi != BEVEL_ABI) return BEVEL_BAD_ABI;
    if (plan.knots < 0 || plan.knots > BEVEL_MAX_KNOTS || plan.params < 0 || plan.params > BEVEL_MAX_PARAMS ||
        plan.terms < 0 || plan.products < 0 || plan.constant == nullptr)
        return BEVEL_BAD_PLAN;
    bool known = true;
    each_move(plan, [&](int slot, int p) { known = known && 0 <= slot && slot < slot_count(plan) && 0 <= p && p < plan.params; });
    if (!known) return BEVEL_BAD_PLAN;
    for (int p = 0; p < plan.params; ++p)
        if (plan.param_dtype[p] != BEVEL_F32 && plan.param_dtype[p] != BEVEL_F64) return BEVEL_BAD_PLAN;
    if (plan.kernel < BEVEL_SHARP || plan.kernel > BEVEL_GELU_TANH) return BEVEL_BAD_KERNEL;
    if (plan.kernel == BEVEL_TABULATED && (plan.table == nullptr || plan.panels <= 0)) return BEVEL_BAD_PLAN;
    if (plan.kernel == BEVEL_CAUCHY &&
        (group_used(plan, JUMPS) || group_used(plan, CONSTANTS) || group_used(plan, TILTS)))
        return BEVEL_BAD_KERNEL;
    if (plan.bends != 0 && (plan.kernel == BEVEL_CAUCHY || plan.kernel == BEVEL_STUDENT)) return BEVEL_BAD_KERNEL;
    return BEVEL_OK;
}

}  // namespace

int check(const bevel_plan& plan, const bevel_layout& layout) {
    if (const int code = check_plan(plan)) return code;
    if (layout.dtype < BEVEL_F32 || layout.dtype > BEVEL_F16 || layout.outer < 0 || layout.channels < 0 ||
        layout.inner < 0)
        return BEVEL_BAD_LAYOUT;
    for (int p = 0; p < plan.params; ++p)
        if (plan.param_length[p] != 1 && plan.param_length[p] != layout.channels) return BEVEL_BAD_LAYOUT;
    return BEVEL_OK;
}

Channel channel_of(const bevel_plan& plan, const void* const* param, int64_t c) {
    Channel out;
    const int k = plan.knots;
    double slot[MAX_SLOTS];
    for (int s = 0, count = slot_count(plan); s < count; ++s) slot[s] = plan.constant[s];
    for (int t = 0; t < plan.terms; ++t) slot[plan.term[t].slot] += plan.term[t].factor * value_of(plan, param, plan.term[t].param, c);
    for (int t = 0; t < plan.products; ++t) {
        const bevel_product& p = plan.product[t];
        slot[p.slot] += p.factor * value_of(plan, param, p.first, c) * value_of(plan, param, p.second, c);
    }
    out.left = slot[0];
    out.offset = slot[1];
    const double n = slot[n_slot(k)];
    out.n = plan.kernel == BEVEL_SHARP ? 1.0 : plan.log_n ? std::exp(n) : n;
    out.w = 1 / out.n;
    const double* const knot = slot + group_slot(plan, KNOTS);
    for (int i = 0; i < k; ++i) {  // insertion sort: usually they are in order
        int place = i;
        for (; place > 0 && knot[out.order[place - 1]] > knot[i]; --place) out.order[place] = out.order[place - 1];
        out.order[place] = i;
    }
    for (int i = 0; i < k; ++i) {
        const int from = out.order[i];
        out.knot[i] = knot[from];
        out.jump[i] = slot[group_slot(plan, JUMPS) + from];
        out.step[i] = slot[group_slot(plan, STEPS) + from];
        out.c0[i] = slot[group_slot(plan, CONSTANTS) + from];
        out.c1[i] = slot[group_slot(plan, TILTS) + from];
        if (plan.bends != 0) out.bend[i] = slot[bend_slot(k) + from];
    }
    if (plan.bends != 0) out.left_bend = slot[left_bend_slot(k)];
    return out;
}

// Whether both ends of a function of one knot are so steep that an error of 2e-8 of the smoothing's size is none of theirs.
bool Call::tails_drown(const Channel& ch) {
    const double least = std::min(std::fabs(ch.left), std::fabs(ch.left + ch.jump[0]));
    return 16 * least >= std::fabs(ch.jump[0]) + std::fabs(ch.c0[0]) + std::fabs(ch.c1[0]) * ch.w;
}

Call::Call(const bevel_plan& plan, const bevel_layout& layout, const void* const* param, bool back, bool want_dx,
           bool want_sums, bool from_output, bool second)
    : plan_(plan), param_(param) {
    task_.dtype = layout.dtype;
    task_.kernel = plan.kernel;
    task_.knots = plan.knots;
    task_.multiplies_cdf = plan.multiplies_cdf != 0;
    task_.from_output = from_output;
    task_.want_dx = want_dx;
    task_.want_sums = want_sums;
    task_.table = plan.table;
    task_.table_single = plan.table_single;
    task_.panels = plan.panels;
    if (plan.kernel == BEVEL_GELU_TANH) task_.table = tanh_tables().wide, task_.table_single = tanh_tables().single;
    set_flags(back, second);
    set_geometry(layout, second);
    if (elements_ == 0) return;
    if (layout.dtype == BEVEL_F64)
        prepare<double>();
    else
        prepare<float>();
}

void Call::set_flags(bool back, bool second) {
    Task& t = task_;
    t.bent = plan_.bends != 0;
    t.ramps = group_used(plan_, JUMPS);
    t.steps = group_used(plan_, STEPS);
    t.tilted = group_used(plan_, TILTS);
    t.moments = t.tilted || group_used(plan_, CONSTANTS);
    t.centred = !group_used(plan_, KNOTS);
    t.simple = t.centred;
    t.want_all = t.want_sums && !t.centred;
    const bool shifts = t.multiplies_cdf || t.steps || t.moments;  // without, dn follows from the moments alone
    const auto look_at = [&](int slot, int) {
        const int group = plan_.knots == 0 ? -1 : (slot - 2) / plan_.knots;
        const bool of_n = slot == n_slot(plan_.knots), of_line = slot == 0 || (slot >= 2 && group == JUMPS);
        t.want_all = t.want_all || (of_n ? shifts : !of_line && group != CONSTANTS);
    };
    if (t.want_sums) each_move(plan_, look_at);
    t.bulk = !second && !t.bent && plan_.kernel == BEVEL_GAUSSIAN && plan_.knots == 1 && !t.steps && (!t.want_sums || all_move_the_line(plan_));
    t.needs_survival = back || t.multiplies_cdf || t.steps;
    t.needs_excess = !t.multiplies_cdf && (back ? t.want_sums : t.ramps);
    t.needs_moment = t.moments || t.want_sums;
    t.needs_density = back && (t.multiplies_cdf || t.steps || t.moments);
    t.needs_second = t.bent && (!back || t.want_sums);
    t.needs_excess = t.needs_excess || (t.bent && back);
    if (t.from_output) t.needs_survival = t.needs_excess = t.needs_density = true;
}

template <class T> void Call::prepare() {
    const int k = plan_.knots;
    const int64_t width = task_.across ? task_.channels : distinct_;
    const int64_t pitch = task_.across ? ((width + 31) / 32 | 1) * 32 : width;  // odd: else rows would share few lines of the cache
    task_.pitch = task_.sum_pitch = pitch;
    const int height = task_.bent ? bent_rows(k) : rows(k), more = task_.from_output ? CURVE_ROWS : 0;
    storage_.reset(new char[sizeof(T) * static_cast<size_t>((height + more) * pitch)]);
    T* const base = reinterpret_cast<T*>(storage_.get());
    task_.coefficients = base;
    const T most = std::numeric_limits<T>::max(), infinity = std::numeric_limits<T>::infinity();
    const double reach = reach_of(plan_.kernel, sizeof(T) == 4);
    const bool cut_off = plan_.kernel >= BEVEL_BOX && plan_.kernel != BEVEL_CAUCHY && plan_.kernel != BEVEL_BUMP && plan_.kernel != BEVEL_GELU_TANH;

    for (int64_t c = 0; c < distinct_; ++c) {
        const Channel ch = channel(c);
        task_.bulk = task_.bulk && sizeof(T) == sizeof(float) && tails_drown(ch);
        const auto put = [&](int row, double value) { return base[row * pitch + c] = static_cast<T>(value); };
        const auto put_two = [&](int row, double value) {
            const double rest = value - static_cast<double>(put(row, value));
            return put(row + 1, std::isfinite(rest) ? rest : 0) != 0;
        };
        const bool inexact = put_two(N, ch.n);
        int exponent;
        if (task_.simple && (inexact || std::frexp(ch.n, &exponent) != 0.5)) task_.simple = false;

        // Rounded up: a lane too many is only work, one too few would be an error.
        // Where a form is cut off at the edge, what rounding takes from a knot counts too; the others would leave their range.
        double radius = reach * ch.w, lost = 0;
        for (int i = 0; i < k && cut_off; ++i) lost = std::fmax(lost, rounded_away<T>(ch.knot[i]));
        put(RADIUS, (radius + lost) * (1 + 4 * std::numeric_limits<T>::epsilon()));
        double slope = ch.left, level = ch.offset;
        for (int j = 0; j <= k; ++j) {
            if (j > 0) {
                slope += ch.jump[j - 1];
                level += ch.step[j - 1] - ch.jump[j - 1] * ch.knot[j - 1];
            }
            const bool flat = put(segment_row(j) + SLOPE, slope) == 0;
            if (put_two(segment_row(j) + LEVEL, level)) task_.centred = task_.simple = false;
            // A flat end has its level at ±inf: there x is held finite, because 0·inf would be NaN.
            task_.flat = task_.flat || (flat && (j == 0 || j == k));
            if (j == 0) put(LOW, flat ? -most : -infinity);
            if (j == k) put(HIGH, flat ? most : infinity);
        }
        for (int i = 0; i < k; ++i) {
            const int at = knot_row(k, i);
            put(at + KNOT, static_cast<double>(rounded_down<T>(ch.knot[i])));
            put(at + KNOT_REST, rounded_away<T>(ch.knot[i]));
            put(at + LAG, (plan_.multiplies_cdf ? -ch.jump[i] : ch.jump[i]) * ch.w);
            put(at + JUMP, ch.jump[i]);
            put(at + STEP, ch.step[i]);
            put(at + STEP_N, ch.step[i] * ch.n);
            put(at + C0, ch.c0[i]);
            put(at + C1, ch.c1[i]);
            put(at + C0_W, ch.c0[i] * ch.w);
            put(at + C1_W, ch.c1[i] * ch.w);
        }
        if (task_.bent) put_bends(ch, base, pitch, c);
    }
    for (int64_t c = 0; task_.bulk && c < distinct_; ++c)
        base[RADIUS * pitch + c] *= static_cast<T>(BULK_REACH / reach_of(plan_.kernel, true));
    if (task_.from_output) engine().put_curves(task_);
    fill(base, height + more);
}

}  // namespace bevel
