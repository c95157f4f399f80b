// The native library as operators of torch: tensors in, tensors out, the passes of bevel_native.h between.
//
// They are on torch's stable ABI: the object calls C functions only, which every torch from 2.11 on has, so that one file
// serves all of these. Nothing is kept between calls. A family comes as a tensor of bytes, which lives as long as its
// owner, and what a tensor looks like costs less to describe again than to look up.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cmath>
#include <cstring>
#include <optional>
#include <tuple>
#include <vector>

#include "bevel_native.h"
#include "layout.h"
#include "sides.h"

namespace {

using torch::stable::Tensor;

decltype(&bevel_forward) native_forward;
decltype(&bevel_backward) native_backward;
decltype(&bevel_message) native_message;

void check(int status) { STD_TORCH_CHECK(status == BEVEL_OK, "native library: ", native_message(status)); }

// The library's number of a dtype, -1 for one that it does not know.
int native_dtype(int32_t dtype) {
    static const int32_t known[] = {aoti_torch_dtype_float32(), aoti_torch_dtype_float64(), aoti_torch_dtype_bfloat16(),
                                    aoti_torch_dtype_float16()};  // in the order of bevel_dtype
    for (int i = 0; i < 4; ++i)
        if (known[i] == dtype) return i;
    return -1;
}

// Whether a tensor has memory of its own on the CPU, and a dtype of the library.
bool readable(const Tensor& t) {
    static const int32_t strided = aoti_torch_layout_strided();
    int32_t layout, dtype;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_layout(t.get(), &layout));
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(t.get(), &dtype));
    return layout == strided && t.is_cpu() && native_dtype(dtype) >= 0;
}

// A tensor, and what torch says of it.
struct Described {
    Tensor tensor;
    bevel::torch_side::View view;
    int32_t dtype;

    explicit Described(Tensor t) : tensor(std::move(t)) {
        int64_t *sizes, *strides;
        TORCH_ERROR_CODE_CHECK(aoti_torch_get_sizes(tensor.get(), &sizes));
        TORCH_ERROR_CODE_CHECK(aoti_torch_get_strides(tensor.get(), &strides));
        TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(tensor.get(), &dtype));
        view = {tensor.dim(), sizes, strides};
    }

    // A new tensor of this one's shape, strides and dtype.
    Tensor like() const {
        static const int32_t cpu = aoti_torch_device_type_cpu();
        AtenTensorHandle made;
        TORCH_ERROR_CODE_CHECK(
            aoti_torch_empty_strided(view.dims, view.sizes, view.strides, dtype, cpu, 0, &made));
        return Tensor(made);
    }
};

// The parameters as the library reads them: contiguous, float32 or float64.
struct Parameters {
    std::vector<Tensor> own;
    const void* address[BEVEL_MAX_PARAMS];
    int32_t dtype[BEVEL_MAX_PARAMS];
    int64_t length[BEVEL_MAX_PARAMS];
    int64_t channels = 1;
    bool usable;  // whether all are readable, with one value or one per channel

    explicit Parameters(std::vector<Tensor> given) : own(std::move(given)), usable(own.size() <= BEVEL_MAX_PARAMS) {
        for (size_t i = 0; usable && i < own.size(); ++i) {
            usable = readable(own[i]);
            if (usable) add(i);
        }
    }

private:
    void add(size_t i) {
        Tensor& p = own[i];
        int32_t torch_dtype;
        TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(p.get(), &torch_dtype));
        dtype[i] = native_dtype(torch_dtype);
        if (dtype[i] > BEVEL_F64) {
            p = torch::stable::to(p, torch::headeronly::ScalarType::Float);
            dtype[i] = BEVEL_F32;
        }
        if (!p.is_contiguous()) p = torch::stable::contiguous(p);
        length[i] = p.numel();
        address[i] = p.const_data_ptr();
        if (length[i] == 1) return;
        usable = length[i] > 1 && (channels == 1 || channels == length[i]);
        channels = length[i];
    }
};

// A plan as Python packs it (ops/_operator.py): the eight numbers that bevel_plan begins with, then what it points to.
bevel_plan unpacked(const Tensor& packed, const Parameters& parameters) {
    constexpr int64_t head = offsetof(bevel_plan, constant);
    bevel_plan plan{};
    const char* at = static_cast<const char*>(packed.const_data_ptr());
    std::memcpy(&plan, at, head);
    const int64_t constants = 8 * (3 + 5 * static_cast<int64_t>(plan.knots)), table = 8 * 33 * static_cast<int64_t>(plan.panels);
    const int64_t terms = static_cast<int64_t>(sizeof(bevel_term)) * plan.terms;
    const int64_t rest = packed.numel() - head - constants - terms - table;
    STD_TORCH_CHECK(rest == 0 || rest == static_cast<int64_t>(sizeof(float)) * BEVEL_TABLE_SINGLE, "not a packed plan");
    STD_TORCH_CHECK(plan.params == static_cast<int32_t>(parameters.own.size()), "the plan has ", plan.params, " parameters");
    plan.constant = reinterpret_cast<const double*>(at += head);
    plan.term = reinterpret_cast<const bevel_term*>(at += constants);
    at += terms;
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
    if (!bevel::torch_side::describe(x.view, axis, channels, layout)) {
        x = Described(dense_copy(x.tensor));
        STD_TORCH_CHECK(bevel::torch_side::describe(x.view, axis, channels, layout), "a copy is not dense");
    }
    layout.dtype = native_dtype(x.dtype);
    return layout;
}

// y of (x, *parameters), or an undefined tensor where the library cannot take the call: the caller looks further then.
Tensor forward(std::vector<Tensor> tensors, const Tensor& plan_, int64_t dim) {
    if (tensors.empty() || !readable(tensors[0])) return Tensor();
    Described x(tensors[0]);
    tensors.erase(tensors.begin());
    const Parameters parameters(std::move(tensors));
    if (!parameters.usable || !bevel::torch_side::fits(x.view, dim, parameters.channels)) return Tensor();
    const bevel_plan plan = unpacked(plan_, parameters);
    const bevel_layout layout = layout_of(x, dim, parameters.channels);
    Tensor y = x.like();
    check(native_forward(&plan, &layout, static_cast<int32_t>(torch::stable::get_num_threads()), parameters.address,
                         x.tensor.const_data_ptr(), y.mutable_data_ptr()));
    return y;
}

double value_of(const Parameters& p, size_t i, int64_t at) {
    return p.dtype[i] == BEVEL_F64 ? static_cast<const double*>(p.address[i])[at]
                                   : static_cast<double>(static_cast<const float*>(p.address[i])[at]);
}

// The gradients by (x, *parameters) that `needs` asks for. Those of parameters are divided by |divisors|, if there are any;
// then dx may take the place of what stands in for x.
std::vector<Tensor> gradients(const Tensor& g_, std::vector<Tensor> tensors, const Tensor& plan_, int64_t dim,
                              int64_t needs, const Parameters* divisors, bool in_place) {
    if (tensors.empty() || !readable(tensors[0]) || !readable(g_)) return {};
    Described x(tensors[0]), g(g_);
    const std::vector<Tensor> given(tensors.begin() + 1, tensors.end());
    const Parameters parameters(given);
    if (!parameters.usable || g.dtype != x.dtype || !bevel::torch_side::fits(x.view, dim, parameters.channels)) return {};
    const bevel_plan plan = unpacked(plan_, parameters);
    const bevel_layout layout = layout_of(x, dim, parameters.channels);
    if (!bevel::torch_side::same(g.view, x.view)) {
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
    check(native_backward(&plan, &layout, static_cast<int32_t>(torch::stable::get_num_threads()), parameters.address,
                          x.tensor.const_data_ptr(), g.tensor.const_data_ptr(),
                          needs & 1 ? found[0].mutable_data_ptr() : nullptr, address));
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
    return gradients(g_, std::move(tensors), plan_, dim, needs, nullptr, false);
}

// ---- sharp functions that keep their output -------------------------------------------------------------------------

// What a sharp function of two slopes, its two parameters, keeps for backward.
enum Kept : int64_t { INPUT = 0, OUTPUT = 1, OUTPUT_AND_SIDES = 2 };

// |slope| from which on y = slope*x tells x: below, y becomes subnormal where x matters. Half precision has few exponents.
double least_slope(int dtype) { return dtype == BEVEL_F16 ? 1e-4 : dtype == BEVEL_F64 ? 1e-290 : 1e-30; }

int64_t kept(const Parameters& slopes, int dtype) {
    bool positive = true;
    for (size_t i = 0; i < slopes.own.size(); ++i)
        for (int64_t c = 0; c < slopes.length[i]; ++c) {
            const double slope = value_of(slopes, i, c);
            if (!(std::fabs(slope) >= least_slope(dtype) && std::isfinite(slope))) return INPUT;
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
    if (!bevel::torch_side::same(x.view, Described(y).view)) return {y, none, INPUT};  // a tensor with gaps
    const int64_t size = y.numel();
    Tensor sides = torch::stable::new_empty(y, {(size + 7) / 8}, torch::headeronly::ScalarType::Byte);
    uint8_t* const to = static_cast<uint8_t*>(sides.mutable_data_ptr());
    const void* const from = x.tensor.const_data_ptr();
    if (dtype == BEVEL_F32) bevel::torch_side::write_sides(static_cast<const int32_t*>(from), size, to);
    else if (dtype == BEVEL_F64) bevel::torch_side::write_sides(static_cast<const int64_t*>(from), size, to);
    else bevel::torch_side::write_sides(static_cast<const int16_t*>(from), size, to);
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
        if (dtype == BEVEL_F32) bevel::torch_side::signed_as_x(static_cast<const int32_t*>(from), bits, size, static_cast<int32_t*>(to));
        else if (dtype == BEVEL_F64) bevel::torch_side::signed_as_x(static_cast<const int64_t*>(from), bits, size, static_cast<int64_t*>(to));
        else bevel::torch_side::signed_as_x(static_cast<const int16_t*>(from), bits, size, static_cast<int16_t*>(to));
    }
    std::vector<Tensor> tensors = slopes_;
    tensors.insert(tensors.begin(), stand_in.tensor);
    return gradients(g, std::move(tensors), plan_, dim, needs, &slopes, sides.has_value());
}

}  // namespace

// Python hands over the functions of the library that it has loaded.
extern "C" BEVEL_API int32_t bevel_operator_bind(const void* forward_, const void* backward_, const void* message_) {
    native_forward = reinterpret_cast<decltype(native_forward)>(const_cast<void*>(forward_));
    native_backward = reinterpret_cast<decltype(native_backward)>(const_cast<void*>(backward_));
    native_message = reinterpret_cast<decltype(native_message)>(const_cast<void*>(message_));
    return BEVEL_ABI;
}

STABLE_TORCH_LIBRARY(bevel_operator, m) {
    m.def("forward(Tensor[] tensors, Tensor plan, int dim) -> Tensor");
    m.def("forward_sharp(Tensor[] tensors, Tensor plan, int dim) -> (Tensor, Tensor, int)");
    m.def("backward_sharp(Tensor g, Tensor y, Tensor? sides, Tensor[] slopes, Tensor plan, int dim, int needs) -> Tensor[]");
    m.def("backward(Tensor g, Tensor[] tensors, Tensor plan, int dim, int needs) -> Tensor[]");
}

// For every device, so that the operator itself can answer for those it does not know.
STABLE_TORCH_LIBRARY_IMPL(bevel_operator, CompositeExplicitAutograd, m) {
    m.impl("forward", TORCH_BOX(&forward));
    m.impl("forward_sharp", TORCH_BOX(&forward_sharp));
    m.impl("backward_sharp", TORCH_BOX(&backward_sharp));
    m.impl("backward", TORCH_BOX(&backward));
}
