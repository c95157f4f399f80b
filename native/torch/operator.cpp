// The native library as operators of torch: tensors in, tensors out, the passes of bevel_native.h between.
//
// They are on torch's stable ABI: the object calls C functions only, which every torch from 2.11 on has, so that one file
// serves all of these. Nothing is kept between calls. A family comes as a tensor of bytes, which lives as long as its
// owner, and what a tensor looks like costs less to describe again than to look up.
#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <tuple>

#include "sides.h"
#include "tensors.h"

namespace {

using namespace bevel::torch_side;

decltype(&bevel_forward) native_forward;
decltype(&bevel_backward) native_backward, native_backward_from_output;
decltype(&bevel_output_tells) native_output_tells;
decltype(&bevel_inverse) native_inverse;
decltype(&bevel_message) native_message;

// What a function keeps for backward.
enum Kept : int64_t { INPUT = 0, OUTPUT = 1, OUTPUT_AND_SIDES = 2 };

void check(int status) { STD_TORCH_CHECK(status == BEVEL_OK, "native library: ", native_message(status)); }

// A plan as Python packs it (ops/_operator.py): the ten numbers that bevel_plan begins with, then what it points to.
bevel_plan unpacked(const Tensor& packed, const Parameters& parameters) {
    constexpr int64_t head = offsetof(bevel_plan, constant);
    bevel_plan plan{};
    const char* at = static_cast<const char*>(packed.const_data_ptr());
    std::memcpy(&plan, at, head);
    const int64_t slots = plan.bends != 0 ? 4 + 6 * static_cast<int64_t>(plan.knots) : 3 + 5 * static_cast<int64_t>(plan.knots);
    const int64_t constants = 8 * slots, table = 8 * 45 * static_cast<int64_t>(plan.panels);
    const int64_t terms = static_cast<int64_t>(sizeof(bevel_term)) * plan.terms;
    const int64_t products = static_cast<int64_t>(sizeof(bevel_product)) * plan.products;
    const int64_t rest = packed.numel() - head - constants - terms - products - table;
    STD_TORCH_CHECK(rest == 0 || rest == static_cast<int64_t>(sizeof(float)) * BEVEL_TABLE_SINGLE, "not a packed plan");
    STD_TORCH_CHECK(plan.params == static_cast<int32_t>(parameters.own.size()), "the plan has ", plan.params, " parameters");
    plan.constant = reinterpret_cast<const double*>(at += head);
    plan.term = reinterpret_cast<const bevel_term*>(at += constants);
    plan.product = reinterpret_cast<const bevel_product*>(at += terms);
    at += products;
    if (table != 0) plan.table = reinterpret_cast<const double*>(at);
    if (rest != 0) plan.table_single = reinterpret_cast<const float*>(at + table);
    plan.param_dtype = parameters.dtype;
    plan.param_length = parameters.length;
    return plan;
}

// A copy in the strides that torch::empty_like chooses for a tensor with gaps or overlaps: it has none.
Tensor dense_copy(const Tensor& t) {
    Tensor copy = torch::stable::empty_like(t);
    torch::stable::copy_(copy, t);
    return copy;
}

bevel_layout layout_of(Described& x, int64_t axis, int64_t channels) {
    bevel_layout layout{};
    if (!describe(x.view, axis, channels, layout)) {
        x = Described(dense_copy(x.tensor));
        STD_TORCH_CHECK(describe(x.view, axis, channels, layout), "a copy is not dense");
    }
    layout.dtype = native_dtype(x.dtype);
    return layout;
}

// What `pass` makes of (x, *parameters), or an undefined tensor where the library cannot take the call.
Tensor passed(decltype(&bevel_forward) pass, std::vector<Tensor> tensors, const Tensor& plan_, int64_t dim,
              int64_t* keep = nullptr) {
    if (tensors.empty() || !readable(tensors[0])) return Tensor();
    Described x(tensors[0]);
    tensors.erase(tensors.begin());
    const Parameters parameters(std::move(tensors));
    if (!parameters.usable || !fits(x.view, dim, parameters.channels)) return Tensor();
    const bevel_plan plan = unpacked(plan_, parameters);
    const bevel_layout layout = layout_of(x, dim, parameters.channels);
    Tensor y = x.like();
    check(pass(&plan, &layout, static_cast<int32_t>(torch::stable::get_num_threads()), parameters.address,
               x.tensor.const_data_ptr(), y.mutable_data_ptr()));
    if (keep != nullptr) *keep = native_output_tells(&plan, &layout, parameters.address) != 0 ? OUTPUT : INPUT;
    return y;
}

// y of (x, *parameters), or an undefined tensor: the caller looks further then.
Tensor forward(std::vector<Tensor> tensors, const Tensor& plan, int64_t dim) {
    return passed(native_forward, std::move(tensors), plan, dim);
}

// The gradients by (x, *parameters) that `needs` asks for. Those of parameters are divided by |divisors|, if there are any;
// then dx may take the place of what stands in for x.
std::vector<Tensor> gradients(decltype(&bevel_backward) pass, const Tensor& g_, std::vector<Tensor> tensors, const Tensor& plan_,
                              int64_t dim, int64_t needs, const Parameters* divisors = nullptr, bool in_place = false) {
    if (tensors.empty() || !readable(tensors[0]) || !readable(g_)) return {};
    Described x(tensors[0]), g(g_);
    const std::vector<Tensor> given(tensors.begin() + 1, tensors.end());
    const Parameters parameters(given);
    if (!parameters.usable || g.dtype != x.dtype || !fits(x.view, dim, parameters.channels)) return {};
    const bevel_plan plan = unpacked(plan_, parameters);
    const bevel_layout layout = layout_of(x, dim, parameters.channels);
    if (!same(g.view, x.view)) {
        Tensor copy = x.like();
        torch::stable::copy_(copy, g_);
        g = Described(copy);
    }
    std::vector<Tensor> found = {needs & 1 ? (in_place ? x.tensor : x.like()) : Tensor()};
    void* address[BEVEL_MAX_PARAMS];
    for (size_t i = 0; i < given.size(); ++i) {
        const bool need = needs >> (i + 1) & 1;
        found.push_back(need ? Described(parameters.own[i]).like() : Tensor());
        address[i] = need ? found.back().mutable_data_ptr() : nullptr;
    }
    check(pass(&plan, &layout, static_cast<int32_t>(torch::stable::get_num_threads()), parameters.address,
               x.tensor.const_data_ptr(), g.tensor.const_data_ptr(), needs & 1 ? found[0].mutable_data_ptr() : nullptr,
               address));
    for (size_t i = 0; i < given.size(); ++i) {
        if (address[i] == nullptr) continue;
        for (int64_t c = 0; divisors != nullptr && c < divisors->length[i]; ++c) {
            const double by = std::fabs(value_of(*divisors, i, c));
            if (divisors->dtype[i] == BEVEL_F64) static_cast<double*>(address[i])[c] /= by;
            else static_cast<float*>(address[i])[c] = static_cast<float>(static_cast<float*>(address[i])[c] / by);
        }
        if (given[i].get() != parameters.own[i].get())  // it was converted for the library
            found[i + 1] = torch::stable::to(found[i + 1], given[i].scalar_type());
    }
    return found;
}

// The gradients of (x, *parameters), undefined where `needs`, one bit each from the lowest on, does not ask for them; an
// empty list where the library cannot take the call.
std::vector<Tensor> backward(const Tensor& g_, std::vector<Tensor> tensors, const Tensor& plan_, int64_t dim,
                             int64_t needs) {
    return gradients(native_backward, g_, std::move(tensors), plan_, dim, needs);
}

// ---- sharp functions that keep their output -------------------------------------------------------------------------

// What a sharp function of two slopes, its two parameters, keeps.
int64_t kept(const Parameters& slopes, int dtype) {
    bool positive = true;
    for (size_t i = 0; i < slopes.own.size(); ++i)
        for (int64_t c = 0; c < slopes.length[i]; ++c) {
            const double slope = value_of(slopes, i, c);
            if (!(std::fabs(slope) >= bevel_least_slope(dtype) && std::isfinite(slope))) return INPUT;
            positive = positive && slope > (i == 0 ? 0.5 : 0);  // from ½ on no y right of 0 is rounded to 0
        }
    return positive ? OUTPUT : OUTPUT_AND_SIDES;
}

// y of (x, slope right of 0, slope left of it), the sides, which are empty if they are not needed, and what to keep.
std::tuple<Tensor, Tensor, int64_t> forward_sharp(std::vector<Tensor> tensors, const Tensor& plan_, int64_t dim) {
    Tensor y = forward(tensors, plan_, dim), none;
    if (!y.defined()) return {y, none, INPUT};
    Described x(tensors[0]);
    tensors.erase(tensors.begin());
    const Parameters slopes(std::move(tensors));
    const int dtype = native_dtype(x.dtype);
    const int64_t keep = kept(slopes, dtype);
    if (keep != OUTPUT_AND_SIDES) return {y, none, keep};
    if (!same(x.view, Described(y).view)) return {y, none, INPUT};  // a tensor with gaps
    const int64_t size = y.numel();
    Tensor sides = torch::stable::new_empty(y, {(size + 7) / 8}, torch::headeronly::ScalarType::Byte);
    uint8_t* const to = static_cast<uint8_t*>(sides.mutable_data_ptr());
    const void* const from = x.tensor.const_data_ptr();
    if (dtype == BEVEL_F32) write_sides(static_cast<const int32_t*>(from), size, to);
    else if (dtype == BEVEL_F64) write_sides(static_cast<const int64_t*>(from), size, to);
    else write_sides(static_cast<const int16_t*>(from), size, to);
    return {y, sides, keep};
}

// The gradients of (x, *slopes) from y. The pass runs on what lies where x lay and is |slope| times as large: y itself, or
// |y| with the sign of x. So dx is right as it is, and each slope's sum is too large by that slope.
std::vector<Tensor> backward_sharp(const Tensor& g, const Tensor& y, std::optional<Tensor> sides, std::vector<Tensor> slopes_,
                                   const Tensor& plan_, int64_t dim, int64_t needs) {
    if (!readable(y)) return {};
    const Parameters slopes(slopes_);
    Described stand_in(y);
    if (sides.has_value()) {
        stand_in = Described(stand_in.like());
        const int dtype = native_dtype(stand_in.dtype);
        const uint8_t* const bits = static_cast<const uint8_t*>(sides->const_data_ptr());
        const void* const from = y.const_data_ptr();
        void* const to = stand_in.tensor.mutable_data_ptr();
        const int64_t size = y.numel();
        if (dtype == BEVEL_F32) signed_as_x(static_cast<const int32_t*>(from), bits, size, static_cast<int32_t*>(to));
        else if (dtype == BEVEL_F64) signed_as_x(static_cast<const int64_t*>(from), bits, size, static_cast<int64_t*>(to));
        else signed_as_x(static_cast<const int16_t*>(from), bits, size, static_cast<int16_t*>(to));
    }
    std::vector<Tensor> tensors = slopes_;
    tensors.insert(tensors.begin(), stand_in.tensor);
    return gradients(native_backward, g, std::move(tensors), plan_, dim, needs, &slopes, sides.has_value());
}

// ---- smooth functions that keep their output ------------------------------------------------------------------------

// y of (x, *parameters), no sides, and what to keep.
std::tuple<Tensor, Tensor, int64_t> forward_smooth(std::vector<Tensor> tensors, const Tensor& plan, int64_t dim) {
    int64_t keep = INPUT;
    Tensor y = passed(native_forward, std::move(tensors), plan, dim, &keep);
    return {y, Tensor(), keep};
}

// The gradients of (x, *parameters) from y, and no sides.
std::vector<Tensor> backward_smooth(const Tensor& g, const Tensor& y, std::optional<Tensor>, std::vector<Tensor> tensors,
                                    const Tensor& plan, int64_t dim, int64_t needs) {
    tensors.insert(tensors.begin(), y);
    return gradients(native_backward_from_output, g, std::move(tensors), plan, dim, needs);
}

// x of (y, *parameters), where that is what forward_smooth kept.
Tensor inverse(std::vector<Tensor> tensors, const Tensor& plan, int64_t dim) {
    return passed(native_inverse, std::move(tensors), plan, dim);
}

#include "pair.h"
#include "second.h"

}  // namespace

// Python hands over the functions of the library that it has loaded.
extern "C" BEVEL_API int32_t bevel_operator_bind(const void* forward_, const void* backward_, const void* message_,
                                                 const void* output_tells_, const void* inverse_, const void* from_output_,
                                                 const void* second_, const void* pair_forward_,
                                                 const void* pair_backward_) {
    const auto bind = [](auto& to, const void* from) {
        to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(const_cast<void*>(from));
    };
    bind(native_forward, forward_), bind(native_backward, backward_), bind(native_message, message_);
    bind(native_output_tells, output_tells_), bind(native_inverse, inverse_), bind(native_backward_from_output, from_output_);
    bind(native_second, second_), bind(native_pair_forward, pair_forward_), bind(native_pair_backward, pair_backward_);
    return BEVEL_ABI;
}

STABLE_TORCH_LIBRARY(bevel_operator, m) {
    m.def("forward(Tensor[] tensors, Tensor plan, int dim) -> Tensor");
    m.def("forward_sharp(Tensor[] tensors, Tensor plan, int dim) -> (Tensor, Tensor, int)");
    m.def("backward_sharp(Tensor g, Tensor y, Tensor? sides, Tensor[] slopes, Tensor plan, int dim, int needs) -> Tensor[]");
    m.def("forward_smooth(Tensor[] tensors, Tensor plan, int dim) -> (Tensor, Tensor, int)");
    m.def("backward_smooth(Tensor g, Tensor y, Tensor? sides, Tensor[] parameters, Tensor plan, int dim, int needs) -> Tensor[]");
    m.def("inverse(Tensor[] tensors, Tensor plan, int dim) -> Tensor");
    m.def("second(Tensor? g, Tensor[] tensors, Tensor? a, Tensor[] cotangents, Tensor plan, int dim, int needs, float every) "
          "-> Tensor[]");
    m.def("backward(Tensor g, Tensor[] tensors, Tensor plan, int dim, int needs) -> Tensor[]");
    m.def("pair_forward(Tensor[] tensors, Tensor plan, int dim, float limit, float offset) -> Tensor");
    m.def("pair_backward(Tensor g, Tensor[] tensors, Tensor plan, int dim, float limit, float offset, int needs) -> Tensor[]");
}

// For every device, so that the operator itself can answer for those it does not know.
STABLE_TORCH_LIBRARY_IMPL(bevel_operator, CompositeExplicitAutograd, m) {
    m.impl("forward", TORCH_BOX(&forward));
    m.impl("forward_sharp", TORCH_BOX(&forward_sharp));
    m.impl("backward_sharp", TORCH_BOX(&backward_sharp));
    m.impl("forward_smooth", TORCH_BOX(&forward_smooth));
    m.impl("backward_smooth", TORCH_BOX(&backward_smooth));
    m.impl("inverse", TORCH_BOX(&inverse));
    m.impl("second", TORCH_BOX(&second));
    m.impl("backward", TORCH_BOX(&backward));
    m.impl("pair_forward", TORCH_BOX(&pair_forward));
    m.impl("pair_backward", TORCH_BOX(&pair_backward));
}
