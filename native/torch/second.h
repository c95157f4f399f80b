// The second pass as an operator; operator.cpp includes this behind what it shares with the first.

decltype(&bevel_second) native_second;

// What differentiates the results of `backward`, given the cotangents of dx and of the parameters' gradients (an empty list:
// zeros). The results are by g, by x and by the parameters, undefined where `needs`, one bit each from the lowest on, does not
// ask for them; an empty list where the library cannot take the call. A missing g is 1, and a missing a is `every`, everywhere.
std::vector<Tensor> second(std::optional<Tensor> g, std::vector<Tensor> tensors, std::optional<Tensor> a,
                           std::vector<Tensor> cotangents, const Tensor& plan_, int64_t dim, int64_t needs, double every) {
    if (tensors.empty() || !readable(tensors[0])) return {};
    Described x(tensors[0]);
    const std::vector<Tensor> given(tensors.begin() + 1, tensors.end());
    const Parameters parameters(given), moving(std::move(cotangents));
    if (!parameters.usable || !moving.usable || !bevel::torch_side::fits(x.view, dim, parameters.channels)) return {};
    const bevel_plan plan = unpacked(plan_, parameters);
    const bevel_layout layout = layout_of(x, dim, parameters.channels);
    const void* address[2] = {nullptr, nullptr};
    std::vector<Tensor> kept;
    for (const auto* t : {&g, &a}) {
        if (!t->has_value()) continue;
        if (!readable(**t)) return {};
        Described there(**t);
        if (there.dtype != x.dtype) return {};
        if (!bevel::torch_side::same(there.view, x.view)) {
            Tensor copy = x.like();
            torch::stable::copy_(copy, **t);
            there = Described(copy);
        }
        address[t == &g ? 0 : 1] = there.tensor.const_data_ptr();
        kept.push_back(there.tensor);
    }
    if (!moving.own.empty() && moving.own.size() != parameters.own.size()) return {};
    std::vector<Tensor> found, directions;
    const void* direction[BEVEL_MAX_PARAMS];
    for (size_t i = 0; i < moving.own.size(); ++i) {
        if (moving.length[i] != parameters.length[i]) return {};
        const auto as = parameters.own[i].scalar_type();
        directions.push_back(moving.own[i].scalar_type() == as ? moving.own[i] : torch::stable::to(moving.own[i], as));
        direction[i] = directions.back().const_data_ptr();
    }
    void* results[2] = {nullptr, nullptr};
    for (int k = 0; k < 2; ++k) {
        found.push_back(needs >> k & 1 ? x.like() : Tensor());
        if (needs >> k & 1) results[k] = found.back().mutable_data_ptr();
    }
    void* dparam[BEVEL_MAX_PARAMS];
    for (size_t i = 0; i < given.size(); ++i) {
        const bool need = needs >> (i + 2) & 1;
        found.push_back(need ? Described(parameters.own[i]).like() : Tensor());
        dparam[i] = need ? found.back().mutable_data_ptr() : nullptr;
    }
    check(native_second(&plan, &layout, static_cast<int32_t>(torch::stable::get_num_threads()), parameters.address,
                        directions.empty() ? nullptr : direction, x.tensor.const_data_ptr(), address[0], address[1], every,
                        results[0], results[1], dparam));
    for (size_t i = 0; i < given.size(); ++i)
        if (dparam[i] != nullptr && given[i].get() != parameters.own[i].get())  // it was converted for the library
            found[i + 2] = torch::stable::to(found[i + 2], given[i].scalar_type());
    return found;
}
