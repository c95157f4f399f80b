// Activations of two inputs as operators; operator.cpp includes this behind what it shares with the others.

decltype(&bevel_pair_forward) native_pair_forward;
decltype(&bevel_pair_backward) native_pair_backward;

// Two tensors of one shape whose rows lie in memory without gaps, as halves of a projection do, and what is made of them.
struct Two {
    Described gate, up;
    bevel_layout layout{};

    Two(const Tensor& gate_, const Tensor& up_, int64_t dim, int64_t channels) : gate(gate_), up(up_) {
        layout.dtype = native_dtype(gate.dtype);
        int64_t gate_row, up_row;
        const int64_t last = gate.view.dims - 1, axis = dim < 0 ? dim + gate.view.dims : dim;
        if (describe(gate.view, dim, channels, layout) && same(gate.view, up.view)) return;
        if (last >= 0 && (channels == 1 || axis == last) && row_of(gate.view, gate_row) && row_of(up.view, up_row)) {
            const int64_t size = gate.view.sizes[last];
            layout.outer = size == 0 ? 0 : gate.tensor.numel() / size;
            layout.channels = channels, layout.inner = channels == 1 ? size : 1;
            for (int64_t* const strides : {layout.x, layout.y, layout.g, layout.dx}) strides[0] = size, strides[1] = strides[2] = 1;
            layout.x[0] = gate_row, layout.y[0] = up_row;
            return;
        }
        gate = Described(dense_copy(gate.tensor));
        Tensor copy = gate.like();
        torch::stable::copy_(copy, up.tensor);
        up = Described(copy);
        STD_TORCH_CHECK(describe(gate.view, dim, channels, layout), "a copy is not dense");
    }
    // A new tensor that lies as results do: as gate where that is dense, else without gaps.
    Tensor result() const { return layout.x[0] == layout.dx[0] ? gate.like() : torch::stable::new_empty(gate.tensor, sizes()); }
    std::vector<int64_t> sizes() const { return {gate.view.sizes, gate.view.sizes + gate.view.dims}; }

private:
    // From one row to the next, if all are equally far apart.
    static bool row_of(const View& t, int64_t& row) {
        const int64_t last = t.dims - 1;
        if (t.sizes[last] != 1 && t.strides[last] != 1) return false;
        row = t.sizes[last];
        int64_t expected = -1;
        for (int64_t d = last - 1; d >= 0; --d) {
            if (t.sizes[d] == 1) continue;
            if (expected < 0) row = t.strides[d];
            else if (t.strides[d] != expected) return false;
            expected = t.strides[d] * t.sizes[d];
        }
        return row >= 0;
    }
};

bool takes_pair(const Tensor& gate, const Tensor& up, const Parameters& parameters, int64_t dim) {
    if (!readable(gate) || !readable(up) || !parameters.usable) return false;
    const Described a(gate), b(up);
    return a.dtype == b.dtype && a.view.dims == b.view.dims && std::equal(a.view.sizes, a.view.sizes + a.view.dims, b.view.sizes) &&
           fits(a.view, dim, parameters.channels);
}

// y of (gate, up, *parameters), or an undefined tensor where the library cannot take the call.
Tensor pair_forward(std::vector<Tensor> tensors, const Tensor& plan_, int64_t dim, double limit, double offset) {
    if (tensors.size() < 2) return Tensor();
    const Tensor gate = tensors[0], up = tensors[1];
    const Parameters parameters(std::vector<Tensor>(tensors.begin() + 2, tensors.end()));
    if (!takes_pair(gate, up, parameters, dim)) return Tensor();
    const bevel_plan plan = unpacked(plan_, parameters);
    const Two two(gate, up, dim, parameters.channels);
    Tensor y = two.result();
    check(native_pair_forward(&plan, &two.layout, static_cast<int32_t>(torch::stable::get_num_threads()), parameters.address, limit,
                              offset, two.gate.tensor.const_data_ptr(), two.up.tensor.const_data_ptr(), y.mutable_data_ptr()));
    return y;
}

// The gradients of (gate, up, *parameters), undefined where `needs` does not ask for them; none where it cannot take the call.
std::vector<Tensor> pair_backward(const Tensor& g_, std::vector<Tensor> tensors, const Tensor& plan_, int64_t dim, double limit,
                                  double offset, int64_t needs) {
    if (tensors.size() < 2 || !readable(g_)) return {};
    const Tensor gate = tensors[0], up = tensors[1];
    const std::vector<Tensor> given(tensors.begin() + 2, tensors.end());
    const Parameters parameters(given);
    if (!takes_pair(gate, up, parameters, dim) || Described(g_).dtype != Described(gate).dtype) return {};
    const bevel_plan plan = unpacked(plan_, parameters);
    const Two two(gate, up, dim, parameters.channels);
    std::vector<Tensor> found;
    void* address[2 + BEVEL_MAX_PARAMS];
    for (size_t i = 0; i < tensors.size(); ++i) {
        const bool need = needs >> i & 1;
        found.push_back(!need ? Tensor() : i < 2 ? two.result() : Described(parameters.own[i - 2]).like());
        address[i] = need ? found.back().mutable_data_ptr() : nullptr;
    }
    Described g(g_);
    const Tensor like = found[0].defined() ? found[0] : found[1].defined() ? found[1] : two.result();
    if (!same(g.view, Described(like).view)) {
        Tensor copy = two.result();
        torch::stable::copy_(copy, g_);
        g = Described(copy);
    }
    check(native_pair_backward(&plan, &two.layout, static_cast<int32_t>(torch::stable::get_num_threads()), parameters.address, limit,
                               offset, two.gate.tensor.const_data_ptr(), two.up.tensor.const_data_ptr(), g.tensor.const_data_ptr(),
                               address[0], address[1], address + 2));
    for (size_t i = 0; i < given.size(); ++i)
        if (address[i + 2] != nullptr && given[i].get() != parameters.own[i].get())  // it was converted for the library
            found[i + 2] = torch::stable::to(found[i + 2], given[i].scalar_type());
    return found;
}
