// Torch's tensors as the operators take them: what the library can read, how it lies, and the parameters of a call.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <utility>
#include <vector>

#include "bevel_native.h"
#include "layout.h"

namespace bevel::torch_side {

using torch::stable::Tensor;

// The library's number of a dtype, -1 for one that it does not know.
inline int native_dtype(int32_t dtype) {
    static const int32_t known[] = {aoti_torch_dtype_float32(), aoti_torch_dtype_float64(), aoti_torch_dtype_bfloat16(),
                                    aoti_torch_dtype_float16()};  // in the order of bevel_dtype
    for (int i = 0; i < 4; ++i)
        if (known[i] == dtype) return i;
    return -1;
}

// Whether a tensor has memory of its own on the CPU, and a dtype of the library.
inline bool readable(const Tensor& t) {
    static const int32_t strided = aoti_torch_layout_strided();
    int32_t layout, dtype;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_layout(t.get(), &layout));
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(t.get(), &dtype));
    return layout == strided && t.is_cpu() && native_dtype(dtype) >= 0;
}

// A tensor, and what torch says of it.
struct Described {
    Tensor tensor;
    View view;
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

// A parameter's value for one channel.
inline double value_of(const Parameters& p, size_t i, int64_t at) {
    return p.dtype[i] == BEVEL_F64 ? static_cast<const double*>(p.address[i])[at]
                                   : static_cast<double>(static_cast<const float*>(p.address[i])[at]);
}

}  // namespace bevel::torch_side
