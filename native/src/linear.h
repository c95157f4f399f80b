// What a plan's coefficients do where the parameters move a little.
#pragma once

#include <algorithm>
#include <vector>

#include "bevel_native.h"

namespace bevel {

// A parameter's value in one channel; 0 of one that is not given.
inline double value_of(const bevel_plan& plan, const void* const* param, int p, int64_t c) {
    if (param[p] == nullptr) return 0;
    const int64_t at = plan.param_length[p] == 1 ? 0 : c;
    return plan.param_dtype[p] == BEVEL_F64 ? static_cast<const double*>(param[p])[at] : static_cast<const float*>(param[p])[at];
}

// Calls use(slot, parameter) for whatever moves a slot.
template <class Use> void each_move(const bevel_plan& plan, Use use) {
    for (int t = 0; t < plan.terms; ++t) use(plan.term[t].slot, plan.term[t].param);
    for (int t = 0; t < plan.products; ++t) {
        use(plan.product[t].slot, plan.product[t].first);
        use(plan.product[t].slot, plan.product[t].second);
    }
}

// A plan's terms, or none of them, and for each product two terms more: either parameter, times the other's value.
class Linear {
public:
    explicit Linear(const bevel_plan& plan, bool terms = true) : plan_(plan), first_(terms ? plan.terms : 0) {
        if (plan.products == 0) return;
        own_.resize(static_cast<size_t>(first_ + 2 * plan.products));
        std::copy(plan.term, plan.term + first_, own_.begin());
    }
    // At these parameters' values in channel c.
    void move_to(const void* const* param, int64_t c) {
        for (int t = 0; t < plan_.products; ++t) {
            const bevel_product& p = plan_.product[t];
            bevel_term* const to = own_.data() + first_ + 2 * t;
            to[0] = {p.slot, p.first, p.factor * value_of(plan_, param, p.second, c)};
            to[1] = {p.slot, p.second, p.factor * value_of(plan_, param, p.first, c)};
        }
    }
    const bevel_term* begin() const { return own_.empty() ? plan_.term : own_.data(); }
    const bevel_term* end() const { return begin() + first_ + 2 * plan_.products; }

    // How parameter p moves the slots, and the sum over them of that times `by`.
    double weights(int p, const double* by, int slots, double* weight) const {
        double total = 0;
        std::fill(weight, weight + slots, 0.0);
        for (const bevel_term& term : *this) {
            if (term.param != p) continue;
            weight[term.slot] += term.factor;
            total += term.factor * by[term.slot];
        }
        return total;
    }

private:
    const bevel_plan& plan_;
    int first_;
    std::vector<bevel_term> own_;
};

}  // namespace bevel
